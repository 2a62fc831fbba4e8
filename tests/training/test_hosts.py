"""Several machines, played by this one: a stand-in for ssh starts a shell that no signal to it reaches, as ssh itself does."""

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.attempts import OnMetrics, Say, TrainingFailedError, TrainingStoppedError
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.hosts import Node, Task, stop
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.ssh_jobs import SshHosts
from tests.training.test_launch import FAMILY, gone

STAND_IN = (
    sys.executable,
    "-c",
    "import subprocess, sys; sys.exit(subprocess.Popen(['sh', '-c', sys.argv[2]], start_new_session=True).wait())",
)
NO_SUCH_HOST = (sys.executable, "-c", "import sys; print('ssh: no route to', sys.argv[1], file=sys.stderr); sys.exit(255)")
LINE = "open('metrics.jsonl', 'a').write(json.dumps({'step': int(os.environ['RANK']), 'pids': [os.getpid()]}) + '\\n')"
WORKER = f"import json, os, time; from hephaestus_dag.training.orphans import die_with_parent; die_with_parent(); {LINE}"


def hosts_plan(folder: Path, code: str, processes: int = 2, restarts: int = 0) -> LaunchPlan:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    return LaunchPlan(
        title="two hosts",
        argv=(sys.executable, "-c", code),
        env={"GREETING": 'it\'s "here" $HOME'},
        work=folder,
        num_processes=processes,
        hosts=("localhost", "elsewhere"),
        rendezvous_port=port,
        restarts=restarts,
    )


def on_hosts(
    plan: LaunchPlan,
    on_metrics: OnMetrics,
    warn: Say = lambda warning: None,
    stop: Callable[[], bool] = lambda: False,
    shell: Sequence[str] = STAND_IN,
) -> None:
    run_detached(plan, SshHosts.of(plan, shell), on_metrics, warn, stop)


def running(folder: Path, word: str = "") -> list[int]:
    """Processes with a folder, and a word, in their command line."""
    commands = {int(path.parent.name): path for path in Path("/proc").glob("[0-9]*/cmdline")}
    found = []
    for pid, path in commands.items():
        with suppress(OSError):
            line = path.read_text()
            if str(folder) in line and word in line and pid != os.getpid():
                found.append(pid)
    return found


def until(true: Callable[[], Any], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.slow
def test_each_host_runs_its_share_of_the_processes(tmp_path: Path) -> None:
    wanted = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GREETING"
    code = f"import json, os; print(os.getppid()); line = {{'step': 0, **{{name: os.environ[name] for name in {wanted}}}}}"
    code += "; open('metrics.jsonl', 'a').write(json.dumps(line) + '\\n')"
    seen: list[dict[str, Any]] = []
    on_hosts(hosts_plan(tmp_path, code, processes=4), seen.append)
    found = sorted((line["RANK"], line["LOCAL_RANK"]) for line in seen)
    assert found == [("0", "0"), ("1", "1"), ("2", "0"), ("3", "1")]
    assert {(line["WORLD_SIZE"], line["LOCAL_WORLD_SIZE"], line["GREETING"]) for line in seen} == {
        ("4", "2", 'it\'s "here" $HOME')
    }


@pytest.mark.slow
def test_stopping_ends_the_processes_on_every_host(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with pytest.raises(TrainingStoppedError):
        on_hosts(hosts_plan(tmp_path, FAMILY), seen.append, stop=lambda: len(seen) == 2)
    assert len(seen) == 2
    assert gone([line["pids"][0] for line in seen], seconds=0), "the processes end before the launcher does"
    until(lambda: not running(tmp_path), seconds=5)
    kill_what_workers_would_not_leave(tmp_path)


@pytest.mark.slow
def test_the_death_of_one_rank_is_named_and_met_with_a_restart(tmp_path: Path) -> None:
    code = f"""
import json, os, time
{LINE}
time.sleep(1 if os.environ["RANK"] == "1" else 600)
os.kill(os.getpid(), 9)
"""
    seen: list[dict[str, Any]] = []
    warnings: list[str] = []
    with pytest.raises(TrainingFailedError, match="after 1 restart: rank 1 died of SIGKILL"):
        on_hosts(hosts_plan(tmp_path, code, restarts=1), seen.append, warnings.append)
    assert len(warnings) == 1
    assert warnings[0].startswith("two hosts: rank 1 died of SIGKILL")
    assert "of the hosts failed: on host" in warnings[0]
    assert len(seen) == 4
    assert gone([line["pids"][0] for line in seen], seconds=0)


@pytest.mark.slow
def test_a_host_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingFailedError,
        match=r"host elsewhere cannot be reached, or is lost \(exit status 255: ssh: no route to elsewhere\)",
    ):
        on_hosts(hosts_plan(tmp_path, "import time; time.sleep(600)"), lambda metrics: None, shell=NO_SUCH_HOST)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a mount of its own needs root")
def test_a_host_that_sees_another_folder_is_named_and_not_tried_again(tmp_path: Path) -> None:
    apart = "subprocess.call(['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none ' + sys.argv[3] + '; ' + sys.argv[2]])"
    shell = (sys.executable, "-c", f"import subprocess, sys; sys.argv.append({str(tmp_path)!r}); sys.exit({apart})")
    warnings: list[str] = []
    with pytest.raises(TrainingFailedError, match=rf"\S+ does not see {tmp_path}; all nodes must see the store's folder"):
        on_hosts(hosts_plan(tmp_path, WORKER, restarts=2), lambda metrics: None, warnings.append, shell=shell)
    assert warnings == []
    until(lambda: not running(tmp_path), seconds=5)


@pytest.mark.slow
def test_a_lost_host_is_named_and_a_lost_connection_is_opened_again(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    warnings: list[str] = []

    def disturb(metrics: dict[str, Any]) -> None:
        seen.append(metrics)
        if len(seen) == 2:
            (connection,) = running(tmp_path, "start_new_session")
            os.kill(connection, signal.SIGKILL)
        if len(seen) == 4:
            (holder,) = [pid for pid in running(tmp_path, "hold") if Path(f"/proc/{pid}/cmdline").read_text().endswith("1\0")]
            os.kill(holder, signal.SIGKILL)

    def over() -> bool:
        return len(seen) == 6

    plan = hosts_plan(tmp_path, f"{WORKER}; time.sleep(5); {LINE}; time.sleep(600)", restarts=1)
    with pytest.raises(TrainingStoppedError):
        on_hosts(plan, disturb, warnings.append, over)
    assert len(warnings) == 1, "the connection's end is none of the job's"
    assert warnings[0].startswith("two hosts: host elsewhere is lost: what held its processes was killed")
    assert warnings[0].endswith("restart 1 of 1 from the last checkpoint")
    until(lambda: not running(tmp_path), seconds=5)


def test_a_node_is_begun_once_and_the_end_of_one_is_the_end_of_all(tmp_path: Path) -> None:
    task = Task(hosts=("a", "b"), addresses=("a", "b"), python="python", torchrun=(), env={}, work=str(tmp_path))
    task.write(tmp_path)
    found = Task.read(tmp_path)
    assert found
    assert list(found.hosts) == ["a", "b"]
    first, second = Node(tmp_path, 0), Node(tmp_path, 1)
    assert (first.begun, first.claim(), first.claim(), first.begun, first.end) == (False, True, False, True, None)
    first.ended(code=0)
    assert (first.end, (tmp_path / "stop").exists()) == ({"code": 0}, False)
    second.ended(lost="is lost")
    assert (second.end, (tmp_path / "stop").exists(), second.claim()) == ({"lost": "is lost"}, True, False)
    shutil.rmtree(tmp_path)
    second.ended(code=1)
    assert not tmp_path.exists(), "nothing of a job that was replaced comes back"
    with pytest.raises(FileNotFoundError):
        stop(tmp_path)


def kill_what_workers_would_not_leave(folder: Path) -> None:
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        child = json.loads(line)["pids"][1]
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
