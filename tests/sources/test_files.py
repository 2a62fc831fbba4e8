"""Python and prose: what is read from the standard library, installed packages and plain folders."""

import ast
from pathlib import Path

import pytest

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.text.python_comments import comment_blocks
from hephaestus_dag.sources.tools.python_modules import entries, module_name


def source(kind: str, location: str, **values: object) -> SourceConfig:
    return SourceConfig.model_validate({"name": "s", "kind": kind, "location": location, "domain": "text", **values})


def documents(config: SourceConfig, *endings: str) -> list[Document]:
    items = [item for item in list_items(config) if item.endswith(endings or "")]
    found = read_items(config, items)
    assert found == read_items(config, items)
    return [item for item in found if isinstance(item, Document)]


def test_standard_library_code_is_listed_without_installed_packages():
    items = list_items(source("python_code", "stdlib"))
    assert len(items) > 500
    assert not any("site-packages" in item or "__pycache__" in item for item in items)
    (document,) = documents(source("python_code", "stdlib"), "/Lib/json/decoder.py")
    assert document.license == "Python-2.0"
    assert document.origin.startswith("cpython==3.")
    ast.parse(document.text)


def test_public_functions_and_classes_of_a_real_module_are_documented():
    by_name = {
        d.origin.rpartition("/")[2]: d.text for d in documents(source("python_modules", "stdlib"), "/Lib/json/__init__.py")
    }
    assert {"json", "json.dump", "json.dumps", "json.load", "json.loads"} <= set(by_name)
    assert "dumps(obj, *, skipkeys=False" in by_name["json.dumps"]
    assert "JSON formatted" in by_name["json.dumps"]


def test_entries_are_public_and_documented():
    tree = ast.parse('''
"""Short."""
class Box(list):
    """A box that holds things for as long as it is asked to."""
    def __init__(self, size: int = 3): ...
    def put(self, thing, /, *, twice=False) -> None:
        """Put a thing in. It stays."""
    def _hide(self): ...
async def fetch(url: str) -> bytes:
    """Fetch what lies under a URL, and return it as bytes."""
def plain(): ...
def _private():
    """Nobody outside should call this function, whatever it says here."""
''')
    box, fetch = entries(tree, "m")
    assert (box.name, box.signature) == ("m.Box", "class Box(size: int=3)")
    assert box.members == (("put(thing, /, *, twice=False) -> None", "Put a thing in. It stays."),)
    assert fetch.signature == "async def fetch(url: str) -> bytes"


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("cpython==3.11.7/Lib/json/__init__.py", "json"),
        ("cpython==3.11.7/Lib/json/decoder.py", "json.decoder"),
        ("numpy==2.4.6/numpy/linalg/_linalg.py", "numpy.linalg._linalg"),
        ("six==1.17.0/six.py", "six"),
    ],
)
def test_module_names(item: str, name: str):
    assert module_name(item) == name


def test_broken_module_is_set_aside_and_an_undocumented_one_is_silent(tmp_path: Path):
    (tmp_path / "broken.py").write_text('"""Doc."""\nprint "x"\n')
    (tmp_path / "silent.py").write_text("x = 1\n")
    config = source("python_modules", str(tmp_path))
    (found,) = read_items(config, list_items(config))
    assert isinstance(found, Reject)
    assert found.position == "line 2"


def test_prose_is_told_from_licences_lists_and_tables(tmp_path: Path):
    sentence = "The library reads documents and writes them in shards, so that nothing is lost. "
    (tmp_path / "README.md").write_text("# Title\n\n" + sentence * 5)
    (tmp_path / "LICENSE.txt").write_text(sentence * 5)
    (tmp_path / "words.txt").write_text("\n".join(["word"] * 200))
    (tmp_path / "numbers.txt").write_text("0.123 4.567 8.901 2.345\n" * 100)
    (tmp_path / "short.rst").write_text("Too short.")
    config = source("text_files", str(tmp_path))
    found = read_items(config, list_items(config))
    assert [item.origin.partition("/")[2] for item in found if isinstance(item, Document)] == ["README.md"]
    reasons = {item.origin.partition("/")[2]: item.reason for item in found if isinstance(item, Reject)}
    assert set(reasons) == {"words.txt", "numbers.txt", "short.rst"}
    assert "not prose" in reasons["words.txt"]


def test_long_description_of_a_distribution_is_prose():
    (document,) = documents(source("text_files", "package:pydantic"), "/METADATA")
    assert document.license == "MIT"
    assert "Pydantic" in document.text


def test_comment_blocks_without_legal_notices_and_code():
    prose = "# The loader keeps a window of shards open, because opening a shard costs more\n" * 3
    legal = "# Copyright somebody, all rights reserved, and no warranty of whatever kind at all\n" * 3
    code = "# x = [f(y) for y in (1, 2, 3)]; z = {x: y}; print(x[0], z[y], a / b)\n" * 4
    (block,) = comment_blocks(f"{legal}\nimport x\n\n{prose}def f():\n    pass\n{code}")
    assert block.startswith("The loader keeps")


def test_manual_topics_are_read_without_running_them():
    topics = documents(source("python_topics", "stdlib"))
    assert len(topics) > 50
    assert any(topic.origin.endswith("topics.py/assignment") for topic in topics)


def test_files_that_somebody_names_by_path_are_all_read(tmp_path: Path) -> None:
    prose = "Whoever answers the telephone writes down who called and what they asked for. " * 5
    for name in ("handbook.md", "recording-a-call.md", "requirements.md", "UPPER.MD", "records/one.md", "LICENSE.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{name}: {prose}")
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere")
    config = SourceConfig(name="mine", kind="text_files", location=str(tmp_path), domain="text")
    found = read_items(config, list_items(config))
    assert sorted(item.origin.partition("/")[2] for item in found if isinstance(item, Document)) == [
        "UPPER.MD",
        "handbook.md",
        "recording-a-call.md",
        "records/one.md",
        "requirements.md",
    ]
    (reject,) = [item for item in found if isinstance(item, Reject)]
    assert reject.origin.endswith("gone.md")
    assert str(tmp_path) not in reject.reason
    assert config.identity() == config.identity()
