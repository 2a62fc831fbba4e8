"""Jobs of several lengths that share their steps before the decay."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hephaestus_dag.training.attempts import TrainingDivergedError, TrainingFailedError
from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import plan_launch
from hephaestus_dag.training.loop import train
from hephaestus_dag.training.metrics import read_metrics
from hephaestus_dag.training.schedule import decay_start
from tests.training.conftest import Corpus

MakeJob = Callable[..., TrainingJob]
STEPS = (8, 16, 24)
PARTING = (6, 12, 18)
"""Where the decay over a quarter of the steps begins."""
ALONE = LauncherConfig(threads=1)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def branches(make_job: MakeJob, corpus: Corpus) -> Callable[..., list[TrainingJob]]:
    """A job for each length; ``shared`` ones each take their start from the one before."""

    def make(name: str, shared: bool, **given: object) -> list[TrainingJob]:
        folder = corpus.folder / "branches"
        if not folder.exists():
            corpus.mixture("branches", 96, agent=0.5, text=0.5)
        settings = {
            "warmup_steps": 3,
            "decay_share": 0.25,
            "evaluate_every": 0,
            "checkpoint_at": PARTING,
            "checkpoint_every": 5,
        }
        jobs: list[TrainingJob] = []
        for steps in STEPS:
            earlier = {"shares_start_with": jobs[-1].work} if shared and jobs else {}
            title = {"title": "one", "mixture": folder}
            jobs.append(make_job(name=f"{name}{steps}", steps=steps, **title, **earlier, **{**settings, **given}))
        return jobs

    return make


def same_output(first: TrainingJob, second: TrainingJob) -> None:
    for name in ("metrics.jsonl", "summary.json", "loss.png", "model/model.safetensors"):
        assert (first.output / name).read_bytes() == (second.output / name).read_bytes(), name


def attempted(job: TrainingJob) -> list[int]:
    """Steps whose time was taken in this job's own folder, not in the one it took its start from."""
    mine = {line["step"]: line["seconds"] for line in read_metrics(job.metrics) if "loss" in line}
    assert job.shares_start_with
    others = {line["step"]: line["seconds"] for line in read_metrics(job.shares_start_with / "metrics.jsonl") if "loss" in line}
    return [step for step, seconds in mine.items() if others.get(step) != seconds]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_branch_is_what_a_run_of_its_own_gives(branches: Callable[..., list[TrainingJob]], dtype: str) -> None:
    alone, shared = branches("alone", False, dtype=dtype), branches("shared", True, dtype=dtype)
    for job, expected in zip(shared, alone, strict=True):
        assert decay_start(job.config.steps or 0, job.config) in PARTING
        train(job)
        train(expected)
        same_output(job, expected)
    assert [attempted(job)[0] for job in shared[1:]] == [7, 13]


def test_rewinds_too_are_those_of_a_run_of_its_own(branches: Callable[..., list[TrainingJob]], corpus: Corpus) -> None:
    bad = corpus.poisoned("poisoned", 24, 4, [13, 14, 15])
    guard = {"guard": {"window": 8, "sigmas": 3.0, "skips_before_rewind": 2}}
    alone, shared = (
        [job.model_copy(update={"mixture": bad}) for job in branches(name, share, **guard)]
        for name, share in (("alone", False), ("shared", True))
    )
    for job, expected in zip(shared, alone, strict=True):
        summary = train(job)
        train(expected)
        same_output(job, expected)
    assert summary["rewinds"] == 1


def test_only_a_job_that_begins_in_the_same_way_gives_its_start(
    branches: Callable[..., list[TrainingJob]], caplog: pytest.LogCaptureFixture
) -> None:
    first = branches("first", True)[0]
    train(first)
    for changed in ({"learning_rate": 0.02}, {"warmup_steps": 2}, {"seed": 1}):
        caplog.clear()
        other = branches("-".join(changed), True, **changed)[1].model_copy(update={"shares_start_with": first.work})
        train(other)
        assert "it begins anew" in caplog.text
        assert attempted(other)[0] == 1


def test_a_damaged_start_is_passed_over_for_an_earlier_one(branches: Callable[..., list[TrainingJob]]) -> None:
    expected, (first, second, _) = branches("alone", False)[1], branches("shared", True)
    train(expected)
    train(first)
    path = next((first.work / "checkpoints" / "step-00000006" / "state").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    train(second)
    assert attempted(second)[0] < 7
    same_output(second, expected)


def test_a_mixture_too_short_for_the_steps_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(ValueError, match=r"steps 13: the mixture's 48 sequences last for 12; lower steps"):
        train(make_job(steps=13))


@pytest.mark.slow
def test_a_kill_in_the_second_branch_changes_nothing(branches: Callable[..., list[TrainingJob]], tmp_path: Path) -> None:
    alone, shared = branches("alone", False), branches("shared", True)
    for job in alone:
        train(job)
    plan = plan_launch(shared[0], ALONE, *shared[1:])
    process = subprocess.Popen(plan.argv, env={**os.environ, **plan.env}, cwd=shared[0].work, start_new_session=True)
    deadline = time.monotonic() + 90
    while not any(line["step"] >= 14 for line in read_metrics(shared[1].metrics)):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (shared[1].output / "summary.json").exists()
    seen: list[dict[str, Any]] = []
    run_local(plan, seen.append)
    for job, expected in zip(shared, alone, strict=True):
        same_output(job, expected)
    assert json.loads(shared[0].timing.read_text())["attempts"] == 2
    assert {line["job"] for line in seen} == {0, 1, 2}
    assert max(line["step"] for line in seen if line["job"] == 2) == 24
    assert min(line["step"] for line in seen if line["job"] == 0) == 0


@pytest.mark.slow
def test_divergence_is_told_from_other_failures(branches: Callable[..., list[TrainingJob]], tmp_path: Path) -> None:
    wild = branches("wild", True, learning_rate=1e30, weight_decay=0.0, clip=1e30)
    with pytest.raises(TrainingDivergedError, match=r"failed: FloatingPointError: step \d+: "):
        run_local(plan_launch(wild[0], ALONE, *wild[1:]), lambda metrics: None)
    missing = wild[0].model_copy(update={"tokenizer": tmp_path / "nowhere"})
    shutil.rmtree(missing.work)
    with pytest.raises(TrainingFailedError) as failed:
        run_local(plan_launch(missing, ALONE), lambda metrics: None)
    assert not isinstance(failed.value, TrainingDivergedError)
