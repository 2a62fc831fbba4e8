import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hephaestus_dag.artifacts import Store
from hephaestus_dag.cli.main import main
from hephaestus_dag.definitions import lineage
from hephaestus_dag.manifests import Report
from hephaestus_dag.recipe_file import load_recipe


def plan(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "100"}).invoke(main, ["plan", *map(str, arguments)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two artifacts of the laptop recipe: one of today, and one of another number of characters."""
    root = tmp_path_factory.mktemp("store")
    graph = lineage(load_recipe("laptop"), fixed=False)

    def write(folder: Path) -> Report:
        (folder / "part.bin").write_bytes(b"x" * 2_000)
        return Report(headline="", rows=7, figures={"characters": 8_000})

    identity = graph.identity("code_documents")
    Store(root).build(identity, lambda workspace: write(workspace.folder))
    values = {**graph.identity("text_documents").values, "seed_corpus.text_documents.manual": "none"}
    other = type(identity)(key="text_documents", code="old", values=values)
    Store(root).build(other, lambda workspace: write(workspace.folder))
    return root


def test_every_asset_has_its_action_its_reasons_and_its_amounts(store: Path) -> None:
    run = plan("laptop", "--store", store, "--device", "H200", "--json")
    assert run.exit_code == 0, run.output
    found = json.loads(run.output)
    assets = {asset["key"]: asset for asset in found["assets"]}
    assert found["device"] == "H200"
    assert (assets["code_documents"]["action"], assets["code_documents"]["documents"]) == ("reuse", {"value": 7.0})
    text = assets["text_documents"]
    assert text["action"] == "rebuild"
    assert "code changed" in text["reasons"]
    assert any(line.startswith("seed_corpus.text_documents.manual: ") for line in text["reasons"])
    assert assets["seed_corpus"]["action"] == "build"
    assert assets["quality_annotations"]["answers"]["money"] == {"value": 0.0}
    assert assets["hephaestus/stage1_checkpoint"]["hours"]["value"] > 0


def test_a_person_reads_tables_of_a_hundred_columns(store: Path) -> None:
    run = plan("laptop", "--store", store, "--gflops", "100")
    assert run.exit_code == 0, run.output
    lines = run.output.splitlines()
    assert lines[2].startswith("57 assets: 1 are there and will be reused, 1 will be built again, 55 will be built")
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in run.output
    assert "code changed: text_documents" in run.output
    assert "≤ at most" in run.output
    (other,) = (path.name for path in (store / "text_documents").iterdir())
    assert f"since @{other}" in run.output
    assert "0.1 TFLOP/s as given at 50% utilisation" in run.output


def test_afterwards_planned_stands_beside_actual(store: Path) -> None:
    run = plan("laptop", "--store", store, "--actual", "--gflops", "100", "--json")
    assert run.exit_code == 0, run.output
    (found,) = json.loads(run.output)["assets"].items()
    assert found[0] == "code_documents"
    assert (found[1]["documents"]["actual"], found[1]["tokens"]["actual"], found[1]["disk"]["actual"]) == (7, 2_000, 2_000)
    assert found[1]["documents"]["planned"]["value"] is None
    text = plan("laptop", "--store", store, "--actual", "--gflops", "100").output
    assert "1 of 57 assets are built" in text
    assert "documents planned  actual  ratio  tokens planned  actual  ratio" in text


def test_a_recipe_whose_inputs_are_missing_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEPHAESTUS_RECIPE", "paper")
    run = plan("--store", tmp_path, "--mfu", "0.4")
    assert run.exit_code == 0, run.output
    assert "cannot be known before their inputs are here" in run.output
    assert "128 A100-40G for 11.1 days (34,099 GPU-hours)" in " ".join(run.output.split())
    assert "by a third-party note, not the paper's own words" in " ".join(run.output.split())
    assert "GPU-hours" in run.output
    recipe = tmp_path / "mine.yaml"
    source = "{ name: gone, kind: python_code, location: 'package:no-such-package', domain: code }"
    recipe.write_text(f"extends: laptop\nname: mine\nseed_corpus: {{ code_documents: [{source}] }}\n")
    run = plan(recipe, "--store", tmp_path, "--gflops", "9")
    assert run.exit_code == 0, run.output
    assert "package no-such-package is not installed" in " ".join(run.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["paper", "--device", "abacus"], "gpu 'abacus' is not known; choose one of A100-40GB"),
        (["paper", "--mfu", "1.5"], "mfu 1.5 is a share"),
        (["paper", "--gflops", "5"], "--gflops is the peak of a CPU core"),
        (["laptop", "--gflops", "nan"], "no number of GFLOP/s"),
        (["laptop", "--gflops", "inf"], "no number of GFLOP/s"),
        (["paper", "--mfu", "nan"], "mfu nan is a share"),
        (["nowhere"], "no recipe 'nowhere'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(arguments: list[str], said: str) -> None:
    run = plan(*arguments)
    assert run.exit_code == 2
    assert said in run.output


def test_a_recipe_with_wrong_values_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: paper\nname: mine\nmixture: { stage1_tokens: 0 }\n")
    run = plan(mine)
    assert run.exit_code == 2
    assert "mine.yaml:3: mixture.stage1_tokens" in run.output


def test_a_plan_needs_no_heavy_library(tmp_path: Path) -> None:
    code = f"""
import sys
from hephaestus_dag.cli.main import main
main(["plan", "paper", "--store", {str(tmp_path)!r}], standalone_mode=False)
print(*{{name.split(".")[0] for name in sys.modules}})
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = run.stdout.splitlines()[-1].split()
    assert not {"torch", "transformers", "deepspeed", "datasets", "faiss", "pandas", "matplotlib"} & set(loaded)
