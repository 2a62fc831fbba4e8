"""What lies in real folders beside good files: links, empty and damaged files, odd names, wrong columns."""

import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig, check_available
from hephaestus_dag.sources.operations import Operation
from hephaestus_dag.sources.reading.distributions import Root
from hephaestus_dag.sources.tools.protobuf import read_operations

PROSE = "This is a sentence of prose that says something. " * 20


def source(kind: str, location: Path | str, **fields: Any) -> SourceConfig:
    return SourceConfig(**{"name": "s", "kind": kind, "location": str(location), "domain": "text", **fields})


def read(config: SourceConfig) -> tuple[list[Document], list[Reject]]:
    found = read_items(config, list_items(config))
    return [each for each in found if isinstance(each, Document)], [each for each in found if isinstance(each, Reject)]


def test_links_to_folders_are_followed_once_and_never_in_circles(tmp_path: Path) -> None:
    here, outside = tmp_path / "in", tmp_path / "outside"
    (here / "sub").mkdir(parents=True)
    outside.mkdir()
    (here / "sub" / "a.md").write_text(PROSE)
    (outside / "b.md").write_text(PROSE)
    (here / "again").symlink_to(here / "sub")
    (here / "sub" / "loop").symlink_to(here)
    (here / "sub" / "above").symlink_to(tmp_path)
    (here / "out").symlink_to(outside)
    (here / "twice").symlink_to(outside)
    (outside / "back").symlink_to(here)
    assert list_items(source("text_files", here)) == ["in/out/b.md", "in/sub/a.md"]


def test_dangling_and_circular_links_are_set_aside_in_words(tmp_path: Path) -> None:
    (tmp_path / "gone.md").symlink_to("nowhere")
    (tmp_path / "self.md").symlink_to("self.md")
    (tmp_path / "rows.jsonl").symlink_to("nowhere")
    for kind in ("text_files", "records"):
        _, rejects = read(source(kind, tmp_path))
        assert rejects
        assert all(r.position == "file" and r.reason.startswith(("unreadable: ", "damaged: ")) for r in rejects)
        assert not any("Error: [Errno" in r.reason or str(tmp_path) in r.reason for r in rejects)


def test_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.md").write_text(PROSE)
    listed = os.scandir

    def scandir(place: Any) -> Any:  # the super-user, as whom tests may run, is never refused
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OSError, match=r"closed cannot be listed: Permission denied; make it readable"):
        Root("in", tmp_path, "MIT").files()


def test_names_with_brackets_are_names_where_they_exist(tmp_path: Path) -> None:
    folder = tmp_path / "odd [v2] #1 %20"
    folder.mkdir()
    (folder / "a [1].md").write_text(PROSE)
    for location in (folder, folder / "a [1].md", folder / "*.md"):
        assert list_items(source("text_files", location)) == ["odd [v2] #1 %20/a [1].md"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz", "a.parquet"])
def test_file_without_rows_is_set_aside(tmp_path: Path, name: str) -> None:
    content = {"a.json": b"[]", "a.csv": b"text,license\r\n", "a.jsonl.gz": gzip.compress(b"\r\n")}.get(name, b"")
    (tmp_path / name).write_bytes(content)
    if name == "a.parquet":
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / name)
    documents, rejects = read(source("records", tmp_path))
    assert not documents
    assert [(r.position, r.reason) for r in rejects] == [("file", "empty: no rows")]


def test_damage_is_placed_after_the_last_good_row(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": f"{n} " + os.urandom(500).hex()}) + "\n" for n in range(5_000))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows.encode()) + b"garbage")
    documents, (last,) = read(source("records", tmp_path))
    assert documents
    assert last.position == f"after {documents[-1].origin.rpartition('/')[2]}"
    assert last.reason.startswith("damaged: ")


def test_table_without_the_column_says_so_once_with_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a", "b"], "license": ["MIT", "MIT"]}), tmp_path / "a.parquet")
    _, rejects = read(source("records", tmp_path, columns={"text": "text", "license": "license"}))
    assert [r.reason for r in rejects] == ["no column 'text': the table has body, license; correct columns"]
    documents, _ = read(source("records", tmp_path, columns={"text": "body"}))
    assert [d.text for d in documents] == ["a", "b"]


def test_what_cannot_be_stored_is_never_in_a_reject(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('{"text":"hello"}\nx\n'.encode("utf-16"))
    (tmp_path / "b.jsonl").write_text('{"te\\ud800": "x", "v": NaN}\n{"text": "x \\udfff", "v": NaN}\n')
    for kind in ("records", "tool_lists"):
        documents, rejects = read(source(kind, tmp_path))
        assert not documents
        assert len(rejects) == 3
        for each in rejects:
            f"{each.origin}{each.position}{each.reason}".encode()


def test_binary_under_a_name_of_text_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_bytes(b"int a;\n\0\0\0\0")
    _, (found,) = read(source("source_code", tmp_path, domain="code"))
    assert (found.position, found.reason.partition(":")[0]) == ("line 2", "binary")


def test_what_declares_nothing_is_no_protocol_buffers_file(tmp_path: Path) -> None:
    (tmp_path / "a.proto").write_text("[[[[ nothing\n")
    (tmp_path / "b.proto").write_text('syntax = "proto3";\nmessage Shared { int32 id = 1; }\n')  # for others to import
    documents, rejects = read(source("protobuf", tmp_path, domain="agent"))
    assert not documents
    assert [(r.origin.rpartition("/")[2], r.reason.partition(":")[0]) for r in rejects] == [("a.proto", "not Protocol Buffers")]


def test_introspection_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    field = {"name": "ping", "description": "Say that it is there.", "args": [], "type": {"kind": "SCALAR", "name": "String"}}
    schema = {"queryType": {"name": "Q"}, "types": [{"kind": "OBJECT", "name": "Q", "fields": [field]}]}
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"data": {"__schema": schema}}).encode())
    documents, rejects = read(source("graphql", tmp_path, domain="agent"))
    assert (len(documents), rejects) == (1, [])


def test_protocol_that_nobody_speaks_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = check_available(source("records", "gopher://x/y"))
    assert "location gopher://x/y" in problem
    assert "write a path, s3://" in problem
    monkeypatch.setitem(sys.modules, "s3fs", None)
    (problem,) = check_available(source("records", "s3://bucket/x"))
    assert "pip install s3fs" in problem


def test_a_field_in_the_path_is_required(tmp_path: Path) -> None:
    rule = 'option (google.api.http) = { get: "/v1/{name}" };'
    (tmp_path / "a.proto").write_text(
        'syntax = "proto3";\nmessage Asked { int32 size = 1; string name = 2; }\nmessage Thing { string id = 1; }\n'
        f"service Things {{\n  // Gets a thing.\n  rpc Get(Asked) returns (Thing) {{ {rule} }}\n}}\n"
    )
    config = source("protobuf", tmp_path, domain="agent")
    (found,) = (each for item in list_items(config) for each in read_operations(config, item))
    assert isinstance(found, Operation)
    assert [(p.name, p.location, p.required) for p in found.parameters] == [("name", "path", True), ("size", "query", False)]
