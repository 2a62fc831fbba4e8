"""The recipe entry of a source, the registry of kinds, and what happens to input that cannot be read."""

import importlib.util
from pathlib import Path

import pytest
from pydantic import ValidationError

from hephaestus_dag.documents import Document, Reject, document_id
from hephaestus_dag.sources import KINDS, list_items, load_kind, read_items, sample_ids
from hephaestus_dag.sources.config import SourceConfig, check_available


def source(**values: object) -> SourceConfig:
    return SourceConfig.model_validate({"name": "s", "kind": "python_code", "location": "stdlib", "domain": "code", **values})


def test_unknown_kind_lists_the_known_ones():
    with pytest.raises(ValidationError, match=r"kind 'openapy' is not known.*botocore.*python_code"):
        source(kind="openapy")


@pytest.mark.parametrize("values", [{"location": "packages"}, {"packages": ("numpy",)}, {"location": "package:"}])
def test_location_and_packages_must_agree(values: dict[str, object]):
    with pytest.raises(ValidationError, match="location"):
        source(**values)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_registered_kind_can_be_loaded(kind: str):
    module = load_kind(kind)
    assert callable(module.list_items)
    assert callable(module.read_item)


def test_missing_input_is_said_in_words_with_the_remedy(tmp_path: Path):
    assert check_available(source()) == []
    missing = source(location="packages", packages=("no-such-thing", "numpy", "nor-this"))
    assert check_available(missing) == [
        "source 's': package no-such-thing is not installed; get it with: pip install no-such-thing",
        "source 's': package nor-this is not installed; get it with: pip install nor-this",
    ]
    (problem,) = check_available(source(location=str(tmp_path / "*.py")))
    assert str(tmp_path / "*.py") in problem
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="nothing of kind 'python_code'"):
        list_items(source(location=str(tmp_path)))


def test_identity_names_versions_and_follows_content(tmp_path: Path):
    assert importlib.util.find_spec("numpy")
    import numpy

    assert source(location="package:numpy").identity() == {"numpy": numpy.__version__}
    assert list(source().identity()) == ["python"]
    (tmp_path / "a.py").write_text("x = 1\n")
    files = source(location=str(tmp_path))
    before = files.identity()
    assert files.identity() == before
    (tmp_path / "a.py").write_text("x = 2\n")
    assert files.identity() != before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    (tmp_path / "b.py").write_text("x = 1\n")
    assert files.identity() != before


def test_origins_do_not_name_the_machine(tmp_path: Path):
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.py").write_text("x = 1\n")
    (document,) = read_items(source(location=str(folder)), ["corpus/deep/a.py"])
    assert isinstance(document, Document)
    assert (document.origin, document.license) == ("corpus/deep/a.py", "unknown")
    assert list_items(source(location=str(folder / "*" / "*.py"))) == ["corpus/deep/a.py"]
    assert list_items(source(location=str(folder / "deep" / "a.py"))) == ["deep/a.py"]


def test_exclude_leaves_files_out(tmp_path: Path):
    for name in ("a.py", "test/b.py", "test/deep/c.py"):
        (tmp_path / "c" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / name).write_text("x = 1\n")
    assert list_items(source(location=str(tmp_path / "c"), exclude=("test/*",))) == ["c/a.py"]


def test_what_cannot_be_read_is_set_aside_with_place_and_reason(tmp_path: Path):
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "broken.py").write_text("x = 1\ny = (\n")
    (folder / "empty.py").write_text(" \n")
    (folder / "good.py").write_bytes(b"x = 1\r\n")
    (folder / "large.py").write_text("x = 1\n" * 50)
    (folder / "latin.py").write_bytes(b"# fine\n# caf\xe9\n")
    config = source(location=str(folder), max_characters=100)
    found = read_items(config, [*list_items(config), "c/gone.py"])
    rejects = {(r.origin, r.position): r.reason for r in found if isinstance(r, Reject)}
    assert [d.text for d in found if isinstance(d, Document)] == ["x = 1\n"]
    assert set(rejects) == {
        ("c/broken.py", "line 2"),
        ("c/empty.py", "file"),
        ("c/large.py", "file"),
        ("c/latin.py", "line 2"),
        ("c/gone.py", "file"),
    }
    assert "too large: 300 characters" in rejects["c/large.py", "file"]
    assert rejects["c/gone.py", "file"].startswith("unreadable: ")


def ids(count: int) -> list[str]:
    return [document_id(str(i)) for i in range(count)]


def test_sample_is_nested_and_independent_of_the_order_of_reading():
    small, large = sample_ids(ids(200), 10), sample_ids(ids(200), 50)
    assert small is not None
    assert large is not None
    assert [len(small), len(large)] == [10, 50]
    assert set(small) <= set(large)
    assert sample_ids(ids(200)[::-1] + ids(5), 10) == small
    assert sample_ids(ids(200), None) is None
    assert sample_ids(ids(200), 200) is None
    assert sample_ids(ids(200), 10, seed=1) != small


def test_sample_does_not_favour_one_end_of_the_ids():
    # the held-out split is decided by the leading digits of the id
    kept = sample_ids(ids(2_000), 400)
    assert kept is not None
    assert 0.4 < sum(int(identity[:8], 16) < 2**31 for identity in kept) / len(kept) < 0.6
