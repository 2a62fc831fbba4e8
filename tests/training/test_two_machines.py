"""Training on two machines: two network namespaces with a link between them, each with an sshd and one process of the job."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.network import TwoMachines, missing
from hephaestus_dag.training.attempts import TrainingFailedError
from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.hosts import address_towards
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import LaunchPlan, plan_launch
from hephaestus_dag.training.metrics import read_metrics
from hephaestus_dag.training.ssh_jobs import REMOTE_SHELL, SshHosts
from tests.training.test_hosts import LINE

needs_namespaces = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[TwoMachines]:
    (tmp_path / "network").mkdir()
    with TwoMachines(tmp_path / "network") as machines:
        yield machines


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_namespaces
def test_two_machines_train_the_weights_of_one_though_one_is_lost(
    make_job: Callable[..., TrainingJob], machines: TwoMachines
) -> None:
    one, two = make_job(name="one"), make_job(name="two")
    run_local(plan_launch(one, LauncherConfig(num_processes=2, threads=1)), lambda metrics: None)
    lost: list[float] = []
    warnings: list[tuple[str, float]] = []

    def lose_second(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 6 and not lost:
            lost.append(time.monotonic())
            machines.lose_second()

    plan = plan_launch(two, LauncherConfig(num_processes=2, threads=1, hosts=machines.hosts, restarts=1))
    run_detached(plan, by_ssh(plan, machines), lose_second, lambda warning: warnings.append((warning, time.monotonic())))
    told = [(warning, after) for warning, after in warnings if "restart" in warning]
    assert len(told) == 1
    assert told[0][0].startswith(f"two: host {machines.hosts[1]} ")
    assert "is lost" in told[0][0]
    assert told[0][1] - lost[0] <= 30
    assert [line["step"] for line in read_metrics(two.metrics) if "loss" in line] == list(range(1, 13))
    assert weights(two) == weights(one)


@pytest.mark.slow
@pytest.mark.timeout(120)
@needs_namespaces
def test_a_cut_link_is_told_and_what_is_left_behind_it_ends(tmp_path: Path, machines: TwoMachines) -> None:
    plan = LaunchPlan(
        title="cut",
        argv=(sys.executable, "-c", f"import json, os, time; {LINE}; time.sleep(600)"),
        env={},
        work=tmp_path / "work",
        num_processes=2,
        hosts=machines.hosts,
    )
    seen: list[float] = []

    def cut(metrics: dict[str, Any]) -> None:
        seen.append(time.monotonic())
        if len(seen) == 2:
            machines.link("down")

    with pytest.raises(TrainingFailedError, match=f"host {machines.hosts[1]} cannot be reached, or is lost"):
        run_detached(plan, by_ssh(plan, machines), cut)
    assert time.monotonic() - seen[1] <= 30
    machines.link("up")
    limit = time.monotonic() + 60
    while workers(machines) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not workers(machines)


def test_the_way_to_a_host_is_known_without_sending_anything() -> None:
    assert address_towards("127.0.0.1") == "127.0.0.1"
    assert address_towards("no-such-host.invalid") is None


def by_ssh(plan: LaunchPlan, machines: TwoMachines) -> SshHosts:
    return SshHosts.of(plan, (*machines.ssh, *REMOTE_SHELL[1:]))


def workers(machines: TwoMachines) -> list[int]:
    return machines.running(machines.names[1], b"time.sleep(600)")


def weights(job: TrainingJob) -> str:
    return hashlib.sha256((job.output / "model" / "model.safetensors").read_bytes()).hexdigest()
