"""Starting the processes of a training job, following them, starting them again when one dies, and leaving none behind."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hephaestus_dag.training import failures, orphans, pulse
from hephaestus_dag.training.config import Placement
from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.processes import end_group, signal_name, wait

logger = logging.getLogger(__name__)

WORKER = "hephaestus_dag.training.worker"
OnMetrics = Callable[[dict[str, Any]], None]
Say = Callable[[str], None]

LAST_WORDS = 2.0
"""Seconds that the other processes get to fail by themselves, and to say of what, once one has."""

LAST_LINES = 15

KEEP_MEMORY = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1"
"""Lets a process keep the memory that it frees: every step needs as much again, and on a CPU fresh pages cost real time."""


class TrainingFailedError(RuntimeError):
    """A training job failed; the message says which process did, and of what."""


class TrainingDivergedError(TrainingFailedError):
    """Training diverged, and no checkpoint helped; the message says at which step, and how."""


class TrainingStoppedError(RuntimeError):
    """A training job was stopped on request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """What has to run. Where and how is a launcher's matter: it starts ``argv`` ``num_processes`` times.

    They are spread evenly over ``num_nodes`` machines that see the same folders. When there are several processes, RANK,
    LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are the launcher's to set, as torchrun does.
    """

    title: str
    argv: tuple[str, ...]
    """The command of one process; its first word is this Python."""
    env: Mapping[str, str]
    """Variables on top of those of the launching process."""
    work: Path
    """The folder that the processes start in, and that the files to follow are in."""
    num_processes: int = 1
    num_gpus: int = 0
    threads: int = 1
    """CPU threads of each process."""
    nodes: int = 1
    """Machines that share the job, where they are not named."""
    hosts: tuple[str, ...] = ()
    """The machines, where the recipe names them."""
    rendezvous_port: int = 29_400
    restarts: int = 0
    """Times that the job is started again after a process died."""

    later: tuple[Path, ...] = ()
    """Work folders of the jobs that the same processes run after the first one."""

    @property
    def metrics(self) -> tuple[Path, ...]:
        """The files that rank 0 appends its metrics to, one for each job."""
        return tuple(work / "metrics.jsonl" for work in (self.work, *self.later))

    @property
    def log(self) -> Path:
        """The file for what the processes print."""
        return self.work / "worker.log"

    @property
    def launched(self) -> Path:
        """The file that says which job of a scheduler runs the plan."""
        return self.work / "launched.json"

    @property
    def failures(self) -> Path:
        """The folder where a process that fails leaves the reason; emptied before each start."""
        return self.work / "failures"

    @property
    def num_nodes(self) -> int:
        """Machines that share the job."""
        return len(self.hosts) or self.nodes

    @property
    def pulses(self) -> Path:
        """The folder of the processes' signs of life; emptied before each start."""
        return self.work / "pulses"


def plan_launch(job: TrainingJob, placement: Placement, *later: TrainingJob) -> LaunchPlan:
    """Write the job into its work folder and return what to start: no more processes than a step has sequences.

    The same processes run the jobs ``later``, of the same global batch, one after the other. Raises ValueError when the
    global batch cannot be divided among the processes.
    """
    placement = placement.for_batch(job.config.global_batch_sequences)
    job.config.micro_batches(placement.num_processes)
    paths = [each.work / "job.json" for each in (job, *later)]
    for each, path in zip((job, *later), paths, strict=True):
        each.write(path)
    on_one_machine = placement.num_processes // placement.num_nodes
    threads = placement.threads or max(1, (os.cpu_count() or 1) // on_one_machine)
    root = str(Path(__file__).parents[2])
    env = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TOKENIZERS_PARALLELISM": "false",
        "DS_ACCELERATOR": "cuda" if placement.num_gpus else "cpu",
        orphans.VARIABLE: "1",
        failures.VARIABLE: str((job.work / "failures").absolute()),
        pulse.VARIABLE: str((job.work / "pulses").absolute()),
    }
    if not placement.num_gpus:
        env |= {"CUDA_VISIBLE_DEVICES": "", "GLIBC_TUNABLES": KEEP_MEMORY}
        if placement.num_nodes == 1 and not placement.hosts:
            env["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    return LaunchPlan(
        title=job.title,
        argv=(sys.executable, "-m", WORKER, *(str(path.absolute()) for path in paths)),
        env=env,
        work=job.work,
        later=tuple(each.work for each in later),
        num_processes=placement.num_processes,
        num_gpus=placement.num_gpus,
        threads=threads,
        nodes=placement.nodes,
        hosts=placement.hosts,
        rendezvous_port=placement.rendezvous_port,
        restarts=placement.restarts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process that a launcher starts on this machine."""

    name: str
    """For messages: ``rank 1``."""
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables on top of the plan's."""
    tethered: bool = False
    """Whether it ends what it started elsewhere when its standard input closes."""


def run_local(
    plan: LaunchPlan, on_metrics: OnMetrics, warn: Say = logger.warning, stop: Callable[[], bool] = lambda: False
) -> None:
    """Run a plan's processes on this machine, as :func:`run_members` says; several meet at a free port of the loopback.

    Raises ValueError when the plan names other machines.
    """
    if plan.hosts:
        raise ValueError("hosts: the torchrun launcher is for several machines; leave hosts empty to stay on this one")

    def members(_: int) -> list[Member]:
        if plan.num_processes == 1:  # Said in so many words: this process may itself be one of several.
            alone = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
            return [Member(name="the process", argv=plan.argv, env=alone)]
        shared = {"WORLD_SIZE": str(plan.num_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        return [
            Member(name=f"rank {rank}", argv=plan.argv, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(plan.num_processes)
        ]

    run_members(plan, members, on_metrics, warn, stop)


def run_members(
    plan: LaunchPlan,
    members: Callable[[int], Sequence[Member]],
    on_metrics: OnMetrics,
    warn: Say,
    stop: Callable[[], bool],
    cause: Callable[[Mapping[str, int | None], str], str | None] = lambda codes, log: None,
) -> None:
    """Run the processes of a plan to their end, calling ``on_metrics`` with each new line of the metrics.

    Where the plan is of several jobs, a line says as ``job`` whose it is, counted from 0.
    ``members`` gives the processes of an attempt, counted from 0. When one dies, the others are ended and all are started
    again, up to ``plan.restarts`` times, each announced through ``warn``. So is a process that falls silent, as `pulse`
    says. ``stop`` is asked several times a second.
    Whatever exception passes through here (an interrupt, one of ``on_metrics``), the processes and their groups are ended
    first; and when this process is killed, the kernel kills its children. ``cause`` finds in the exit statuses by name,
    and in the attempt's log, what no single process tells.

    Raises TrainingFailedError for a failure that another attempt would meet again, or when no restart is left;
    TrainingStoppedError after ``stop``.
    """
    plan.work.mkdir(parents=True, exist_ok=True)
    if plan.launched.exists():
        raise TrainingFailedError(f"{plan.title}: {given_elsewhere(plan)}")
    plan.log.write_bytes(b"")
    look = looking(plan, [MetricsFollower(path) for path in plan.metrics], on_metrics, stop)
    run_attempts(plan, lambda attempt: _attempt(plan, members(attempt), look, cause, warn), warn)


def given_elsewhere(plan: LaunchPlan) -> str:
    """Say which job of a scheduler may still work in the plan's folder, and what to do about it."""
    job = json.loads(plan.launched.read_text())
    return (
        f"{plan.launched}: job {job['id'] or job['name']} was given to {job['scheduler']} and may still run there; "
        "take that launcher again, or cancel the job and delete this file"
    )


def looking(
    plan: LaunchPlan, followers: Sequence[MetricsFollower], on_metrics: OnMetrics, stop: Callable[[], bool]
) -> Callable[[], None]:
    """Return what hands new lines of the metrics on, and raises TrainingStoppedError once ``stop`` says so."""

    def look() -> None:
        for number, follower in enumerate(followers):
            for metrics in follower.new_lines():
                on_metrics({"job": number, **metrics} if plan.later else metrics)
        if stop():
            raise TrainingStoppedError(f"{plan.title} was stopped; started again, it resumes from its last checkpoint")

    return look


def run_attempts(plan: LaunchPlan, run: Callable[[int], tuple[str, str] | None], warn: Say, attempt: int = 0) -> None:
    """Run attempts, counted on from ``attempt``, until one does not return (how it died, what it had printed).

    Raises TrainingFailedError when one dies and no restart is left.
    """
    while ended := run(attempt):
        death, log = ended
        if attempt >= plan.restarts:
            after = f" after {attempt} restart{'s' * (attempt > 1)}" if attempt else ""
            end = "\n".join(log.splitlines()[-LAST_LINES:]) or "(nothing)"
            raise TrainingFailedError(f"{plan.title} failed{after}: {death}; {plan.log} ends with:\n{end}")
        attempt += 1
        warn(f"{plan.title}: {death}; restart {attempt} of {plan.restarts} from the last checkpoint")


def raise_if_lasting(plan: LaunchPlan, left: Sequence[failures.Failure]) -> None:
    """Raise TrainingFailedError when one of the failures is such that another attempt would meet it again."""
    if left and left[0].lasting:
        error = TrainingDivergedError if left[0].diverged else TrainingFailedError
        raise error(f"{plan.title} failed: {left[0].reason}")


def _attempt(
    plan: LaunchPlan,
    members: Sequence[Member],
    look: Callable[[], None],
    cause: Callable[[Mapping[str, int | None], str], str | None],
    warn: Say,
) -> tuple[str, str] | None:
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
        for member in members:
            processes[member.name] = _start(plan, member)
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
    return _death(codes, left, cause(codes, log)), log


def _start(plan: LaunchPlan, member: Member) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    with plan.log.open("ab") as log:
        return subprocess.Popen(
            member.argv,
            env={**os.environ, **plan.env, **member.env},
            cwd=plan.work,
            stdin=subprocess.PIPE if member.tethered else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: orphans.die_with_parent(parent),
        )


def _over(processes: Mapping[str, subprocess.Popen[bytes]]) -> bool:
    """Whether all have ended, or one of them badly."""
    codes = [process.poll() for process in processes.values()]
    return None not in codes or any(codes)


def _death(codes: Mapping[str, int | None], left: Sequence[failures.Failure], cause: str | None) -> str:
    """Return which process died of what: a signal tells more than the errors of those that lost it."""
    for name, code in codes.items():
        if code is not None and code < 0:
            return f"{name} died of {signal_name(-code)}"
    if cause:
        return cause
    if left:
        return f"rank {left[0].rank} died of {left[0].reason}"
    name, code = next((name, code) for name, code in codes.items() if code)
    return f"{name} ended with exit status {code}"


def _free_port() -> int:
    """Return a port nobody listens at; should it be taken in the meantime, the restart finds another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
