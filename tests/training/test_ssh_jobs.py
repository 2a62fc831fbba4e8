"""Jobs on hosts whose launching process is killed or interrupted: the next one follows them, and nothing starts twice."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.attempts import TrainingFailedError, TrainingStoppedError
from hephaestus_dag.training.config import Placement
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import LaunchPlan, plan_launch
from hephaestus_dag.training.ssh_jobs import SshHosts
from tests.training.test_hosts import NO_SUCH_HOST, STAND_IN, WORKER, hosts_plan, on_hosts, running, until
from tests.training.test_launch import alive, gone


def in_a_process(plan: LaunchPlan, dies: str = "") -> subprocess.Popen[str]:
    """Launch a plan from a process of its own, which prints the process of each line of the metrics.

    It kills itself instead after so many calls of a method of the scheduler: ``_connect, 1``.
    """
    code = f"""
import os, signal
from pathlib import Path, PosixPath
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.ssh_jobs import SshHosts
def kill_after(name, calls):
    method, called = getattr(SshHosts, name), []
    def call(*given):
        called.append(method(*given))
        if len(called) == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return called[-1]
    setattr(SshHosts, name, call)
if {bool(dies)}:
    kill_after({dies})
plan = {plan!r}
run_detached(plan, SshHosts.of(plan, {STAND_IN!r}), lambda metrics: print(*metrics.get("pids", [metrics["step"]]), flush=True))
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def lines(plan: LaunchPlan) -> list[dict[str, Any]]:
    path = plan.metrics[0]
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
def test_a_job_outlives_its_launcher_and_is_followed_again(make_job: Callable[..., TrainingJob]) -> None:
    job, plain = make_job(name="hosts"), make_job(name="local")
    here = Placement(num_processes=2, threads=1)
    given = hosts_plan(job.work, "")
    plan = plan_launch(job, here.model_copy(update={"hosts": given.hosts, "rendezvous_port": given.rendezvous_port}))
    with in_a_process(plan) as launcher:
        assert launcher.stdout is not None
        while int(launcher.stdout.readline()) < 3:
            pass
        launcher.kill()
    workers = running(job.work, "training.worker")
    seen: list[dict[str, Any]] = []
    warnings: list[str] = []
    on_hosts(plan, seen.append, warnings.append)
    assert len(warnings) == 1
    assert "of the hosts, submitted earlier, is followed again" in warnings[0]
    assert seen == lines(plan), "all lines, each once"
    assert [line["step"] for line in seen if "loss" in line] == list(range(1, 13))
    assert len(workers) >= 2
    assert gone(workers, seconds=0)
    until(lambda: not running(job.work), seconds=5)
    assert not plan.launched.exists()
    run_local(plan_launch(plain, here), lambda metrics: None)
    assert weights(job) == weights(plain)


@pytest.mark.slow
@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGKILL])
def test_a_launcher_that_is_killed_leaves_the_job_to_the_next_one(tmp_path: Path, wish: signal.Signals) -> None:
    plan = hosts_plan(tmp_path, f"{WORKER}; time.sleep(600)")
    with in_a_process(plan) as launcher:
        assert launcher.stdout is not None
        workers = [int(launcher.stdout.readline()) for _ in range(2)]
        launcher.send_signal(wish)
    until(lambda: not running(tmp_path, "watch"))
    assert all(map(alive, workers))
    seen: list[dict[str, Any]] = []
    with pytest.raises(TrainingStoppedError):
        on_hosts(plan, seen.append, stop=lambda: len(seen) == 2)
    assert [line["pids"][0] for line in seen] == workers, "the same processes"
    assert gone(workers, seconds=0)
    until(lambda: not running(tmp_path), seconds=5)


@pytest.mark.slow
def test_an_interrupt_of_the_launcher_ends_the_processes_on_every_host(tmp_path: Path) -> None:
    with in_a_process(hosts_plan(tmp_path, f"{WORKER}; time.sleep(600)")) as launcher:
        assert launcher.stdout is not None
        workers = [int(launcher.stdout.readline()) for _ in range(2)]
        launcher.send_signal(signal.SIGINT)
    assert gone(workers, seconds=0)
    until(lambda: not running(tmp_path), seconds=5)


@pytest.mark.slow
def test_an_interrupt_during_the_submission_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, calls = SshHosts._connect, [0]

    def interrupted(*given: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        connect(*given)

    monkeypatch.setattr(SshHosts, "_connect", interrupted)
    plan = hosts_plan(tmp_path, f"{WORKER}; time.sleep(600)")
    with pytest.raises(KeyboardInterrupt):
        on_hosts(plan, lambda metrics: None)
    until(lambda: not running(tmp_path), seconds=5)
    assert not plan.launched.exists()
    assert lines(plan) == []


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["'_folder', 1", "'_connect', 1", "'_connect', 2", "'submit', 1", "'state', 1"])
def test_a_launcher_killed_while_it_submits_starts_nothing_twice(tmp_path: Path, dies: str) -> None:
    plan = hosts_plan(tmp_path, f"{WORKER}; time.sleep(1)")
    with in_a_process(plan, dies) as launcher:
        assert launcher.wait() == -signal.SIGKILL
    seen: list[dict[str, Any]] = []
    on_hosts(plan, seen.append)
    assert sorted(line["step"] for line in seen) == [0, 1], "each rank, once"
    assert lines(plan) == seen
    until(lambda: not running(tmp_path), seconds=5)


@pytest.mark.slow
def test_a_job_that_ended_while_nobody_looked_is_taken_as_it_ended(tmp_path: Path) -> None:
    fails = "; os.environ['RANK'] == '1' and os.path.exists('fail') and os.kill(os.getpid(), 9)"
    plan = hosts_plan(tmp_path, f"{WORKER}; time.sleep(2){fails}")
    for fail in (False, True):
        if fail:
            (tmp_path / "fail").touch()
        plan.metrics[0].unlink(missing_ok=True)
        with in_a_process(plan) as launcher:
            assert launcher.stdout is not None
            launcher.stdout.readline()
            launcher.kill()
        until(lambda: not running(tmp_path))
        seen: list[dict[str, Any]] = []
        if fail:
            with pytest.raises(TrainingFailedError, match="rank 1 died of SIGKILL"):
                on_hosts(plan, seen.append, shell=NO_SUCH_HOST)
        else:
            on_hosts(plan, seen.append, shell=NO_SUCH_HOST)
        assert sorted(line["step"] for line in seen) == [0, 1]


@pytest.mark.slow
def test_other_hosts_replace_the_job(tmp_path: Path) -> None:
    plan = hosts_plan(tmp_path, f"{WORKER}; time.sleep(600)")
    with in_a_process(plan) as launcher:
        assert launcher.stdout is not None
        workers = [int(launcher.stdout.readline()) for _ in range(2)]
        launcher.kill()
    with pytest.raises(TrainingFailedError, match=r"was given to the hosts and may still run there; take that launcher again"):
        run_local(replace(plan, hosts=()), lambda metrics: None)
    warnings: list[str] = []
    plan.metrics[0].unlink()
    other = replace(plan, hosts=("localhost", "somewhere"), argv=(sys.executable, "-c", WORKER))
    on_hosts(other, lambda metrics: None, warnings.append)
    assert "is of another recipe or placement, and is cancelled" in warnings[0]
    assert gone(workers, seconds=0)
    assert len(lines(plan)) == 2


@pytest.mark.slow
def test_what_a_lost_host_still_runs_ends_once_its_job_was_replaced(tmp_path: Path) -> None:
    plan = hosts_plan(tmp_path, f"{WORKER}; time.sleep(600)")
    with in_a_process(plan) as launcher:
        assert launcher.stdout is not None
        workers = [int(launcher.stdout.readline()) for _ in range(2)]
        launcher.kill()
    shutil.rmtree(tmp_path / "hosts")
    assert gone(workers, seconds=20)
    until(lambda: not running(tmp_path))


def weights(job: TrainingJob) -> str:
    return hashlib.sha256((job.output / "model" / "model.safetensors").read_bytes()).hexdigest()
