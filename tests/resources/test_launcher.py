import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hephaestus_dag.training.config import ModelShape, TrainingConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import LaunchPlan, OnMetrics
from resources.launcher import Launcher, LocalLauncher
from resources.trainer import DeepSpeedTrainer, ProgressLog


class Elsewhere(Launcher):
    """Stands for a cluster: no process starts, the output appears."""

    loss: float

    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, log_path: Path) -> None:
        job = TrainingJob.read(Path(plan.argv[-1]))
        on_metrics({"step": 0, "heldout": {"text": {"loss": self.loss, "bits_per_byte": 1.0}}})
        on_metrics({"step": 1, "tokens": 64, "loss": self.loss, "lr": 1e-3, "grad_norm": 1.0, "tokens_per_second": 64.0})
        job.output.mkdir(parents=True)
        job.timing.write_text(json.dumps({"seconds": 1.5}))
        (job.output / "summary.json").write_text(json.dumps({"loss": self.loss, "processes": plan.argv.count("-m")}))


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    (tmp_path / "mixture.json").write_text(json.dumps({"num_sequences": 2_400}))
    shape = ModelShape(hidden_size=8, layers=1, heads=1, kv_heads=1, intermediate_size=8, max_position_embeddings=8)
    return TrainingJob(
        title="stage 1",
        model=shape,
        tokenizer=tmp_path,
        mixture=tmp_path,
        stores=(tmp_path,),
        heldout={},
        config=TrainingConfig(global_batch_sequences=4, micro_batch_sequences=1, learning_rate=0.1),
        output=tmp_path / "output",
        work=tmp_path / "work",
    )


def test_an_op_trains_through_whatever_launcher_the_resources_name(job: TrainingJob) -> None:
    path = job.work / "given.json"
    job.write(path)
    lines: list[str] = []
    metrics: list[dict[str, Any]] = []

    @dg.asset
    def checkpoint(trainer: DeepSpeedTrainer) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata=trainer.train(TrainingJob.read(path), lines.append, metrics.append))

    trainer = DeepSpeedTrainer(launcher=Elsewhere(loss=2.5), num_processes=2)
    result = dg.materialize([checkpoint], resources={"trainer": trainer})
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["loss"].value == 2.5
    assert event.materialization.metadata["seconds"].value == 1.5
    assert event.materialization.metadata["processes"].value == 2, "torchrun and the worker"
    assert lines == ["stage 1: step 0, held-out loss: text 2.500"]
    assert [line["step"] for line in metrics] == [0, 1]


def test_progress_names_the_time_left(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.trainer.SECONDS_BETWEEN_LOG_LINES", 0.0)
    lines: list[str] = []
    ProgressLog(job, lines.append).note({"step": 100, "tokens": 64_000, "loss": 3.25, "lr": 2e-4, "tokens_per_second": 3_200.0})
    assert lines == ["stage 1: step 100 of 600, loss 3.250, lr 0.0002, 3,200 tokens/s, 1 min 40 s left"]


def test_the_local_launcher_runs_the_plan_here(tmp_path: Path) -> None:
    code = "open('metrics.jsonl', 'w').write('{\"step\": 7}\\n')"
    import sys

    plan = LaunchPlan(
        title="tiny", argv=(sys.executable, "-c", code), env={}, cwd=tmp_path, metrics=tmp_path / "metrics.jsonl", num_gpus=0
    )
    seen: list[dict[str, Any]] = []
    LocalLauncher().run(plan, seen.append, tmp_path / "log")
    assert seen == [{"step": 7}]
