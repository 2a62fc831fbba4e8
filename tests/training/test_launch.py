import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import (
    LaunchPlan,
    TrainingFailedError,
    TrainingStoppedError,
    plan_launch,
    run_local,
)

FAMILY = """
import json, os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("metrics.jsonl", "w") as file:
    file.write(json.dumps({"step": 1, "pids": [os.getpid(), child.pid]}) + "\\n")
time.sleep(600)
"""


def family_plan(folder: Path, *arguments: str) -> LaunchPlan:
    """A process with a child of its own, which reports both ids and then waits for ever."""
    return LaunchPlan(
        title="family",
        argv=(sys.executable, "-c", FAMILY, *arguments),
        env={},
        cwd=folder,
        metrics=folder / "metrics.jsonl",
        num_gpus=0,
    )


def alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids: list[int], seconds: float = 10) -> bool:
    limit = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < limit:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.mark.parametrize("manner", ["polite", pytest.param("stubborn", marks=pytest.mark.slow)])
def test_an_interrupt_leaves_no_process(tmp_path: Path, manner: str) -> None:
    pids: list[int] = []

    def interrupt(metrics: dict[str, Any]) -> None:
        pids.extend(metrics["pids"])
        assert all(map(alive, pids))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_local(family_plan(tmp_path, manner), interrupt, tmp_path / "log")
    assert len(pids) == 2
    assert gone(pids)


def test_stop_ends_the_job(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with pytest.raises(TrainingStoppedError, match="resumes"):
        run_local(family_plan(tmp_path), seen.append, tmp_path / "log", stop=lambda: bool(seen))
    assert gone(seen[0]["pids"])


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    code = "import sys; print('\\n'.join(map(str, range(100)))); print('error: no more disk', file=sys.stderr); sys.exit(3)"
    plan = LaunchPlan(
        title="bad", argv=(sys.executable, "-c", code), env={}, cwd=tmp_path, metrics=tmp_path / "metrics.jsonl", num_gpus=0
    )
    with pytest.raises(TrainingFailedError, match=r"exit status 3(.|\n)*error: no more disk$") as caught:
        run_local(plan, lambda metrics: None, tmp_path / "log")
    assert "\n10\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's own")
def test_killing_the_launching_process_kills_the_job(make_job: Callable[..., TrainingJob], tmp_path: Path) -> None:
    plan = family_plan(tmp_path)
    code = f"""
from pathlib import Path
from hephaestus_dag.training.launch import LaunchPlan, run_local
plan = LaunchPlan(title="family", argv={plan.argv!r}, env={{}}, cwd=Path({str(tmp_path)!r}),
                  metrics=Path({str(plan.metrics)!r}), num_gpus=0)
run_local(plan, lambda metrics: print(metrics["pids"][0], flush=True), Path({str(tmp_path / "log")!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        assert alive(pid)
        launcher.kill()
    assert gone([pid])
    for grandchild in _children_left(tmp_path):
        os.kill(grandchild, signal.SIGKILL)


def _children_left(folder: Path) -> list[int]:
    """The test family's grandchild asks for no such signal; training workers do."""
    import json

    return [pid for pid in json.loads((folder / "metrics.jsonl").read_text())["pids"] if alive(pid)]


def test_plans_name_the_worker_or_torchrun(make_job: Callable[..., TrainingJob]) -> None:
    job = make_job()
    alone = plan_launch(job, LauncherConfig(threads=3))
    assert alone.argv[1:] == ("-m", "hephaestus_dag.training.worker", str(job.work / "job.json"))
    assert alone.env["OMP_NUM_THREADS"] == "3"
    assert alone.env["DS_ACCELERATOR"] == "cpu"
    assert TrainingJob.read(job.work / "job.json") == job
    several = plan_launch(job, LauncherConfig(num_processes=2, num_gpus=2))
    assert several.argv[1:5] == ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert several.num_gpus == 2
    assert several.env["DS_ACCELERATOR"] == "cuda"
    with pytest.raises(ValueError, match="multiple of 6"):
        plan_launch(job, LauncherConfig(num_processes=3))
