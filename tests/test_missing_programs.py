"""A recipe that hands work to programs which are not here is refused before any work."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hephaestus_dag import missing_programs
from hephaestus_dag.cli.main import main
from hephaestus_dag.definitions import lineage, pages_of
from hephaestus_dag.missing_programs import check_programs, missing_launcher
from hephaestus_dag.recipe import Recipe
from tests.laptop import recipe

PLACED = {"num_processes": 1, "threads": 1}


def on(kind: str, **settings: Any) -> Recipe:
    return recipe(execution__launcher={**PLACED, "kind": kind, **settings})


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with no program on its PATH, and no package of a cluster."""
    monkeypatch.setenv("PATH", str(tmp_path))
    packages = importlib.util.find_spec
    monkeypatch.setattr(missing_programs, "find_spec", lambda name: None if name in ("ray", "kubernetes") else packages(name))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (on("slurm"), "kind slurm needs sbatch, .*execution.launcher.slurm.login"),
        (on("slurm", slurm={"login": "node"}), "kind slurm needs ssh"),
        (on("ray"), r"kind ray needs Ray, .*pip install 'hephaestus-dag\[ray\]'"),
        (on("kubernetes", kubernetes={"image": "i", "claim": "c"}), r"pip install 'hephaestus-dag\[kubernetes\]'"),
    ],
)
@pytest.mark.usefixtures("bare")
def test_a_launcher_that_is_missing_is_told_before_the_data_steps(chosen: Recipe, said: str, tmp_path: Path) -> None:
    found = lineage(chosen)
    with pytest.raises(ValueError, match=rf"{said}.* needs it; nothing was run"):
        check_programs(found, pages_of(chosen, "train"), tmp_path)
    check_programs(found, pages_of(chosen, "evaluate"), tmp_path)


def test_a_launcher_of_this_machine_lacks_nothing() -> None:
    assert not missing_launcher(recipe().execution)


@pytest.mark.usefixtures("bare")
def test_plan_says_it_and_run_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("extends: laptop\nname: mine\nexecution: { compute: { engine: ray } }\n")
    planned = CliRunner().invoke(main, ["plan", "mine.yaml", "--gflops", "100"])
    assert "Cannot run here: execution.compute.engine ray needs Ray" in " ".join(planned.output.split())
    refused = CliRunner().invoke(main, ["run", "mine.yaml", "--job", "seed_corpus"])
    assert (refused.exit_code, "engine ray needs Ray" in refused.output) == (2, True)
    assert not any(tmp_path.rglob("*.log"))
