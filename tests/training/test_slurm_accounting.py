"""What becomes of jobs that squeue has forgotten: a real slurmdbd on a MariaDB knows, and sacct says so."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.launched import Launched
from hephaestus_dag.training.scheduler import SchedulerUnreachableError
from hephaestus_dag.training.slurm_jobs import Slurm
from tests.slurm_cluster import ACCOUNTING_PROGRAMS, PATH, PROGRAMS, daemon, missing, slurm_cluster
from tests.training.test_slurm_jobs import LINE, SLURM, in_a_process, slurm_plan

absent = missing([*PROGRAMS, *ACCOUNTING_PROGRAMS])
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(absent), reason=f"{', '.join(absent)} not installed (apt install slurm-wlm slurmdbd mariadb-server)"
    ),
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "slurm").mkdir()
    with slurm_cluster(tmp_path / "slurm", accounting=True) as config:
        monkeypatch.setenv("SLURM_CONF", str(config))
        yield config


def submitted(plan: LaunchPlan, name: str) -> str:
    plan.work.mkdir()
    Launched(scheduler=Slurm.name, identity="", name=name, attempt=0, log_start=0).write(plan)
    return SLURM.submit(plan, name)


def run(*command: str) -> None:
    subprocess.run(command, env={**os.environ, "PATH": PATH}, check=True)


def wait_until_over(*jobs: str) -> None:
    limit = time.monotonic() + 60
    while not all(SLURM.state(job).over for job in jobs):
        assert time.monotonic() < limit
        time.sleep(0.2)


def test_what_squeue_has_forgotten_is_known_to_the_accounting(config: Path, tmp_path: Path) -> None:
    left = slurm_plan(tmp_path / "left", LINE, nodes=1)
    with in_a_process(left, hasty=True) as launcher:
        assert launcher.wait() == -signal.SIGKILL
    note = Launched.read(left)
    assert note
    single = {"nodes": 1, "num_processes": 1}
    failed = submitted(slurm_plan(tmp_path / "failed", "raise SystemExit(3)", **single), "fails")
    cancelled = submitted(slurm_plan(tmp_path / "cancelled", "time.sleep(600)", **single), "is-cancelled")
    SLURM.cancel(cancelled)
    wait_until_over(failed, cancelled, SLURM.find(note.name) or "")
    run("scontrol", "shutdown", "slurmctld")
    with daemon(["slurmctld", "-D", "-c"], {**os.environ, "PATH": PATH}, config.parent):
        limit = time.monotonic() + 30
        while subprocess.run(["scontrol", "ping"], capture_output=True, check=False).returncode:
            assert time.monotonic() < limit
            time.sleep(0.2)
        assert not subprocess.run(["squeue", "--noheader", "--states=all"], capture_output=True, check=True).stdout
        found = [SLURM.state(job) for job in (failed, cancelled, "999")]
        assert [(state.phase, state.words) for state in found] == [
            ("failed", "ended as FAILED"),
            ("cancelled", "was cancelled"),
            ("gone", "is no longer known to Slurm: it was cancelled, or forgotten"),
        ]
        assert (SLURM.find("fails"), SLURM.find("never")) == (failed, None)
        seen: list[dict[str, Any]] = []
        run_detached(left, SLURM, seen.append)
        assert sorted(line["step"] for line in seen) == [0, 1], "the job that ended meanwhile is taken as it ended"
        run("sacctmgr", "shutdown")
        for ask in (lambda: SLURM.state(failed), lambda: SLURM.find("fails")):
            with pytest.raises(SchedulerUnreachableError, match="sacct"):
                ask()
