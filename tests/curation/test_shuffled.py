"""A corpus that does not fit into memory: the same bytes as of one that does, whatever the sizes, and after a stop."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.curation.components import ENTRY, components, least
from hephaestus_dag.curation.config import CurationConfig
from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.exact import find_copies
from hephaestus_dag.curation.pipeline import curate
from hephaestus_dag.documents import Document, DocumentWriter
from hephaestus_dag.map_over import in_order
from hephaestus_dag.shuffle import exchange

CONFIG = CurationConfig(licenses=("MIT",), min_characters=10, max_documents_per_provider=9)
PARTS = 3


def write(folder: Path, texts: Sequence[str], shard: int = 7) -> Path:
    common = {"domain": "text", "kind": "api_documentation", "source": "s", "license": "MIT", "provider": "tea"}
    with DocumentWriter(folder, shard) as writer:
        for first in range(0, len(texts), shard):
            writer.write(Document(text=text, origin=f"{first}", **common) for text in texts[first : first + shard])  # type: ignore[arg-type]
    return folder


def texts(numbers: Sequence[int]) -> list[str]:
    """Return texts of which some are the same, others alike, others alone or too short for a signature."""
    kinds = (
        lambda n: f"{' '.join(f'{n // 2}word{k}' for k in range(20))} and an ending {'of words' * (n % 2)}",
        lambda n: f"lone text {n} " + " ".join(f"{n}w{k}" for k in range(20)),
        lambda n: f"just one {n}",
        lambda n: f"chain {' '.join(f'w{k}' for k in range(n, n + 40))}",
    )
    return [kinds[n % 4](n // 4) for n in numbers]


def small(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Shuffle whatever comes, in groups of so many documents."""
    patch.setattr("hephaestus_dag.shuffle.DOCUMENTS_IN_MEMORY", 0)
    patch.setattr("hephaestus_dag.shuffle.GROUP_ROWS", rows)
    patch.setattr("hephaestus_dag.curation.bundles.TEXT_BYTES", rows * 100)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    BenchmarkIndex.build([("riddles/1", "how many of the seventeen sheep are then left on the farm of the farmer")]).save(
        folder
    )
    return folder


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 79), min_size=1, max_size=60), st.lists(st.integers(0, 79), max_size=30), st.integers(1, 40))
def test_what_does_not_fit_into_memory_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, index: Path, new: list[int], known: list[int], rows: int
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    before = None
    write(folder / "new", texts(new))
    if known:
        write(folder / "old", texts(known))
        curate([folder / "old"], before := folder / "known", folder / "known-work", CONFIG, index, in_order)
    at_once = curate([folder / "new"], folder / "at-once", folder / "work-1", CONFIG, index, in_order, before)
    with pytest.MonkeyPatch.context() as patch:
        small(patch, rows)
        shuffled = curate([folder / "new"], folder / "shuffled", folder / "work-2", CONFIG, index, in_order, before)
    assert shuffled == at_once
    assert files_of(folder / "shuffled") == files_of(folder / "at-once")


def test_after_a_stop_at_any_place_only_what_is_missing_is_done(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in", texts([*range(80), *range(0, 80, 3)]))
    curate([tmp_path / "in"], tmp_path / "at-once", tmp_path / "work", CONFIG, index, in_order)
    assert pq.read_table(tmp_path / "at-once/clusters.parquet").num_rows > 20
    small(monkeypatch, 20)
    done: list[Any] = []

    def until(stop: int) -> Callable[..., Iterator[Any]]:
        def run(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
            for item in items:
                if len(done) == stop:
                    raise KeyboardInterrupt
                result = function(item)
                done.append((repr(function), repr(item)))
                yield result

        return run

    curate([tmp_path / "in"], tmp_path / "out", tmp_path / "whole", CONFIG, index, until(-1))
    total = len(done)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "at-once")
    for stop in range(3, total, 23):
        done.clear()
        with pytest.raises(KeyboardInterrupt):
            curate([tmp_path / "in"], tmp_path / f"{stop}", tmp_path / f"{stop}-work", CONFIG, index, until(stop))
        sent = {each for each in done if each[0].startswith("_Send")}
        done.clear()
        curate([tmp_path / "in"], tmp_path / f"{stop}", tmp_path / f"{stop}-work", CONFIG, index, until(-1))
        assert files_of(tmp_path / f"{stop}") == files_of(tmp_path / "at-once")
        assert not sent.intersection(done)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=6), st.integers(0, 3), st.integers(1, 20))
def test_copies_are_those_of_what_came_earlier_or_is_known(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], num_known: int, rows: int
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    paths = [folder / f"{number}.parquet" for number in range(len(files))]
    for path, numbers in zip(paths, files, strict=True):
        pq.write_table(pa.table({"id": pa.array([f"{number:02x}" * 16 for number in numbers], pa.string())}), path)
    with pytest.MonkeyPatch.context() as patch:
        small(patch, rows)
        found = find_copies(paths[num_known:], paths[:num_known], folder / "work", in_order)
    seen, expected = {number for numbers in files[:num_known] for number in numbers}, []
    for place, number in enumerate(number for numbers in files[num_known:] for number in numbers):
        if number in seen:
            expected.append(place)
        seen.add(number)
    assert found.tolist() == expected


def send(documents: Sequence[tuple[int, Sequence[int]]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bands of numbered documents, each to the part of its value."""
    rows = [(value * 16 + band, number) for number, values in documents for band, value in enumerate(values)]
    entries = np.array(rows, ENTRY)
    return entries, entries["key"] % np.uint64(PARTS)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=40),
    st.sets(st.integers(1, 40), max_size=5),
    st.integers(1, 20),
)
def test_components_are_those_of_the_documents_that_share_a_band(
    tmp_path_factory: pytest.TempPathFactory, bands: list[tuple[int, int]], copied: set[int], rows: int
) -> None:
    folder = tmp_path_factory.mktemp("bands")
    lone, numbered = [(100, (50, 50)), (100, (50, 50))], list(enumerate(bands, 1))  # one that resembles but its copy
    numbered += [document for document in numbered if document[0] in copied] + lone
    groups = [numbered[first : first + rows] for first in range(0, len(numbered), rows)]
    found = components(exchange(send, groups, folder / "bands", PARTS, in_order), folder / "work", in_order)
    edges = [least(found.edges.received(part)) for part in range(found.edges.parts)]
    root = {node: low for e, starts, lows in edges for node, low in zip(e["node"][starts].tolist(), lows.tolist(), strict=True)}

    expected = {number: {number} for number, _ in numbered}  # by joining the sets of all pairs
    shares = copied.intersection(expected) | {100}
    for number, own in numbered:
        for other, theirs in numbered:
            if other != number and any(a == b for a, b in zip(own, theirs, strict=True)):
                shares.add(number)
                merged = expected[number] | expected[other]
                for each in merged:
                    expected[each] = merged
    assert found.documents == len(root) == len(shares)
    assert root == {number: min(expected[number]) for number in shares}


def test_a_long_chain_is_one_component_in_few_steps(tmp_path: Path) -> None:
    chain = list(enumerate(pairwise(range(3_000)), 1))
    numbers = np.random.default_rng(0).permutation(len(chain)).tolist()
    # Neighbours have a value in common, but in different bands: every other document turns its bands round.
    bands = [(place, pair if place % 2 else pair[::-1]) for place, pair in chain]
    documents = [(n + 1, b) for n, (_, b) in zip(numbers, bands, strict=True)]
    found = components(exchange(send, [documents], tmp_path / "bands", PARTS, in_order), tmp_path / "work", in_order)
    lowest = np.concatenate([least(found.edges.received(part))[2] for part in range(PARTS)])
    assert found.documents == len(chain)
    assert len(set(lowest.tolist())) == 1
    assert len(list((tmp_path / "work").iterdir())) <= 1 + 2 * 14
