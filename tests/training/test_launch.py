import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.attempts import TrainingFailedError, TrainingStoppedError
from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import LaunchPlan, plan_launch

FAMILY = """
import json, os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("metrics.jsonl", "a") as file:
    file.write(json.dumps({"step": 1, "pids": [os.getpid(), child.pid]}) + "\\n")
time.sleep(600)
"""


def plan(folder: Path, code: str, *arguments: str, **fields: Any) -> LaunchPlan:
    return LaunchPlan(title="family", argv=(sys.executable, "-c", code, *arguments), work=folder, **{"env": {}, **fields})


def family_plan(folder: Path, *arguments: str, processes: int = 1) -> LaunchPlan:
    """Processes with a child each, which report both ids and then wait for ever."""
    return plan(folder, FAMILY, *arguments, num_processes=processes)


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


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("manner", ["polite", pytest.param("stubborn", marks=pytest.mark.slow)])
def test_an_interrupt_leaves_no_process(tmp_path: Path, manner: str, processes: int) -> None:
    pids: list[int] = []

    def interrupt(metrics: dict[str, Any]) -> None:
        pids.extend(metrics["pids"])
        if len(pids) == 2 * processes:
            assert all(map(alive, pids))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_local(family_plan(tmp_path, manner, processes=processes), interrupt)
    assert len(pids) == 2 * processes
    assert gone(pids)


def test_stop_ends_the_job(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with pytest.raises(TrainingStoppedError, match="resumes"):
        run_local(family_plan(tmp_path), seen.append, stop=lambda: bool(seen))
    assert gone(seen[0]["pids"])


def test_the_end_of_one_process_ends_the_others(tmp_path: Path) -> None:
    code = FAMILY.replace("time.sleep(600)\n", "time.sleep(1 if os.environ['RANK'] == '1' else 600); os.kill(os.getpid(), 9)\n")
    seen: list[dict[str, Any]] = []
    began = time.monotonic()
    with pytest.raises(
        TrainingFailedError, match=r"rank 1 died of SIGKILL \(killed from outside, or by the system when memory"
    ):
        run_local(plan(tmp_path, code, num_processes=2), seen.append)
    assert time.monotonic() - began < 20
    assert len(seen) == 2
    assert gone([pid for line in seen for pid in line["pids"]])


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    code = "import sys; print('\\n'.join(map(str, range(100)))); print('error: no more disk', file=sys.stderr); sys.exit(3)"
    with pytest.raises(TrainingFailedError, match=r"exit status 3(.|\n)*error: no more disk$") as caught:
        run_local(plan(tmp_path, code), lambda metrics: None)
    assert "\n10\n" not in str(caught.value)


DYING = """
import os, sys
from hephaestus_dag.training.failures import Failure
print("attempt", file=sys.stderr)
if os.path.exists("twice"):
    os.unlink("twice")
    os.kill(os.getpid(), 9)
error = {error}
Failure.of(error, repr(error)).leave()
sys.exit({code})
"""


@pytest.mark.parametrize(
    ("first", "then", "attempts", "message"),
    [
        (True, "None", 2, None),
        (True, "ValueError('bad config')", 2, r"^family failed: ValueError\('bad config'\)$"),
        (False, "FloatingPointError('nan')", 1, r"^family failed: FloatingPointError\('nan'\)$"),
        (True, "RuntimeError('peer lost')", 2, r"^family failed after 1 restart: rank 0 died of RuntimeError\('peer lost'\); "),
    ],
)
def test_death_is_met_with_a_restart_and_a_foreseen_error_is_not(
    first: bool, then: str, attempts: int, message: str | None, tmp_path: Path
) -> None:
    if first:
        (tmp_path / "twice").touch()
    code = DYING.format(error=then, code=int(then != "None"))
    if then == "None":
        code = code.replace("Failure.of(error, repr(error)).leave()", "")
    env = {"HEPHAESTUS_FAILURES": str(tmp_path / "failures")}
    warnings: list[str] = []
    with pytest.raises(TrainingFailedError, match=message) if message else nullcontext():
        run_local(plan(tmp_path, code, env=env, restarts=1), lambda metrics: None, warnings.append)
    assert (tmp_path / "worker.log").read_text().count("attempt") == attempts
    assert len(warnings) == attempts - 1
    if warnings:
        assert warnings[0].startswith("family: the process died of SIGKILL")
        assert warnings[0].endswith("restart 1 of 1 from the last checkpoint")


def test_lines_that_survive_a_restart_come_once(tmp_path: Path) -> None:
    code = """
import os, time
from pathlib import Path
from hephaestus_dag.training.metrics import MetricsFile, read_metrics
again = bool(read_metrics(Path("metrics.jsonl")))
file = MetricsFile(Path("metrics.jsonl"), 2 if again else -1)
for step in range(3 if again else 0, 6):
    file.write({"step": step, "again": again})
    time.sleep(0.02)
os.kill(os.getpid(), 0 if again else 9)
"""
    seen: list[dict[str, Any]] = []
    run_local(plan(tmp_path, code, restarts=1), seen.append, lambda warning: None)
    assert [line["step"] for line in seen] == [0, 1, 2, 3, 4, 5, 3, 4, 5]
    assert [line["again"] for line in seen] == [False] * 6 + [True] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's own")
def test_killing_the_launching_process_kills_the_job(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import LaunchPlan
plan = LaunchPlan(title="family", argv={family_plan(tmp_path).argv!r}, env={{}}, work=Path({str(tmp_path)!r}), num_processes=2)
seen = []
def note(metrics):
    seen.append(metrics["pids"][0])
    if len(seen) == 2:
        print(*seen, flush=True)
run_local(plan, note)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pids = [int(pid) for pid in launcher.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        launcher.kill()
    assert gone(pids)
    # The test family's grandchildren ask for no such signal; training workers do.
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        for pid in filter(alive, json.loads(line)["pids"]):
            os.kill(pid, signal.SIGKILL)


def test_a_plan_is_one_worker_and_how_many_of_it(make_job: Callable[..., TrainingJob]) -> None:
    job = make_job()
    alone = plan_launch(job, LauncherConfig(threads=3))
    assert alone.argv[1:] == ("-m", "hephaestus_dag.training.worker", str(job.work / "job.json"))
    assert alone.env["OMP_NUM_THREADS"] == "3"
    assert alone.env["DS_ACCELERATOR"] == "cpu"
    assert (alone.metrics, alone.num_processes, alone.num_nodes, alone.restarts) == ((job.metrics,), 1, 1, 1)
    assert TrainingJob.read(job.work / "job.json") == job
    several = plan_launch(job, LauncherConfig(num_processes=4, num_gpus=4, hosts=("one", "two")))
    assert several.argv == alone.argv
    assert (several.num_processes, several.num_gpus, several.num_nodes) == (4, 4, 2)
    assert several.env["DS_ACCELERATOR"] == "cuda"
    with pytest.raises(ValueError, match="multiple of 6"):
        plan_launch(job, LauncherConfig(num_processes=3))
    with pytest.raises(ValueError, match="hosts: the torchrun launcher"):
        run_local(several, lambda metrics: None)
