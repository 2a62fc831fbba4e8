"""Reading sources in parallel, stopping half-way, and what is reported."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hephaestus_dag.documents import Document, Reject, read_document_table
from hephaestus_dag.sources.collect import collect_documents, collect_trajectories
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.shards import write_shard
from hephaestus_dag.trajectories import Message, Trajectory


class Marked(Document):
    """A document that says when it is gone."""


class StoppedError(Exception):
    """The run was killed."""


def in_order(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
    yield from map(function, items)


def stop_after(count: int, calls: list[Any]) -> Callable[..., Iterator[Any]]:
    def map_over(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
        for item in items:
            if len(calls) == count:
                raise StoppedError
            calls.append(item)
            yield function(item)

    return map_over


@pytest.fixture
def sources(tmp_path: Path) -> list[SourceConfig]:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(10):
            (folder / f"{number}.py").write_text(f"{name} = {number}\n")
        (folder / "bad.py").write_text("x = (\n")
    return [
        SourceConfig.model_validate({"name": n, "kind": "python_code", "location": str(tmp_path / n), "domain": "code", **more})
        for n, more in (("one", {}), ("two", {"max_documents": 4}))
    ]


def test_a_stopped_run_redoes_only_what_is_missing(sources: list[SourceConfig], tmp_path: Path):
    whole = collect_documents(sources, tmp_path / "whole", tmp_path / "work1", in_order)
    calls: list[Any] = []
    with pytest.raises(StoppedError):
        collect_documents(sources, tmp_path / "stopped", tmp_path / "work2", stop_after(9, calls))
    assert len(calls) == 9
    left: list[Any] = []
    resumed = collect_documents(sources, tmp_path / "resumed", tmp_path / "work2", stop_after(1_000, left))
    assert len(left) == 22 - 9
    assert (resumed.shards_read, resumed.shards_taken_over) == (13, 9)
    assert replace(resumed, shards_read=22, shards_taken_over=0) == whole
    for name in ("documents/part-00000.parquet", "rejects.parquet"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_counts_and_samples(sources: list[SourceConfig], tmp_path: Path):
    found = collect_documents(sources, tmp_path / "out", tmp_path / "work", in_order)
    assert (found.num_parsed, found.num_documents, found.num_rejects) == (20, 14, 2)
    assert [(row["parsed"], row["kept"], row["set aside"]) for row in found.sources] == [(10, 10, 1), (10, 4, 1)]
    table = read_document_table(tmp_path / "out")
    assert table["source"].to_pylist() == ["one"] * 10 + ["two"] * 4
    assert found.num_characters == sum(map(len, table["text"].to_pylist()))
    assert len(found.sample) == 6


def test_an_empty_source_stops_before_anything_is_read(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("x")
    source = SourceConfig(name="s", kind="python_code", location=str(tmp_path), domain="code")
    with pytest.raises(ValueError, match="nothing of kind 'python_code'"):
        collect_documents([source], tmp_path / "out", tmp_path / "work", in_order)


def test_synthetic_trajectories_join_their_structured_form(tmp_path: Path):
    made = [
        Trajectory(messages=(Message(role="user", content=f"Do {i}."),), source="synthetic", origin=f"{i}", license="MIT")
        for i in range(3)
    ]
    found = collect_trajectories([], made, tmp_path / "out", tmp_path / "work", in_order)
    rows = pq.read_table(tmp_path / "out" / "trajectories.parquet")
    assert rows["id"].to_pylist() == read_document_table(tmp_path / "out")["id"].to_pylist()
    assert found.num_documents == 3


def test_a_shard_holds_a_few_documents_in_memory_and_not_all(tmp_path: Path):
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def documents() -> Iterator[Document | Reject]:
        nonlocal most
        for number in range(7_000):
            document = Marked(text=f"{number}", domain="text", kind="k", source="s", origin="o", license="MIT")
            alive.add(document)
            most = max(most, len(alive))
            yield document

    write_shard(tmp_path / "shard", documents())
    assert pq.read_table(tmp_path / "shard/documents.parquet")["text"].to_pylist() == [str(n) for n in range(7_000)]
    assert most < 3_000
