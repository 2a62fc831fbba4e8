"""Shards that outlive builds: what is read again, what is taken over, and what is thrown away."""

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Process
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import Document, read_document_table
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.collect import Collected, collect_documents
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.shard_keys import SELF_CONTAINED
from hephaestus_dag.sources.shards import Shard, is_whole, plan_shards, prune_shards, read_shard, write_shard
from hephaestus_dag.whole_folder import whole_folder


def days_ago(days: int) -> tuple[float, float]:
    return (time.time() - days * 86_400,) * 2


def in_order(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
    yield from map(function, items)


def write_pages(path: Path, *texts: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def web(folder: Path, **more: Any) -> SourceConfig:
    return SourceConfig.model_validate(
        {"name": "web", "kind": "records", "location": str(folder), "domain": "agent", "license": "MIT", **more}
    )


class Builds:
    """Builds one after the other that share a folder of shards."""

    def __init__(self, place: Path) -> None:
        self.place, self.number = place, 0
        self.shards = place / "shards"

    def __call__(self, *sources: SourceConfig, map_over: Callable[..., Iterator[Any]] = in_order) -> Collected:
        self.number += 1
        return collect_documents(sources, self.folder, self.place / f"work{self.number}", map_over, shards=self.shards)

    @property
    def folder(self) -> Path:
        return self.place / f"build{self.number}"

    def texts(self) -> list[str]:
        return read_document_table(self.folder)["text"].to_pylist()


@pytest.fixture
def build(tmp_path: Path) -> Builds:
    return Builds(tmp_path)


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    for number in range(6):
        write_pages(tmp_path / f"pages/{number}.jsonl", f"page {number}")
    return tmp_path / "pages"


def counts(found: Collected) -> tuple[int, int]:
    return found.shards_read, found.shards_taken_over


def test_a_new_file_is_the_only_one_that_is_read(build: Builds, pages: Path):
    assert counts(build(web(pages))) == (6, 0)
    assert counts(build(web(pages))) == (0, 6)
    write_pages(pages / "00.jsonl", "a page between two others")
    assert counts(build(web(pages))) == (1, 6)
    assert build.texts() == ["page 0", "a page between two others", *(f"page {n}" for n in range(1, 6))]
    write_pages(pages / "3.jsonl", "another page 3")
    assert counts(build(web(pages))) == (1, 6)
    assert "another page 3" in build.texts()
    assert "page 3" not in build.texts()


def test_what_is_taken_over_gives_the_bytes_that_reading_gives(build: Builds, pages: Path, tmp_path: Path):
    build(web(pages))
    again, whole = build(web(pages)), collect_documents([web(pages)], tmp_path / "alone", tmp_path / "work", in_order)
    assert (counts(again), counts(whole)) == ((0, 6), (6, 0))
    for name in ("documents/part-00000.parquet", "rejects.parquet"):
        assert (build.folder / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_a_folder_that_moves_is_not_read_again(build: Builds, pages: Path):
    build(web(pages))
    elsewhere = pages.parent / "mounted" / "pages"
    shutil.copytree(pages, elsewhere)
    assert counts(build(web(elsewhere))) == (0, 6)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ({"max_documents": 2}, 0),
        ({"weight": 2}, 0),
        ({"license": "Apache-2.0"}, 6),
        ({"domain": "text"}, 6),
        ({"name": "other"}, 6),
        ({"max_characters": 9}, 6),
        ({"columns": {"text": "body"}}, 6),
    ],
)
def test_settings_that_decide_what_is_read_count(build: Builds, pages: Path, change: dict[str, Any], read: int):
    build(web(pages))
    assert counts(build(web(pages, **change))) == (read, 6 - read)


def test_code_that_reads_counts(build: Builds, pages: Path, monkeypatch: pytest.MonkeyPatch):
    build(web(pages))
    monkeypatch.setattr("hephaestus_dag.sources.shards._reader", lambda kind: "another version")
    assert counts(build(web(pages))) == (6, 0)


def test_packages_are_told_apart_by_their_version_and_added_ones_are_read(build: Builds):
    def packages(*names: str) -> SourceConfig:
        return web(Path(), kind="text_files", location="packages", packages=names)

    first = build(packages("click"))
    assert first.shards_read > 0
    both = build(packages("click", "jinja2"))
    assert both.shards_taken_over == first.shards_read
    assert both.shards_read > 0


def test_kinds_that_look_beside_their_item_stand_and_fall_with_the_source(build: Builds, tmp_path: Path):
    for number in range(3):
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / f"code/{number}.py").write_text(f"print({number})\n")
    source = web(tmp_path / "code", kind="source_code", domain="code", license=None)
    build(source)
    (tmp_path / "code/LICENSE").write_text("MIT License")
    assert counts(build(source)) == (3, 0)


HTML = "<html><head><title>A page</title></head><body><h1>A page</h1><p>{}</p></body></html>"
DOCSTRING = "Return twice the number, as the documentation says in more words than are needed. " * 3
CODE = f'def f(x: int) -> int:\n    """{DOCSTRING}"""\n    return 2 * x\n'
FILES: dict[str, tuple[str, str]] = {
    "html_pages": ("a.html", HTML.format("It says how to call the interface. " * 9)),
    "mcp_tools": ("a.json", json.dumps({"tools": [{"name": "f", "description": "Do.", "inputSchema": {"type": "object"}}]})),
    "python_code": ("a.py", CODE),
    "python_comments": (
        "a.py",
        "# A comment that is long enough to be prose, with a sentence.\n# And another one.\n" * 9 + CODE,
    ),
    "python_modules": ("a.py", CODE),
    "records": ("a.jsonl", '{"text": "a page"}\n'),
    "text_files": ("a.md", "# Title\n\nSome prose that is long enough to be read as a page.\n" * 5),
    "tldr_pages": ("common/a.md", "# a\n\n> Do it.\n\n- Do it now:\n\n`a {{file}}`\n"),
    "tool_lists": (
        "a.json",
        json.dumps([{"name": "f", "description": "Do.", "parameters": {"type": "object", "properties": {}}}]),
    ),
}


@pytest.mark.parametrize("kind", sorted(SELF_CONTAINED - {"python_topics", "warc"}))
def test_a_self_contained_item_says_the_same_in_any_company(kind: str, tmp_path: Path):
    name, text = FILES[kind]

    def read(place: Path) -> list[Any]:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
        source = web(place, kind=kind, license=None)
        (item,) = [item for item in list_items(source) if item.endswith(name)]
        return read_items(source, [item])

    company = tmp_path / "company/pages"
    for other in ("LICENSE", "pyproject.toml", "package.json", "__init__.py", "README.md", "z.html", "z.json", "z.jsonl"):
        company.mkdir(parents=True, exist_ok=True)
        (company / other).write_text("Apache License\nVersion 2.0" if other == "LICENSE" else "{}")
    alone = read(tmp_path / "alone/pages")
    assert read(company) == alone
    assert any(isinstance(found, Document) for found in alone)


@pytest.mark.parametrize("damage", ["documents.parquet", "rejects.parquet", "SHA256SUMS"])
@pytest.mark.parametrize("how", ["changed", "shortened", "removed"])
def test_a_damaged_shard_is_read_again(build: Builds, pages: Path, damage: str, how: str):
    build(web(pages))
    before = build.texts()
    path = sorted(build.shards.iterdir())[2] / damage
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if how == "shortened" else content[:-1] + bytes([content[-1] ^ 1]))
    assert counts(build(web(pages))) == (1, 5)
    assert build.texts() == before
    assert counts(build(web(pages))) == (0, 6)


def test_a_stopped_build_leaves_what_it_read_to_the_next(build: Builds, pages: Path):
    def two_only(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
        yield from map(function, items[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(web(pages), map_over=two_only)
    assert counts(build(web(pages))) == (4, 2)


def test_a_file_that_changes_while_it_is_read_stops_the_build_and_leaves_no_false_shard(build: Builds, pages: Path):
    def and_change(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
        yield from map(function, items[:3])
        write_pages(pages / "4.jsonl", "half of a page")
        yield from map(function, items[3:])

    with pytest.raises(ValueError, match=r"pages/4\.jsonl or a file near it changed while it was read; move files into"):
        build(web(pages), map_over=and_change)
    write_pages(pages / "4.jsonl", "page 4")
    assert counts(build(web(pages))) == (1, 5)
    assert build.texts() == [f"page {n}" for n in range(6)]


def test_two_builds_at_once_may_write_one_shard(tmp_path: Path):
    folder = tmp_path / "shard"
    with whole_folder(folder) as staging:
        (staging / "a").write_text("x")
        other = Process(target=write_a, args=(folder,))
        other.start()
        other.join()
        assert other.exitcode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]
    assert (folder / "a").read_text() == "x"


def write_a(folder: Path) -> None:
    with whole_folder(folder) as staging:
        (staging / "a").write_text("x")


def test_unused_shards_are_removed_after_a_month_and_others_kept(build: Builds, pages: Path):
    build(web(pages))
    write_pages(pages / "3.jsonl", "another page 3")
    build(web(pages))
    assert len(list(build.shards.iterdir())) == 7  # the old page 3 was used today
    for folder in build.shards.iterdir():
        os.utime(folder / "SHA256SUMS", days_ago(31))
    unfinished = build.shards / ".web-0123-99"
    unfinished.mkdir()
    os.utime(unfinished, days_ago(31))
    assert counts(build(web(pages))) == (0, 6)
    assert len(used := list(build.shards.iterdir())) == 6
    assert all((folder / "SHA256SUMS").stat().st_mtime > days_ago(1)[0] for folder in used)
    write_pages(pages / "3.jsonl", "page 3")
    assert counts(build(web(pages))) == (1, 5)


def test_what_another_recipe_used_lately_stays(tmp_path: Path):
    for name in ("mine", "theirs"):
        write_shard(tmp_path / name, [])
    os.utime(tmp_path / "theirs/SHA256SUMS", days_ago(29))
    prune_shards(tmp_path, [tmp_path / "mine"])
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "theirs"}
    os.utime(tmp_path / "theirs/SHA256SUMS", days_ago(31))
    prune_shards(tmp_path, [tmp_path / "mine"])
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


def planned(folder: Path, names: Sequence[str]) -> list[Shard]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in names:
        (folder / f"{name}.html").write_text(name)
    return plan_shards(web(folder, kind="html_pages"), folder.parent / "shards")


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_change_concerns_the_shards_that_it_lies_in(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("law") / "pages"
    names = [f"{number:04d}" for number in range(0, 520, 2)]  # four in a shard
    before = planned(folder, names)
    assert [item for shard in before for item in shard.items] == [f"pages/{name}.html" for name in names]
    new = f"{data.draw(st.integers(0, 519)) | 1:04d}"
    after = planned(folder, [*names, new])
    assert [item for shard in after for item in shard.items] == [f"pages/{name}.html" for name in sorted([*names, new])]
    assert len({shard.folder for shard in after} - {shard.folder for shard in before}) <= 2
    assert len({shard.folder for shard in after}) == len(after)


def test_many_small_items_make_many_shards_of_moderate_size(tmp_path: Path):
    shards = planned(tmp_path / "pages", [f"{number:05d}" for number in range(6_000)])
    assert 64 <= len(shards) <= 140
    assert max(len(shard.items) for shard in shards) < 800


def test_items_of_many_documents_are_shards_of_their_own(tmp_path: Path):
    for number in range(200):
        path = tmp_path / f"pages/{number:03d}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(b'{"text": "x"}'))
    assert len(plan_shards(web(tmp_path / "pages"), tmp_path / "shards")) == 200


def test_reading_a_shard_twice_reads_it_once(pages: Path, tmp_path: Path):
    shard = plan_shards(web(pages), tmp_path / "shards")[0]
    assert not is_whole(shard.folder)
    read_shard(shard)
    first = (shard.folder / "documents.parquet").stat().st_ino
    read_shard(shard)
    assert is_whole(shard.folder)
    assert (shard.folder / "documents.parquet").stat().st_ino == first
