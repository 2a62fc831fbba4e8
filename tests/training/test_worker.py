"""The worker as a process of its own: errors, kills, several ranks."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import TrainingFailedError, plan_launch, run_local
from hephaestus_dag.training.metrics import read_metrics
from hephaestus_dag.training.worker import main
from tests.training.test_launch import gone

MakeJob = Callable[..., TrainingJob]
ALONE = LauncherConfig(threads=1)


def run(job: TrainingJob, placement: LauncherConfig = ALONE) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    run_local(plan_launch(job, placement), seen.append, job.work / "worker.log")
    return seen


def weights(job: TrainingJob) -> dict[str, torch.Tensor]:
    return load_file(job.output / "model" / "model.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"title": 3}', "title: Input should be a valid string"), ("{", "Invalid JSON"), (None, "No such file")],
)
def test_a_bad_job_file_is_one_readable_line(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.json"
    if content:
        path.write_text(content)
    assert main([str(path)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert message in printed


@pytest.mark.slow
def test_kills_at_any_instant_change_nothing(make_job: MakeJob) -> None:
    whole = make_job(name="whole", checkpoint_every=1)
    run(whole)
    assert (whole.work / "worker.log").read_text() == ""
    job = make_job(name="killed", checkpoint_every=1)
    plan = plan_launch(job, ALONE)
    reached = []
    for at in (2, 5, 9):
        process = subprocess.Popen(plan.argv, env={**plan.env, "PATH": ""}, cwd=plan.cwd)
        while process.poll() is None and max([0, *(line["step"] for line in read_metrics(job.metrics))]) < at:
            pass
        process.kill()
        process.wait()
        reached.append(read_metrics(job.metrics)[-1]["step"])
    assert reached == sorted(reached)
    assert reached[-1] < 12, "the last kill came too late to mean anything"
    run(job)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(job).items())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's own")
@pytest.mark.parametrize("processes", [1, 2])
def test_killing_the_run_leaves_no_worker(make_job: MakeJob, processes: int, corpus: Any) -> None:
    job = make_job(mixture=corpus.mixture("endless", 100_000, agent=0.5, text=0.5))
    code = f"""
from pathlib import Path
from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import plan_launch, run_local
job = TrainingJob.read(Path({str(job.work / "job.json")!r}))
plan = plan_launch(job, LauncherConfig(num_processes={processes}, threads=1))
run_local(plan, lambda line: print(line, flush=True), job.work / "log")
"""
    job.write(job.work / "job.json")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        assert "step" in launcher.stdout.readline()
        pids = descendants(launcher.pid)
        assert len(pids) >= processes
        launcher.kill()
    assert gone(pids)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2])
def test_two_processes_train_like_one_and_stage_0_resumes_with_either(make_job: MakeJob, stage: int) -> None:
    alone, pair = make_job(name="alone"), make_job(name="pair", zero_stage=stage)
    run(alone)
    run(pair, LauncherConfig(num_processes=2, threads=1))
    expected, found = (
        [line["loss"] for line in read_metrics(job.output / "metrics.jsonl") if "loss" in line] for job in (alone, pair)
    )
    assert found == pytest.approx(expected, rel=1e-4)
    before, after = (read_metrics(job.output / "metrics.jsonl")[-1]["heldout"] for job in (alone, pair))
    for domain, score in before.items():
        assert after[domain] == pytest.approx(score, rel=1e-3)
    if stage:
        with pytest.raises(TrainingFailedError, match="divided among 2 processes"):
            run(pair)
    else:
        run(pair)
