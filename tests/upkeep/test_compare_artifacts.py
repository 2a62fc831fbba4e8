import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hephaestus_dag.artifacts import Identity, Report, Store, Workspace
from hephaestus_dag.manifests import read_manifest
from hephaestus_dag.upkeep.compare import FileDifference, compare

IDENTITY = Identity(key="words", code="c")


def compared(tmp_path: Path, before: Callable[[Path], Any], after: Callable[[Path], Any]) -> list[FileDifference]:
    folders = []
    for name, write in (("before", before), ("after", after)):

        def build(workspace: Workspace, write: Callable[[Path], Any] = write) -> Report:
            write(workspace.folder)
            return Report(headline="")

        folders.append(Store(tmp_path / name).build(IDENTITY, build).artifact.path)
    return compare(folders[0], read_manifest(folders[0]), folders[1], read_manifest(folders[1]))


def table(**columns: list[Any]) -> Callable[[Path], None]:
    return lambda folder: pq.write_table(pa.table(columns), folder / "rows.parquet")


def text(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(content)


def test_equal_bytes_are_the_same(tmp_path: Path) -> None:
    assert compared(tmp_path, text("a", "x"), text("a", "x")) == []


@pytest.mark.parametrize(
    ("before", "after", "first", "clock_only"),
    [
        (table(n=[1, 2, 3]), table(n=[1, 5, 6]), "column n, row 1: 2 → 5", False),
        (table(n=[[1.0, None]]), table(n=[[1.0, 2.0]]), "column n, row 0][1: None → 2.0", False),
        (table(n=[1]), table(n=[1, 1]), "rows: 1 → 2", False),
        (table(n=[1]), table(m=[1]), "columns: n: int64 → m: int64", False),
        (table(n=[1], seconds=[0.5]), table(n=[1], seconds=[0.7]), "column seconds, row 0: 0.5 → 0.7", True),
        (table(seconds=[0.5], n=[1]), table(seconds=[0.7], n=[2]), "column n, row 0: 1 → 2", False),
        (text("a.json", '{"a": {"b": [1, 2]}}'), text("a.json", '{"a": {"b": [1, 3]}}'), "a.b[1]: 2 → 3", False),
        (text("a.json", '{"a": 1, "x": NaN}'), text("a.json", '{"b": 1, "x": NaN}'), "a: 1 → absent", False),
        (text("m.jsonl", '{"tokens_per_second": 1}'), text("m.jsonl", '{"tokens_per_second": 2}'), "line 1, ", True),
        (text("m.jsonl", "1\n2\n"), text("m.jsonl", "1\n"), "line 2 is only in the stored artifact", False),
        (text("a.json", "[1]"), text("a.json", "[1] "), "byte 3 (3 and 4 bytes)", False),
        (text("a.bin", "abc"), text("a.bin", "abd"), "byte 2 (3 and 3 bytes)", False),
        (text("a.json", "{"), text("a.json", "[]"), "cannot be compared", False),
    ],
)
def test_the_first_difference_is_found(
    tmp_path: Path, before: Callable[[Path], Any], after: Callable[[Path], Any], first: str, clock_only: bool
) -> None:
    (found,) = compared(tmp_path, before, after)
    assert found.first.startswith(first)
    assert found.clock_only is clock_only


def test_files_of_one_side_are_named(tmp_path: Path) -> None:
    found = compared(tmp_path, text("old", json.dumps(1)), text("new", json.dumps(1)))
    assert [(each.file, each.first) for each in found] == [
        ("new", "only in the rebuilt artifact"),
        ("old", "only in the stored artifact"),
    ]
