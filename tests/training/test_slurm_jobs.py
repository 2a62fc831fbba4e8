"""Training jobs on a real Slurm: Debian's daemons, with two nodes on this machine."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.attempts import TrainingFailedError, TrainingStoppedError
from hephaestus_dag.training.cluster_config import SlurmConfig
from hephaestus_dag.training.config import Placement
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import LaunchPlan, plan_launch
from hephaestus_dag.training.slurm_jobs import Slurm
from tests.slurm_cluster import missing, slurm_cluster
from tests.training.test_launch import FAMILY, gone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"Slurm's {', '.join(missing())} not installed (apt install slurm-wlm munge)"),
]

SLURM = Slurm(SlurmConfig(poll_seconds=0.3))
LINE = "open('metrics.jsonl', 'a').write(json.dumps({'step': int(os.environ['RANK']), 'pids': [os.getpid()]}) + '\\n')"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as config:
        yield config


@pytest.fixture(autouse=True)
def use_cluster(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(config))


def slurm_plan(folder: Path, code: str, **fields: Any) -> LaunchPlan:
    given = {"env": {"GREETING": 'it\'s "here" $HOME'}, "num_processes": 2, "nodes": 2, **fields}
    return LaunchPlan(title="two nodes", argv=(sys.executable, "-c", f"import json, os, time; {code}"), work=folder, **given)


def jobs(*arguments: str) -> list[str]:
    """What squeue lists."""
    return subprocess.run(["squeue", "--noheader", *arguments], capture_output=True, text=True, check=True).stdout.splitlines()


def ever(work: Path) -> int:
    """Number of jobs that were ever submitted from a folder."""
    return sum(str(work) in line for line in jobs("--states=all", "--Format=WorkDir:300,StdOut:300"))


def weights(job: TrainingJob) -> str:
    return hashlib.sha256((job.output / "model" / "model.safetensors").read_bytes()).hexdigest()


def in_a_process(plan: LaunchPlan, hasty: bool = False) -> subprocess.Popen[str]:
    """Launch a plan from a process of its own; a hasty one is killed once Slurm has the job, before it is told the id."""
    code = f"""
import os, signal
from pathlib import Path, PosixPath
from hephaestus_dag.training.cluster_config import SlurmConfig
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.slurm_jobs import Slurm
if {hasty}:
    submit = Slurm.submit
    Slurm.submit = lambda *given: (submit(*given), os.kill(os.getpid(), signal.SIGKILL))
run_detached({plan!r}, Slurm(SlurmConfig(poll_seconds=0.3)), lambda metrics: print(metrics["step"], flush=True))
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_job_outlives_its_launcher_and_is_followed_again(make_job: Callable[..., TrainingJob]) -> None:
    job, plain = make_job(name="slurm"), make_job(name="local")
    placement = Placement(num_processes=2, nodes=2, threads=1)
    plan = plan_launch(job, placement)
    with in_a_process(plan) as launcher:
        assert launcher.stdout is not None
        while int(launcher.stdout.readline()) < 3:
            pass
        launcher.kill()
    seen: list[dict[str, Any]] = []
    warnings: list[str] = []
    run_detached(plan, SLURM, seen.append, warnings.append)
    assert "submitted earlier, is followed again" in warnings[0]
    assert seen == [json.loads(line) for line in plan.metrics[0].read_text().splitlines()], "all lines, each once"
    assert ever(job.work) == 1
    assert not plan.launched.exists()
    run_local(plan_launch(plain, placement.model_copy(update={"nodes": 1})), lambda metrics: None)
    assert weights(job) == weights(plain)


def test_a_launcher_killed_right_after_submitting_submits_nothing_twice(tmp_path: Path) -> None:
    line = "{**{name: os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'GREETING')}, "
    plan = slurm_plan(tmp_path, LINE.replace("{", line, 1))
    with in_a_process(plan, hasty=True) as launcher:
        assert launcher.wait() == -signal.SIGKILL
    limit = time.monotonic() + 30
    while jobs() and time.monotonic() < limit:
        time.sleep(0.2)
    seen: list[dict[str, Any]] = []
    run_detached(plan, SLURM, seen.append, lambda warning: None)
    found = sorted((line["RANK"], line["LOCAL_RANK"], line["WORLD_SIZE"], line["GREETING"]) for line in seen)
    assert found == [("0", "0", "2", 'it\'s "here" $HOME'), ("1", "0", "2", 'it\'s "here" $HOME')]
    assert ever(tmp_path) == 1


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    plan = LaunchPlan(title="family", argv=(sys.executable, "-c", FAMILY), env={}, work=tmp_path, num_processes=2, nodes=2)
    with pytest.raises(TrainingStoppedError):
        run_detached(plan, SLURM, seen.append, stop=lambda: len(seen) == 2)
    assert jobs() == []
    assert gone([pid for line in seen for pid in line["pids"]], seconds=1)
    assert not plan.launched.exists()


def test_the_death_of_a_rank_is_met_with_a_new_job_and_a_foreseen_error_is_not(tmp_path: Path) -> None:
    code = f"""{LINE}
from hephaestus_dag.training.failures import Failure
if os.environ["RANK"] == "1":
    print("a word")
    if not os.path.exists("died"):
        open("died", "w")
        os.kill(os.getpid(), 9)
    error = ValueError("bad config")
    Failure.of(error, repr(error)).leave()
    raise SystemExit(1)
time.sleep(600)"""
    warnings: list[str] = []
    plan = slurm_plan(tmp_path, code, nodes=1, restarts=2, env={"HEPHAESTUS_FAILURES": str(tmp_path / "failures")})
    with pytest.raises(TrainingFailedError, match=r"^two nodes failed: ValueError\('bad config'\)$"):
        run_detached(plan, SLURM, lambda metrics: None, warnings.append)
    assert len(warnings) == 1
    assert warnings[0].startswith("two nodes: rank 1 died of SIGKILL")
    assert "ended as FAILED" in warnings[0]
    assert plan.log.read_text().splitlines().count("a word") == 2, "the log has what both jobs printed"
    assert ever(tmp_path) == 2


def test_a_job_that_others_cancel_is_not_started_again(tmp_path: Path) -> None:
    def cancel(metrics: dict[str, Any]) -> None:
        (number,) = jobs("--format=%i")
        subprocess.run(["scancel", number], check=True)

    plan = slurm_plan(tmp_path, f"{LINE}; time.sleep(600)", nodes=1, num_processes=1, restarts=3)
    with pytest.raises(TrainingFailedError, match=r"two nodes: job \d+ of Slurm was cancelled, not by this run; started again"):
        run_detached(plan, SLURM, cancel)
    assert ever(tmp_path) == 1


def test_what_slurm_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    refused = Slurm(SlurmConfig(partition="nowhere"))
    with pytest.raises(TrainingFailedError, match="Slurm refused the job: sbatch: error: invalid partition specified: nowhere"):
        run_detached(slurm_plan(tmp_path, ""), refused, lambda metrics: None)
    assert not (tmp_path / "launched.json").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a node of its own folder needs a mount, which is root's")
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_node_that_does_not_see_the_folder_is_named_and_the_remedy_too(config: Path, node: str) -> None:
    work = config.parent / f"own-{node}" / "work"
    said = rf"job \d+ of Slurm: (n1|{socket.gethostname()}) does not see {work}; all nodes must see the store's folder"
    warnings: list[str] = []
    with pytest.raises(TrainingFailedError, match=said):
        run_detached(slurm_plan(work, LINE, restarts=3), SLURM, lambda metrics: None, warnings.append)
    assert ever(work) == 1 + len(warnings), "what a restart would meet again is not met by one"
    assert "does not see" not in "".join(warnings)


def test_what_a_job_said_last_is_told_where_no_process_left_a_reason(tmp_path: Path) -> None:
    warnings: list[str] = []
    plan = replace(slurm_plan(tmp_path, "", nodes=1, restarts=1), argv=("/nowhere/python",))
    with pytest.raises(TrainingFailedError, match="two nodes failed after 1 restart"):
        run_detached(plan, SLURM, lambda metrics: None, warnings.append)
    assert re.search(r"job \d+ of Slurm ended as FAILED .*, having said: .*/nowhere/python: not found", warnings[0])


def test_without_accounting_a_job_that_squeue_does_not_list_is_gone() -> None:
    assert (SLURM.state("999").phase, SLURM.find("never")) == ("gone", None)


def test_a_changed_placement_replaces_the_job(tmp_path: Path) -> None:
    waiting = slurm_plan(tmp_path, "time.sleep(600)", nodes=1, num_processes=1)
    with in_a_process(waiting) as launcher:
        while not (tmp_path / "slurm.log").exists():
            time.sleep(0.1)
        launcher.kill()
    with pytest.raises(TrainingFailedError, match=r"was given to Slurm and may still run there; take that launcher again"):
        run_local(waiting, lambda metrics: None)
    warnings: list[str] = []
    seen: list[dict[str, Any]] = []
    run_detached(slurm_plan(tmp_path, LINE, nodes=1, num_processes=1), SLURM, seen.append, warnings.append)
    assert "is of another recipe or placement, and is cancelled" in warnings[0]
    assert [line["step"] for line in seen] == [0]
    assert jobs() == []


def test_without_slurm_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingFailedError, match=r"squeue is not on this machine's PATH; .*execution.launcher.slurm.login"):
        run_detached(slurm_plan(tmp_path / "work", ""), SLURM, lambda metrics: None)
    assert not (tmp_path / "work" / "launched.json").exists()
