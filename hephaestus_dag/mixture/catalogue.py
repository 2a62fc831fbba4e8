"""What there is to tokenise: one small row for each document, in the order of a seeded hash."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.documents import document_files
from hephaestus_dag.shuffle import Exchange, exchange, in_groups, in_memory, parts_for

ROWS_AT_ONCE = 4_096
RUN = 1_000_000
"""Rows whose ids are looked at together."""
ROW = np.dtype(
    [
        ("id", "S16"),
        ("kind", "<i4"),
        ("file", "<i4"),
        ("row", "<i4"),
        ("size", "<i8"),
        ("part", "<i4"),
        ("offset", "<i8"),
        ("length", "<i8"),
    ]
)
ENTRY = np.dtype([("order", "<u8"), *ROW.descr])


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The documents of some folders, 56 bytes each, in memory or in a file."""

    rows: np.ndarray
    """Of ``ROW``: where the text is (file, row in it, UTF-8 bytes), and where its tokens (part, offset, length in tokens).

    Part is -1 until the tokens are somewhere. Rows are sorted by the hash of seed and id.
    """
    files: list[str]
    kinds: list[tuple[str, str]]
    """Domain and source of the documents whose ``kind`` is the place in this list."""

    def heldout(self, share: float) -> np.ndarray:
        """Return which documents belong to the held-out split, as `is_heldout` says."""
        found = np.empty(len(self.rows), np.bool_)
        for first in range(0, len(found), RUN):
            found[first : first + RUN] = ids_as_numbers(self.rows["id"][first : first + RUN]) / 2**32 < share
        return found

    def of_domain(self, domain: str) -> np.ndarray:
        """Return which documents are of a domain."""
        return np.array([name == domain for name, _ in self.kinds])[self.rows["kind"]]

    def identities(self, rows: np.ndarray) -> list[str]:
        """Return the ids of some rows."""
        digits = np.ascontiguousarray(self.rows["id"][rows]).tobytes().hex()
        return [digits[start : start + 32] for start in range(0, len(digits), 32)]


def ids_as_numbers(ids: np.ndarray) -> np.ndarray:
    """Return the first 32 bits of packed ids."""
    return np.ascontiguousarray(ids).view(">u4").reshape(-1, 4)[:, 0]


def packed_ids(ids: Sequence[str]) -> np.ndarray:
    """Return document ids as 16 bytes each.

    Raises ValueError for one that is not 32 hexadecimal digits.
    """
    if wrong := next((identity for identity in ids if len(identity) != 32), None):
        raise ValueError(f"document id {wrong!r} is not 32 hexadecimal digits")
    return np.frombuffer(bytes.fromhex("".join(ids)), "S16")


def catalogue(folders: Sequence[Path], seed: int, work: Path, map_over: Callable[..., Any] = map) -> Catalogue:
    """List the documents of some folders; of their texts only the size is taken.

    Of more documents than `in_memory` allows the rows are sorted in parts, and lie in a file of ``work``.
    Raises ValueError that names the file when a document shard cannot be read.
    """
    files = [file for folder in folders for file in document_files(folder)]
    counts = list(map(_count, files))
    total, shards = sum(counts), list(enumerate(files))
    if in_memory(total):
        kinds = sorted(set().union(*map(_kinds, files)))
        return Catalogue(_sorted(_List(seed, kinds).entries(shards)), files, kinds)
    kinds = sorted(set().union(*map_over(_kinds, files)))
    parts, of = parts_for(total), hashlib.blake2b(repr((seed, files, counts)).encode(), digest_size=8).hexdigest()
    sent = exchange(_List(seed, kinds, parts), in_groups(shards, counts), work / f"listed-{of}", parts, map_over)
    # In a file, so that the system can put it aside; in a new one, because the places of tokens are noted in it.
    rows = np.lib.format.open_memmap(work / "rows.npy", "w+", ROW, (total,)).view(np.ndarray)
    first = 0
    for part in map_over(_Sort(sent), range(parts)):
        rows[first : first + len(part)] = part
        first += len(part)
    return Catalogue(rows, files, kinds)


def _count(file: str) -> int:
    with _named(file):
        return pq.read_metadata(file).num_rows


def _kinds(file: str) -> set[tuple[str, str]]:
    """Return the domains and sources of a document shard."""
    with _named(file):
        table = pq.read_table(file, columns=["domain", "source"], use_threads=False)
        found = table.group_by(["domain", "source"], use_threads=False).aggregate([])
        return set(zip(found["domain"].to_pylist(), found["source"].to_pylist(), strict=True))


@dataclass(frozen=True)
class _List:
    """Lists the documents of some shards; sent to parts, they go where their hash lies, so that parts are in order."""

    seed: int
    kinds: list[tuple[str, str]]
    parts: int = 1

    def __call__(self, shards: Sequence[tuple[int, str]]) -> tuple[np.ndarray, np.ndarray]:
        entries = self.entries(shards)
        return entries, (entries["order"] >> np.uint64(32)) * np.uint64(self.parts) >> np.uint64(32)

    def entries(self, shards: Sequence[tuple[int, str]]) -> np.ndarray:
        """Return the rows of the shards' documents, with their hashes."""
        kinds = {kind: place for place, kind in enumerate(self.kinds)}
        entries = np.empty(sum(pq.read_metadata(file).num_rows for _, file in shards), ENTRY)
        last = 0
        for number, file in shards:
            begin = last
            with _named(file):
                for batch in pq.ParquetFile(file).iter_batches(
                    ROWS_AT_ONCE, columns=["id", "domain", "source", "text"], use_threads=False
                ):
                    first, last = last, last + len(batch)
                    _list(batch, self.seed, kinds, entries[first:last])
                    entries["file"][first:last], entries["row"][first:last] = number, np.arange(first - begin, last - begin)
        return entries


@dataclass(frozen=True)
class _Sort:
    """Sorts the rows of one part."""

    sent: Exchange

    def __call__(self, number: int) -> np.ndarray:
        return _sorted(self.sent.received(number))


@contextmanager
def _named(file: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{file} cannot be read ({error}): delete its folder, and materialise its asset again") from error


def _sorted(entries: np.ndarray) -> np.ndarray:
    order = np.lexsort([entries[field] for field in ("kind", "id", "order")])
    rows = np.empty(len(entries), ROW)
    for field in ROW.names or ():  # one by one: less beside the rows
        rows[field] = entries[field][order]
    return rows


def _list(batch: pa.RecordBatch, seed: int, kinds: dict[tuple[str, str], int], entries: np.ndarray) -> None:
    """Fill in what is known of the documents of a batch."""
    ids, domains, sources = (batch.column(name).to_pylist() for name in ("id", "domain", "source"))
    hashes = (hashlib.md5(f"{seed}:{identity}".encode()).digest()[:8] for identity in ids)
    entries["order"] = np.frombuffer(b"".join(hashes), ">u8")
    entries["id"] = packed_ids(ids)
    entries["kind"] = [kinds[kind] for kind in zip(domains, sources, strict=True)]
    entries["size"] = pc.call_function("binary_length", [batch.column("text")]).to_numpy()
    entries["part"] = -1
