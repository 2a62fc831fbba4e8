import json
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hephaestus_dag.definitions import lineage
from hephaestus_dag.recipe_file import load_recipe
from hephaestus_dag.training.attempts import OnMetrics, Say
from hephaestus_dag.training.config import LauncherConfig, ModelShape, TrainingConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch_plan import LaunchPlan
from resources.launcher import Launcher, LocalLauncher, TorchrunLauncher, launcher_of
from resources.trainer import DeepSpeedTrainer


class Elsewhere(Launcher):
    """Stands for a cluster: no process starts, the output appears."""

    loss: float

    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, warn: Say) -> None:
        job = TrainingJob.read(Path(plan.argv[-1]))
        on_metrics({"step": 0, "heldout": {"text": {"loss": self.loss, "bits_per_byte": 1.0}}})
        step = {"step": 1, "tokens": 64, "loss": self.loss, "lr": 1e-3, "mix": {}, "seconds": 1.0, "tokens_per_second": 64.0}
        on_metrics(step)
        on_metrics({**step, "step": 2, "skipped": "the loss is 30 deviations above the mean"})
        warn("rank 1 died")
        job.output.mkdir(parents=True)
        job.timing.write_text(json.dumps({"seconds": 1.5}))
        figures = {"loss": self.loss, "processes": plan.num_processes, "nodes": plan.num_nodes, "restarts": plan.restarts}
        (job.output / "summary.json").write_text(json.dumps(figures))


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    (tmp_path / "mixture.json").write_text(json.dumps({"num_sequences": 2_400, "sequence_length": 16}))
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
    warnings: list[str] = []
    metrics: list[dict[str, Any]] = []

    @dg.asset
    def checkpoint(trainer: DeepSpeedTrainer) -> dg.MaterializeResult:
        found = trainer.train(TrainingJob.read(path), lines.append, metrics.append, warn=warnings.append)
        return dg.MaterializeResult(metadata=found)

    placement = LauncherConfig(num_processes=2, hosts=("one", "two"), restarts=3)
    trainer = DeepSpeedTrainer(launcher=Elsewhere(loss=2.5), **placement.placement)
    result = dg.materialize([checkpoint], resources={"trainer": trainer})
    (event,) = result.get_asset_materialization_events()
    found = {name: event.materialization.metadata[name].value for name in ("loss", "seconds", "processes", "nodes", "restarts")}
    assert found == {"loss": 2.5, "seconds": 1.5, "processes": 2, "nodes": 2, "restarts": 3}
    assert lines == ["stage 1: step 0, held-out loss: text 2.500"]
    assert warnings == ["stage 1: step 2 was skipped: the loss is 30 deviations above the mean", "rank 1 died"]
    assert [line["step"] for line in metrics] == [0, 1, 2]


WRITES_METRICS = "import os; open('metrics.jsonl', 'a').write('{\"step\": %s}\\n' % os.environ['RANK'])"


def test_the_local_launcher_runs_the_plan_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):  # as where a scheduler started this process among others
        monkeypatch.setenv(name, "3")
    plan = LaunchPlan(title="tiny", argv=(sys.executable, "-c", WRITES_METRICS), env={}, work=tmp_path)
    seen: list[dict[str, Any]] = []
    LocalLauncher().run(plan, seen.append, print)
    assert seen == [{"step": 0}]


@pytest.mark.slow
def test_the_torchrun_launcher_runs_the_plan_on_its_hosts(tmp_path: Path) -> None:
    plan = LaunchPlan(
        title="tiny", argv=(sys.executable, "-c", WRITES_METRICS), env={}, work=tmp_path, num_processes=2, hosts=("localhost",)
    )
    seen: list[dict[str, Any]] = []
    TorchrunLauncher().run(plan, seen.append, print)
    assert sorted(line["step"] for line in seen) == [0, 1]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "LocalLauncher"),
        ({"hosts": ("one",)}, "TorchrunLauncher"),
        ({"kind": "slurm", "threads": 1, "slurm": {"partition": "gpu", "options": ["--exclusive"]}}, "SlurmLauncher"),
        ({"kind": "ray", "threads": 1, "ray": {"address": "http://head:8265", "resources": {"a100": 8}}}, "RayLauncher"),
        (
            {"kind": "kubernetes", "threads": 1, "kubernetes": {"image": "i", "claim": "c", "pod": {"tolerations": []}}},
            "KubernetesLauncher",
        ),
    ],
)
def test_the_recipe_picks_the_launcher(given: dict[str, Any], name: str) -> None:
    config = LauncherConfig.model_validate(given)
    launcher = launcher_of(config)
    assert type(launcher).__name__ == name
    if config.kind:
        settings = given[config.kind]
        kept = launcher.settings  # pyright: ignore[reportAttributeAccessIssue]
        assert kept.items() >= settings.items()
        assert type(getattr(config, config.kind)).model_validate(kept) == getattr(config, config.kind)


def test_the_launcher_is_part_of_no_identity(tmp_path: Path) -> None:
    path = tmp_path / "on-slurm.yaml"
    settings = "{ kind: slurm, num_processes: 4, nodes: 2, threads: 2, slurm: { partition: gpu } }"
    path.write_text(f"extends: laptop\nname: on-slurm\nexecution: {{ launcher: {settings} }}\n")
    here, there = (lineage(load_recipe(recipe), fixed=False) for recipe in ("laptop", str(path)))
    assert {key: here.identity(key) for key in here.assets} == {key: there.identity(key) for key in there.assets}
