import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "deepspeed", "faiss", "fasttext", "datasets", "accelerate")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize(
    ("package", "forbidden", "allowed_in"),
    [
        ("hephaestus_dag", ("assets", "resources"), {"definitions.py"}),
        ("hephaestus_dag", ("dagster",), {"definitions.py", "automation.py"}),
        ("resources", ("assets",), set()),
    ],
)
def test_imports_run_one_way(package: str, forbidden: tuple[str, ...], allowed_in: set[str]) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        if str(path.relative_to(ROOT / package)) not in allowed_in
        for name in imports_of(path)
        if name.split(".")[0] in forbidden
    ]
    assert wrong == []


def test_assets_do_not_postpone_annotations() -> None:
    for path in (ROOT / "assets").rglob("*.py"):
        assert "__future__" not in imports_of(path), f"{path.name}: Dagster cannot read postponed annotations"


def test_definitions_load_without_the_heavy_libraries() -> None:
    code = "import sys, json, hephaestus_dag.definitions; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(json.loads(run.stdout.splitlines()[-1])).isdisjoint(HEAVY)


def test_workspace_and_project_name_the_same_module() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module = workspace["load_from"][0]["python_module"]["module_name"]
    assert module == project["tool"]["dg"]["project"]["code_location_target_module"] == "hephaestus_dag.definitions"
    assert "dagster" not in project["tool"], "a [tool.dagster] block would outrank workspace.yaml"


def test_a_program_of_its_own_stays_free_of_the_project() -> None:
    driver = imports_of(ROOT / "hephaestus_dag" / "evaluation" / "bfcl" / "driver.py")
    assert not [name for name in driver if name.split(".")[0] in ("torch", "dagster", "assets", "resources")]
