"""Removes copies: documents whose text is, byte for byte, that of an earlier one, across all sources."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.curation.ids import first_half, packed
from hephaestus_dag.curation.removed import Verdict, part
from hephaestus_dag.map_over import MapOver
from hephaestus_dag.shuffle import Exchange, exchange, in_groups, parts_for

ENTRY = np.dtype([("id", "S16"), ("row", "i8")])
NAME = "exact_duplicates"


class ExactDeduplicator:
    """Keeps the first document of each id, in the order in which batches arrive.

    One instance has to see all batches: the ids seen so far are its state, about 100 bytes each.
    """

    name = NAME

    def __init__(self, known: Iterable[str] = ()) -> None:
        """`known` are ids of documents that are kept elsewhere, so that their copies go."""
        self._seen = {bytes.fromhex(document_id) for document_id in known}

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows for the copies; their evidence says where the copy lay (the kept one has the same id)."""
        copies = []
        for row, document_id in enumerate(batch.column("id").to_pylist()):
            key = bytes.fromhex(document_id)
            if key in self._seen:
                copies.append(row)
            self._seen.add(key)
        return _without(batch, copies)


class CopiesAt:
    """The same for copies that `find_copies` found; batches arrive in the order of the files, and none is left out."""

    name = NAME

    def __init__(self, rows: np.ndarray) -> None:
        """``rows`` are the places of the copies among all documents, ascending: 8 bytes each."""
        self._rows = rows
        self._next = 0

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows for the copies, as `ExactDeduplicator` does."""
        here, self._next = self._next, self._next + batch.num_rows
        first, last = np.searchsorted(self._rows, [here, self._next])
        return _without(batch, (self._rows[first:last] - here).tolist())


def find_copies(files: Sequence[Path], known: Sequence[Path], work: Path, map_over: MapOver) -> np.ndarray:
    """Return the places, among all documents of ``files``, of those whose id came earlier or is in ``known``; ascending.

    Ids are shuffled through ``work``, 24 bytes a document: those that are equal meet in one worker.
    """
    rows = [pq.read_metadata(file).num_rows for file in [*known, *files]]
    before = [-1] * len(known) + (np.cumsum([0, *rows[len(known) :]])[:-1]).tolist()
    groups = in_groups(zip([*known, *files], before, strict=True), rows)
    sent = exchange(_Ids(parts := parts_for(sum(rows))), groups, work, parts, map_over)
    copies = np.concatenate(list(map_over(_Later(sent), range(parts))))
    copies.sort()
    return copies


@dataclass(frozen=True)
class _Ids:
    """Sends the ids of files with their rows; those of documents that are known have no row."""

    parts: int

    def __call__(self, files: Sequence[tuple[Path, int]]) -> tuple[np.ndarray, np.ndarray]:
        found = [np.empty(0, ENTRY)]
        for file, first in files:
            ids = packed(pq.read_table(file, columns=["id"])["id"])
            found.append(np.empty(len(ids), ENTRY))
            found[-1]["id"] = ids
            found[-1]["row"] = np.arange(first, first + len(ids)) if first >= 0 else -1
        entries = np.concatenate(found)
        return entries, first_half(entries["id"]) % np.uint64(self.parts)


@dataclass(frozen=True)
class _Later:
    """Finds, in one part, the rows of ids that came before."""

    sent: Exchange

    def __call__(self, number: int) -> np.ndarray:
        entries = self.sent.received(number)
        entries = entries[np.argsort(entries["id"], kind="stable")]
        rows = entries["row"][1:][entries["id"][1:] == entries["id"][:-1]]
        return rows[rows >= 0]


def _without(batch: pa.RecordBatch, copies: Sequence[int]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    verdicts: list[Verdict | None] = [None] * batch.num_rows
    for row in copies:
        place = f"{batch.column('source')[row].as_py()}: {batch.column('origin')[row].as_py()}"
        verdicts[row] = Verdict("the same text came earlier", place)
    return part(batch, NAME, verdicts)


def text_ids(texts: pa.Array) -> list[str]:
    """Return `document_id` of every text in a string column without nulls, hashed where it lies, without making strings."""
    _, offsets, content = texts.buffers()
    if not len(texts) or offsets is None:
        return []
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    ends = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1].tolist()
    view = memoryview(content or b"")
    return [hashlib.blake2b(view[first:last], digest_size=16).hexdigest() for first, last in pairwise(ends)]
