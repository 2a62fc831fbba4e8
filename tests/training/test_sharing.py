"""What a job's node asks first: whether it sees the folder that the launcher works in, or one of its own by that name."""

import subprocess
from pathlib import Path

import pytest

from hephaestus_dag.training import sharing
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.launched import Launched
from hephaestus_dag.training.sharing import BLIND, blindness, look, said_by


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SECONDS", 1)


def plan_in(folder: Path) -> LaunchPlan:
    return LaunchPlan(title="t", argv=("python",), env={}, work=folder / "it's here")


def asked(plan: LaunchPlan, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", f"{look(plan, name)}; echo begun"], capture_output=True, text=True, check=False)


def test_the_folder_of_the_launcher_is_seen(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    plan.work.mkdir()
    Launched(scheduler="Slurm", identity="i", name="hephaestus-1", attempt=0, log_start=0).write(plan)
    found = asked(plan, "hephaestus-1")
    assert (found.returncode, found.stdout, found.stderr) == (0, "begun\n", "")


@pytest.mark.parametrize("there", ["nothing", "a folder", "the note of another job"])
def test_another_folder_of_that_name_is_not_taken_for_it(tmp_path: Path, there: str) -> None:
    plan = plan_in(tmp_path)
    if there != "nothing":
        plan.work.mkdir()
    if there == "the note of another job":
        Launched(scheduler="Slurm", identity="i", name="hephaestus-2", attempt=0, log_start=0).write(plan)
    found = asked(plan, "hephaestus-1")
    assert (found.returncode, found.stdout) == (BLIND, "")
    assert blindness(plan, f"a word\n{found.stderr}another") == found.stderr.strip()
    assert blindness(plan, f"error: {said_by('node02', plan)}\n") == f"node02 does not see {plan.work}"


def test_other_words_are_not_taken_for_it(tmp_path: Path) -> None:
    assert blindness(plan_in(tmp_path), "node02 does not see /elsewhere\nit does not see why\n") is None
