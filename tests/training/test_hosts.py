"""Several machines, played by this one: a stand-in for ssh starts a shell that no signal to it reaches, as ssh itself does."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.attempts import TrainingFailedError, TrainingStoppedError
from hephaestus_dag.training.hosts import run_on_hosts
from hephaestus_dag.training.launch_plan import LaunchPlan
from tests.training.test_launch import FAMILY, descendants, gone

STAND_IN = (
    sys.executable,
    "-c",
    "import subprocess, sys; sys.exit(subprocess.Popen(['sh', '-c', sys.argv[2]], start_new_session=True).wait())",
)
NO_SUCH_HOST = (sys.executable, "-c", "import sys; print('ssh: no route to', sys.argv[1], file=sys.stderr); sys.exit(255)")
LINE = "open('metrics.jsonl', 'a').write(json.dumps({'step': int(os.environ['RANK']), 'pids': [os.getpid()]}) + '\\n')"


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


@pytest.mark.slow
def test_each_host_runs_its_share_of_the_processes(tmp_path: Path) -> None:
    wanted = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GREETING"
    code = f"import json, os; print(os.getppid()); line = {{'step': 0, **{{name: os.environ[name] for name in {wanted}}}}}"
    code += "; open('metrics.jsonl', 'a').write(json.dumps(line) + '\\n')"
    seen: list[dict[str, Any]] = []
    run_on_hosts(hosts_plan(tmp_path, code, processes=4), seen.append, remote_shell=STAND_IN)
    found = sorted((line["RANK"], line["LOCAL_RANK"]) for line in seen)
    assert found == [("0", "0"), ("1", "1"), ("2", "0"), ("3", "1")]
    assert {(line["WORLD_SIZE"], line["LOCAL_WORLD_SIZE"], line["GREETING"]) for line in seen} == {
        ("4", "2", 'it\'s "here" $HOME')
    }


@pytest.mark.slow
def test_stopping_ends_the_processes_on_every_host(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with pytest.raises(TrainingStoppedError):
        run_on_hosts(hosts_plan(tmp_path, FAMILY), seen.append, stop=lambda: len(seen) == 2, remote_shell=STAND_IN)
    assert len(seen) == 2
    assert gone([line["pids"][0] for line in seen], seconds=0), "the processes end before the launcher does"
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
        run_on_hosts(hosts_plan(tmp_path, code, restarts=1), seen.append, warnings.append, remote_shell=STAND_IN)
    assert len(warnings) == 1
    assert warnings[0].startswith("two hosts: rank 1 died of SIGKILL")
    assert len(seen) == 4
    assert gone([line["pids"][0] for line in seen], seconds=0)


@pytest.mark.slow
def test_a_host_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingFailedError,
        match=r"host elsewhere cannot be reached, or is lost \(exit status 255\)(.|\n)*ssh: no route to elsewhere",
    ):
        run_on_hosts(hosts_plan(tmp_path, "import time; time.sleep(600)"), lambda metrics: None, remote_shell=NO_SUCH_HOST)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's own")
@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_launching_process_is_the_end_on_every_host(tmp_path: Path, wish: signal.Signals) -> None:
    worker = f"import json, os, time; from hephaestus_dag.training.orphans import die_with_parent; die_with_parent(); {LINE}"
    plan = hosts_plan(tmp_path, f"{worker}; time.sleep(600)")
    code = f"""
from pathlib import Path
from hephaestus_dag.training.hosts import run_on_hosts
from hephaestus_dag.training.launch_plan import LaunchPlan
plan = LaunchPlan(title="two hosts", argv={plan.argv!r}, env={{}}, work=Path({str(tmp_path)!r}), num_processes=2,
                  hosts={plan.hosts!r}, rendezvous_port={plan.rendezvous_port})
run_on_hosts(plan, lambda metrics: print(metrics["pids"][0], flush=True), remote_shell={STAND_IN!r})
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as launcher:
        assert launcher.stdout is not None
        workers = [int(launcher.stdout.readline()) for _ in range(2)]
        pids = [*workers, *descendants(launcher.pid)]
        assert len(pids) > 8, "the stand-in, a shell, a holder, an agent and a worker for the host elsewhere"
        launcher.send_signal(wish)
    assert gone(pids, seconds=20)


def kill_what_workers_would_not_leave(folder: Path) -> None:
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        child = json.loads(line)["pids"][1]
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
