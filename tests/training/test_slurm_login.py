"""Slurm's commands on a login node: a real sshd on the loopback, and this process knows no cluster of its own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.attempts import TrainingFailedError, TrainingStoppedError
from hephaestus_dag.training.cluster_config import SlurmConfig
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.slurm_jobs import Slurm
from tests import login_node as login
from tests import slurm_cluster as cluster
from tests.training.test_slurm_jobs import LINE, slurm_plan

absent = [*cluster.missing(), *login.missing()]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(absent), reason=f"{', '.join(absent)} not installed (apt install slurm-wlm munge openssh-server)"),
]
SLURM = Slurm(SlurmConfig(login=login.NAME, poll_seconds=0.3))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the login node does not share, where this user may mount."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, own: Path) -> Iterator[Path]:
    with (
        cluster.slurm_cluster(tmp_path_factory.mktemp("slurm")) as config,
        login.login_node(config, tmp_path_factory.mktemp("login"), own) as programs,
    ):
        yield programs


@pytest.fixture(autouse=True)
def through_ssh_alone(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CONF", raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))


def test_a_job_is_submitted_followed_and_found_by_its_name(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    found: list[str | None] = []
    plan = slurm_plan(tmp_path, f"{LINE}; print(os.environ['GREETING']); time.sleep(2)")

    def note(metrics: dict[str, Any]) -> None:
        seen.append(metrics)
        name = json.loads(plan.launched.read_text())["name"]
        found.append(SLURM.find(name))
        assert SLURM.find(f"{name}-other") is None

    run_detached(plan, SLURM, note)
    assert sorted(line["step"] for line in seen) == [0, 1]
    assert plan.log.read_text().count('it\'s "here" $HOME') == 2
    assert len(set(found)) == 1
    assert found[0]
    assert SLURM.state(found[0]).phase == "succeeded"


def test_stopping_cancels_the_job(tmp_path: Path) -> None:
    plan = slurm_plan(tmp_path, f"{LINE}; time.sleep(600)")
    ids: list[str] = []

    def note(metrics: dict[str, Any]) -> None:
        ids.append(json.loads(plan.launched.read_text())["id"])

    with pytest.raises(TrainingStoppedError):
        run_detached(plan, SLURM, note, stop=lambda: len(ids) == 2)
    assert SLURM.state(ids[0]).phase == "cancelled"


@pytest.mark.skipif(os.geteuid() != 0, reason="a folder of the login node's own needs a mount, which is root's")
def test_a_login_node_that_does_not_see_the_folder_is_said_before_anything_is_submitted(own: Path) -> None:
    plan = slurm_plan(own / "work", LINE)
    with pytest.raises(TrainingFailedError, match=rf"\S+ does not see {plan.work}; all nodes must see .*the login node too"):
        run_detached(plan, SLURM, lambda metrics: None)
    assert not plan.launched.exists()


def test_a_login_node_that_gives_no_answer_is_said(tmp_path: Path) -> None:
    elsewhere = Slurm(SlurmConfig(login="nowhere.invalid"))
    said = r"gives no answer \(ssh: Could not resolve hostname nowhere\.invalid.*nothing was submitted; check .*slurm\.login"
    with pytest.raises(TrainingFailedError, match=said):
        run_detached(plan := slurm_plan(tmp_path, LINE), elsewhere, lambda metrics: None)
    assert not plan.launched.exists()
