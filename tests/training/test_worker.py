"""The worker as a process of its own: errors, kills, several ranks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hephaestus_dag.training.attempts import TrainingFailedError
from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import plan_launch
from hephaestus_dag.training.metrics import read_metrics
from hephaestus_dag.training.ssh_jobs import SshHosts
from hephaestus_dag.training.worker import main
from tests.training.test_hosts import STAND_IN, hosts_plan
from tests.training.test_launch import descendants, gone

MakeJob = Callable[..., TrainingJob]
ALONE = LauncherConfig(threads=1)


def run(job: TrainingJob, placement: LauncherConfig = ALONE) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    run_local(plan_launch(job, placement), seen.append)
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
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's own")
@pytest.mark.parametrize("processes", [1, 2])
def test_killing_the_run_leaves_no_worker(make_job: MakeJob, processes: int, corpus: Any) -> None:
    job = make_job(mixture=corpus.mixture("endless", 100_000, agent=0.5, text=0.5))
    code = f"""
from pathlib import Path
from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import plan_launch
job = TrainingJob.read(Path({str(job.work / "job.json")!r}))
plan = plan_launch(job, LauncherConfig(num_processes={processes}, threads=1))
run_local(plan, lambda line: print(line, flush=True))
"""
    job.write(job.work / "job.json")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        assert "step" in launcher.stdout.readline()
        pids = descendants(launcher.pid)
        assert len(pids) >= processes
        launcher.kill()
    assert gone(pids)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2])
def test_two_processes_train_like_one_and_either_goes_on_from_the_other(make_job: MakeJob, stage: int) -> None:
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
    run(pair)


@pytest.mark.slow
def test_jobs_that_share_a_process_train_as_each_on_its_own_and_start_at_once(make_job: MakeJob) -> None:
    jobs = [make_job(name=name, seed=seed, learning_rate=rate) for name, seed, rate in (("a", 1, 0.01), ("b", 2, 0.02))]
    plans = [plan_launch(job, ALONE) for job in jobs]
    shared = replace(plans[0], argv=(*plans[0].argv, plans[1].argv[-1]))
    run_local(shared, lambda metrics: None)
    assert shared.log.read_text() == ""
    together = [weights(job) for job in jobs]
    assert not all(torch.equal(value, together[1][name]) for name, value in together[0].items())
    second = json.loads(jobs[1].timing.read_text())["seconds"]
    for job, expected in zip(jobs, together, strict=True):
        shutil.rmtree(job.work)
        began = time.monotonic()
        run(job)
        assert second < (time.monotonic() - began) / 2, "the second job has no start-up of its own"
        assert all(torch.equal(value, expected[name]) for name, value in weights(job).items())


@pytest.mark.slow
def test_a_foreseen_error_is_the_message(make_job: MakeJob) -> None:
    job = make_job(global_batch_sequences=64, micro_batch_sequences=2)
    warnings: list[str] = []
    with pytest.raises(TrainingFailedError, match=r"^run failed: ValueError: mixture: 48 sequences are less than[^\n]*$"):
        run_local(plan_launch(job, LauncherConfig(num_processes=2, threads=1)), lambda metrics: None, warnings.append)
    assert warnings == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
def test_the_death_of_a_rank_is_noticed_met_with_one_restart_and_then_told(make_job: MakeJob, corpus: Any) -> None:
    job = make_job(mixture=corpus.mixture("endless", 100_000, agent=0.5, text=0.5), checkpoint_every=2)
    warned: list[tuple[float, str]] = []
    killed: list[float] = []
    first_steps: list[int] = []
    pids: set[int] = set()

    def kill_rank_1(metrics: dict[str, Any]) -> None:
        if len(killed) > len(warned) or "loss" not in metrics:
            return
        if len(first_steps) == len(killed):
            first_steps.append(metrics["step"])
        if metrics["step"] >= first_steps[-1] + 4:
            ranks = {rank_of(pid): pid for pid in descendants(os.getpid()) if str(job.work) in command(pid)}
            pids.update(ranks.values())
            os.kill(ranks["1"], signal.SIGKILL)
            killed.append(time.monotonic())

    placement = LauncherConfig(num_processes=2, threads=1, restarts=1)
    with pytest.raises(TrainingFailedError, match=r"^run failed after 1 restart: rank 1 died of SIGKILL"):
        run_local(plan_launch(job, placement), kill_rank_1, lambda text: warned.append((time.monotonic(), text)))
    noticed = [warned[0][0] - killed[0], time.monotonic() - killed[1]]
    assert max(noticed) < 30, noticed
    assert warned[0][1].startswith("run: rank 1 died of SIGKILL")
    assert first_steps[0] == 1
    assert first_steps[1] > 2, "it went on from a checkpoint"
    assert len(pids) == 4
    assert gone(list(pids), seconds=0)


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def rank_of(pid: int) -> str:
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(each.removeprefix("RANK=") for each in variables if each.startswith("RANK="))


@pytest.mark.slow
def test_two_hosts_train_as_two_processes_of_one(make_job: MakeJob) -> None:
    pair, apart = make_job(name="pair"), make_job(name="apart")
    run(pair, LauncherConfig(num_processes=2, threads=1))
    plan = hosts_plan(apart.work, "")
    placement = LauncherConfig(num_processes=2, threads=1, hosts=plan.hosts, rendezvous_port=plan.rendezvous_port)
    plan = plan_launch(apart, placement)
    run_detached(plan, SshHosts.of(plan, STAND_IN), lambda metrics: None)
    assert json.loads(apart.timing.read_text())["world_size"] == 2
    assert all(torch.equal(value, weights(pair)[name]) for name, value in weights(apart).items())
