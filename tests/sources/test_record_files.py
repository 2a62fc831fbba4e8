"""Rows of files and data sets: every form gives the same rows, and pieces of a large file give each row exactly once."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading import record_files
from hephaestus_dag.sources.reading.record_files import Record, list_record_items, read_records

ROWS = [{"text": f"Row {n} says é.", "n": str(n)} for n in range(7)]


def source(location: object, **values: Any) -> SourceConfig:
    return SourceConfig.model_validate({"name": "s", "kind": "records", "location": str(location), "domain": "text", **values})


def read(config: SourceConfig) -> list[Record | Reject]:
    return [found for item in list_record_items(config) for found in read_records(config, item)]


def rows(config: SourceConfig) -> list[dict[str, Any]]:
    return [found.value for found in read(config) if isinstance(found, Record)]


def lines(values: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def table(values: list[dict[str, Any]], delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["text", "n"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(values)
    return text.getvalue().encode()


def parquet(values: list[dict[str, Any]], rows_per_group: int = 2) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(values), out, row_group_size=rows_per_group)
    return out.getvalue()


FORMS = {
    "a.jsonl": lines(ROWS),
    "lines.json": lines(ROWS),
    "list.json": json.dumps(ROWS).encode(),
    "data.json": json.dumps({"version": 1, "data": ROWS}).encode(),
    "bom.jsonl": b"\xef\xbb\xbf" + lines(ROWS),
    "a.csv": table(ROWS, ","),
    "a.tsv": table(ROWS, "\t"),
    "a.parquet": parquet(ROWS),
    "a.jsonl.gz": gzip.compress(lines(ROWS[:3])) + gzip.compress(lines(ROWS[3:])),
    "a.csv.gz": gzip.compress(table(ROWS, ",")),
    "a.json.zst": bytes(pa.compress(json.dumps(ROWS).encode(), codec="zstd", asbytes=True)),
    "A.JSONL.ZST": bytes(pa.compress(lines(ROWS), codec="zstd", asbytes=True)),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FORMS[name])
    assert rows(source(tmp_path)) == ROWS


def test_one_object_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "x", "score": NaN}')
    assert read(source(tmp_path)) == [Record("row 1", {"text": "x", "score": None})]


def test_malformed_lines_are_set_aside_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": \n\n[1]\n{"text": "\xff"}\n{"text": "b"}')
    (tmp_path / "b.csv").write_bytes(b'text,n\n"a\nb",1\nshort\n\xff,2\nlast,3\n')
    (tmp_path / "c.json").write_text('{\n"a": 1,\n"b" 2\n}')
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(lines(ROWS) * 500)[:-40])
    (tmp_path / "e.parquet").write_bytes(parquet(ROWS)[:-9])
    (tmp_path / "f.csv").write_text("a,a\n1,2\n")
    (tmp_path / "g.json").write_text(" ")
    found = read(source(tmp_path))
    rejects = {(r.origin.rpartition("/")[2], r.position): r.reason.partition(":")[0] for r in found if isinstance(r, Reject)}
    assert rejects == {
        ("a.jsonl", "line 2"): "not JSON",
        ("a.jsonl", "line 4"): "not an object",
        ("a.jsonl", "line 5"): "not JSON",
        ("b.csv", "line 4"): "malformed",
        ("b.csv", "line 5"): "not UTF-8",
        ("c.json", "line 3"): "not JSON",
        ("d.jsonl.gz", "file"): "damaged",
        ("e.parquet", "file"): "damaged",
        ("f.csv", "line 1"): "malformed",
        ("g.json", "file"): "empty",
    }
    assert Record("line 6", {"text": "b"}) in found
    assert Record("line 2", {"text": "a\nb", "n": "1"}) in found
    assert Record("line 6", {"text": "last", "n": "3"}) in found


def test_a_line_that_would_fill_the_memory_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_files, "LONGEST_LINE", 50)
    (tmp_path / "a.jsonl").write_text(f'{{"text": "{"x" * 500}"}}\n{{"text": "b"}}\n')
    long, short = read(source(tmp_path))
    assert isinstance(long, Reject)
    assert (long.position, short) == ("line 1", Record("line 2", {"text": "b"}))


@settings(deadline=None, max_examples=150)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=25),
    piece=st.integers(1, 60),
    blank=st.sampled_from(["", "\n", "\n\n"]),
    end=st.booleans(),
)
def test_pieces_of_lines_hold_every_line_once(
    texts: list[str], piece: int, blank: str, end: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    content = blank.join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (folder / "a.jsonl").write_bytes((content if end else content.rstrip("\n")).encode())
    config = source(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_files, "PIECE", piece)
        items = list_record_items(config)
        found = [record for item in items for record in read_records(config, item)]
    assert [record.value["text"] for record in found if isinstance(record, Record)] == texts
    assert len(found) == max(len(texts), 1)  # of no rows at all, one reject says so
    assert len({record.position for record in found}) == len(found)


@pytest.mark.parametrize("piece", [1, 300, 1 << 20])
def test_pieces_of_parquet_hold_every_row_once(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet(ROWS))
    monkeypatch.setattr(record_files, "PIECE", piece)
    config = source(tmp_path)
    assert len(list_record_items(config)) == {1: 4, 300: 2, 1 << 20: 1}[piece] or piece == 300
    assert [(found.position, found.value) for found in read(config) if isinstance(found, Record)] == [
        (f"row {number}", row) for number, row in enumerate(ROWS, 1)
    ]


def test_a_data_set_is_streamed_shard_by_shard(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines(ROWS[:4]))
    (folder / "b.jsonl").write_bytes(lines(ROWS[4:]))
    config = source(f"hf:{folder}", split="train")
    items = list_record_items(config)
    assert items == ["set/default/train/00000-of-00002", "set/default/train/00001-of-00002"]
    assert rows(config) == ROWS
    assert read_items(config, items[1:])[0].origin == "set/default/train/00001-of-00002/row 1"


def test_rows_become_documents_with_their_own_licence_and_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        lines(
            [
                {"body": {"text": "One."}, "lic": "Apache 2.0", "url": "https://e.org/1", "by": "e.org", "lang": "Go"},
                {"body": {"text": "Two."}, "lic": None, "url": None, "by": None, "lang": None},
                {"body": "Three."},
                {"body": {"text": 4}},
            ]
        )
    )
    columns = {"text": "body.text", "license": "lic", "origin": "url", "provider": "by", "language": "lang"}
    config = source(tmp_path / "a.jsonl", columns=columns, license="CC0-1.0")
    found = read_items(config, list_items(config))
    origin = f"{tmp_path.name}/a.jsonl"
    documents = [(d.text, d.origin, d.license, d.provider, d.format) for d in found if isinstance(d, Document)]
    assert documents == [
        ("One.", f"{origin}/line 1/https://e.org/1", "Apache-2.0", "e.org", "go"),
        ("Two.", f"{origin}/line 2", "CC0-1.0", "", ""),
    ]
    assert [(r.position, r.reason.partition(";")[0]) for r in found if isinstance(r, Reject)] == [
        ("line 3", "no text: column 'body.text' holds nothing"),
        ("line 4", "no text: column 'body.text' holds a int"),
    ]


def test_pieces_behind_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.filesystem("memory")
    system.pipe({"/rows/a.jsonl": lines(ROWS), "/rows/b.parquet": parquet(ROWS)})
    monkeypatch.setattr(record_files, "PIECE", 100)
    config = source("memory://rows/*")
    assert list_record_items(config)[1] == "memory://rows/a.jsonl#bytes=100-200"
    assert rows(config) == ROWS + ROWS
    system.rm("/rows", recursive=True)
