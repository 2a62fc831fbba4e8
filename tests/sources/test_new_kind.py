"""The page that says how a kind is added tells the truth."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
READ = """
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig
config = SourceConfig(name="s", kind="notes", location="in", domain="text", license="CC0-1.0")
for found in read_items(config, list_items(config)):
    print(type(found).__name__, found.origin, getattr(found, "text", ""), getattr(found, "license", ""))
"""


def test_the_kind_on_the_page_is_found_and_reads(tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    place = re.match(r"# (\S+)", code)
    assert place
    shutil.copytree(ROOT / "hephaestus_dag", tmp_path / "hephaestus_dag", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / place[1]).write_text(code)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.note").write_text("Fill the kettle first.")
    (tmp_path / "in" / "b.note").write_text(" ")
    done = subprocess.run([sys.executable, "-c", READ], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["Document in/a.note Fill the kettle first. CC0-1.0", "Reject in/b.note  "], done.stderr
