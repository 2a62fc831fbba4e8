"""Starting a training job as a child process, following it, and leaving nothing behind, however it ends."""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.orphans import VARIABLE, die_with_parent

WORKER = "hephaestus_dag.training.worker"
OnMetrics = Callable[[dict[str, Any]], None]


class TrainingFailedError(RuntimeError):
    """A training process ended with an error; the message ends with the last lines of its log."""


class TrainingStoppedError(RuntimeError):
    """A training process was stopped on request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """What has to run; where and how is the launcher's matter."""

    title: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """Variables on top of those of the launching process."""
    cwd: Path
    metrics: Path
    """The file that the job's first process appends its metrics to."""
    num_gpus: int
    num_nodes: int = 1


def plan_launch(job: TrainingJob, placement: LauncherConfig) -> LaunchPlan:
    """Write the job into its work folder and return what to start: the worker itself, or torchrun with several of them.

    Raises ValueError when the global batch cannot be divided among the processes.
    """
    job.config.micro_batches(placement.num_processes)
    path = job.work / "job.json"
    job.write(path)
    threads = placement.threads or max(1, (os.cpu_count() or 1) // placement.num_processes)
    root = str(Path(__file__).parents[2])
    env = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TOKENIZERS_PARALLELISM": "false",
        VARIABLE: "1",
    }
    if not placement.num_gpus:
        loopback = "lo" if sys.platform == "linux" else "lo0"
        env |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": loopback}
    else:
        env["DS_ACCELERATOR"] = "cuda"
    command = ("-m", WORKER, str(path))
    if placement.num_processes > 1:
        command = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={placement.num_processes}", *command)
    return LaunchPlan(
        title=job.title,
        argv=(sys.executable, *command),
        env=env,
        cwd=job.work,
        metrics=job.metrics,
        num_gpus=placement.num_gpus,
    )


def run_local(plan: LaunchPlan, on_metrics: OnMetrics, log_path: Path, stop: Callable[[], bool] = lambda: False) -> None:
    """Run a plan on this machine until it ends, calling ``on_metrics`` with each new line of its metrics.

    What the processes print goes to ``log_path``. ``stop`` is asked several times a second. Whatever exception passes
    through here (an interrupt, one of ``on_metrics``), the whole process group is ended first; and when this process is
    killed, the kernel kills the children.

    Raises TrainingFailedError with the end of the log when the job fails, TrainingStoppedError after ``stop``.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    follower = MetricsFollower(plan.metrics)
    parent = os.getpid()
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            plan.argv,
            env={**os.environ, **plan.env},
            cwd=plan.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent),
        )
    try:
        while not _ended(process, seconds=0.2):
            for metrics in follower.new_lines():
                on_metrics(metrics)
            if stop():
                raise TrainingStoppedError(f"{plan.title} was stopped; started again, it resumes from its last checkpoint")
        for metrics in follower.new_lines():
            on_metrics(metrics)
    except BaseException:
        end_group(process)
        raise
    if process.returncode:
        raise TrainingFailedError(
            f"{plan.title} failed ({_reason(process.returncode)}); {log_path} ends with:\n{_tail(log_path)}"
        )


def end_group(process: subprocess.Popen[bytes], patience: float = 3.0) -> None:
    """End a process and its group, asking ever less politely, and wait for it."""
    for wish in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, wish)
        except ProcessLookupError:
            break
        if _ended(process, patience):
            break
    process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)  # Members that outlived their leader.
    except ProcessLookupError:
        return


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _tail(path: Path, lines: int = 15) -> str:
    with path.open(errors="replace") as file:
        return "".join(deque(file, lines)).rstrip() or "(nothing)"
