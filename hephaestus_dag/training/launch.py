"""Starting the processes of a training job, following them, starting them again when one dies, and leaving none behind."""

import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from hephaestus_dag.training import failures, orphans, pulse
from hephaestus_dag.training.attempts import (
    OnMetrics,
    Say,
    TrainingFailedError,
    given_elsewhere,
    looking,
    raise_if_lasting,
    run_attempts,
)
from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.processes import end_group, signal_name, wait

logger = logging.getLogger(__name__)

LAST_WORDS = 2.0
"""Seconds that the other processes get to fail by themselves, and to say of what, once one has."""


def run_local(
    plan: LaunchPlan, on_metrics: OnMetrics, warn: Say = logger.warning, stop: Callable[[], bool] = lambda: False
) -> None:
    """Run a plan's processes on this machine to their end, calling ``on_metrics`` with each new line of the metrics.

    Where the plan is of several jobs, a line says as ``job`` whose it is, counted from 0. Several processes meet at a free
    port of the loopback. When one dies, the others are ended and all are started again, up to ``plan.restarts`` times, each
    announced through ``warn``. So is a process that falls silent, as `pulse` says. ``stop`` is asked several times a second.
    Whatever exception passes through here (an interrupt, one of ``on_metrics``), the processes and their groups are ended
    first; and when this process is killed, the kernel kills its children.

    Raises TrainingFailedError for a failure that another attempt would meet again, or when no restart is left;
    TrainingStoppedError after ``stop``; ValueError when the plan names other machines.
    """
    if plan.hosts:
        raise ValueError("hosts: the torchrun launcher is for several machines; leave hosts empty to stay on this one")
    plan.work.mkdir(parents=True, exist_ok=True)
    if plan.launched.exists():
        raise TrainingFailedError(f"{plan.title}: {given_elsewhere(plan)}")
    plan.log.write_bytes(b"")
    look = looking(plan, [MetricsFollower(path) for path in plan.metrics], on_metrics, stop)
    run_attempts(plan, lambda _: _attempt(plan, look, warn), warn)


def _variables(plan: LaunchPlan) -> dict[str, dict[str, str]]:
    """Return, by the name of each process, the variables that tell it which of them it is."""
    if plan.num_processes == 1:  # Said in so many words: this process may itself be one of several.
        return {"the process": {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}}
    shared = {"WORLD_SIZE": str(plan.num_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    ranks = [str(rank) for rank in range(plan.num_processes)]
    return {f"rank {rank}": {**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in ranks}


def _attempt(plan: LaunchPlan, look: Callable[[], None], warn: Say) -> tuple[str, str] | None:
    """Run the processes once, calling ``look`` now and then.

    Returns which of them died of what, and what they had printed by then, or None when the job is done.
    """
    before = plan.log.stat().st_size
    for folder in (plan.failures, plan.pulses):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    pulses = pulse.Pulses(plan.pulses, plan.metrics)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, variables in _variables(plan).items():
            processes[name] = _start(plan, variables)
        while not _over(processes):
            look()
            for remark in pulses.remarks():
                warn(f"{plan.title}: {remark}")
            time.sleep(0.1)
        look()
        if not any(process.returncode for process in processes.values()):
            return None
        wait(processes.values(), LAST_WORDS)
        codes = {name: process.returncode for name, process in processes.items()}
        log = plan.log.read_bytes()[before:].decode(errors="replace")
        left = failures.failures_in(plan.failures)
    finally:
        end_group(*processes.values())
    raise_if_lasting(plan, left)
    return _death(codes, left), log


def _start(plan: LaunchPlan, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    with plan.log.open("ab") as log:
        return subprocess.Popen(
            plan.argv,
            env={**os.environ, **plan.env, **variables},
            cwd=plan.work,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: orphans.die_with_parent(parent),
        )


def _over(processes: Mapping[str, subprocess.Popen[bytes]]) -> bool:
    """Whether all have ended, or one of them badly."""
    codes = [process.poll() for process in processes.values()]
    return None not in codes or any(codes)


def _death(codes: Mapping[str, int | None], left: Sequence[failures.Failure]) -> str:
    """Return which process died of what: a signal tells more than the errors of those that lost it."""
    for name, code in codes.items():
        if code is not None and code < 0:
            return f"{name} died of {signal_name(-code)}"
    if left:
        return f"rank {left[0].rank} died of {left[0].reason}"
    name, code = next((name, code) for name, code in codes.items() if code)
    return f"{name} ended with exit status {code}"


def _free_port() -> int:
    """Return a port nobody listens at; should it be taken in the meantime, the restart finds another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
