from pathlib import Path

import pytest
from click.testing import CliRunner

from hephaestus_dag.cli.main import main
from hephaestus_dag.definitions import lineage, pages_of
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import load_recipe
from hephaestus_dag.training.gpus import check_gpus, missing_gpus, num_gpus
from tests.laptop import recipe

pytestmark = pytest.mark.skipif(num_gpus() > 0, reason="this machine has a GPU: what is missing without one cannot be seen")


def on_gpus(**launcher: object) -> Recipe:
    return recipe(execution__launcher={"num_processes": 2, "num_gpus": 2, "threads": 1, **launcher})


def test_a_recipe_for_gpus_is_told_that_there_is_none() -> None:
    said = missing_gpus(load_recipe("one-gpu"))
    assert said.startswith("this machine has no GPU: execution.launcher.num_gpus is 1; ")
    assert missing_gpus(load_recipe("laptop")) == ""


def test_gpus_of_other_machines_are_not_missed_here() -> None:
    assert missing_gpus(on_gpus())
    assert not missing_gpus(on_gpus(hosts=["a", "b"]))
    assert not missing_gpus(on_gpus(kind="slurm"))


def test_a_run_is_refused_before_any_work_unless_it_needs_no_gpu(tmp_path: Path) -> None:
    found = lineage(load_recipe("one-gpu"))
    with pytest.raises(ValueError, match=r"no GPU: .*seed_queries.* need it; nothing was run"):
        check_gpus(found, pages_of(found.recipe, "retrieval"), tmp_path)
    check_gpus(found, pages_of(found.recipe, "seed_corpus"), tmp_path)


def test_plan_says_it_and_run_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    planned = CliRunner().invoke(main, ["plan", "one-gpu", "--store", str(tmp_path / "store")])
    assert planned.exit_code == 0
    assert "Cannot run here: this machine has no GPU" in planned.output
    refused = CliRunner().invoke(main, ["run", "one-gpu", "--store", str(tmp_path / "store")])
    assert refused.exit_code == 2
    assert "nothing was run" in refused.output
    assert not any(tmp_path.rglob("*.log"))
    unknown = CliRunner().invoke(main, ["run", "one-gpu", "--job", "anvil", "--store", str(tmp_path / "store")])
    assert "there is no job anvil; choose from hephaestus" in unknown.output
