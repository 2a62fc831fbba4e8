"""What there is to tokenise: one small row for each document, in the order of a seeded hash."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.documents import document_files

ROWS_AT_ONCE = 4_096
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


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The documents of some folders, 56 bytes each."""

    rows: np.ndarray
    """Of ``ROW``: where the text is (file, row in it, UTF-8 bytes), and where its tokens (part, offset, length in tokens).

    Part is -1 until the tokens are somewhere. Rows are sorted by the hash of seed and id.
    """
    files: list[str]
    kinds: list[tuple[str, str]]
    """Domain and source of the documents whose ``kind`` is the place in this list."""

    def heldout(self, share: float) -> np.ndarray:
        """Return which documents belong to the held-out split, as `is_heldout` says."""
        return ids_as_numbers(self.rows["id"]) / 2**32 < share

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


def catalogue(folders: Sequence[Path], seed: int) -> Catalogue:
    """List the documents of some folders; of their texts only the size is taken.

    Raises ValueError that names the file when a document shard cannot be read.
    """
    files = [file for folder in folders for file in document_files(folder)]
    blocks: list[np.ndarray] = [np.empty(0, ROW)]
    orders: list[np.ndarray] = [np.empty(0, np.uint64)]
    kinds: dict[tuple[str, str], int] = {}
    for number, file in enumerate(files):
        first = 0
        try:
            for batch in pq.ParquetFile(file).iter_batches(
                ROWS_AT_ONCE, columns=["id", "domain", "source", "text"], use_threads=False
            ):
                blocks.append(_rows(batch, kinds))
                blocks[-1]["file"], blocks[-1]["row"] = number, np.arange(first, first + len(batch))
                orders.append(_order(batch, seed))
                first += len(batch)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ValueError(f"{file} cannot be read ({error}): delete its folder, and materialise its asset again") from error
    rows, order, names = np.concatenate(blocks), np.concatenate(orders), sorted(kinds)
    del blocks, orders
    rank = {kinds[name]: place for place, name in enumerate(names)}
    rows["kind"] = np.array([rank[number] for number in range(len(rank))], np.int32)[rows["kind"]] if rank else 0
    return Catalogue(rows[np.lexsort([rows["kind"], rows["id"], order])], files, names)


def _order(batch: pa.RecordBatch, seed: int) -> np.ndarray:
    hashes = (hashlib.md5(f"{seed}:{identity}".encode()).digest()[:8] for identity in batch.column("id").to_pylist())
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64)


def _rows(batch: pa.RecordBatch, kinds: dict[tuple[str, str], int]) -> np.ndarray:
    ids, domains, sources = (batch.column(name).to_pylist() for name in ("id", "domain", "source"))
    rows = np.empty(len(ids), ROW)
    rows["id"] = packed_ids(ids)
    rows["kind"] = [kinds.setdefault(kind, len(kinds)) for kind in zip(domains, sources, strict=True)]
    rows["size"] = pc.call_function("binary_length", [batch.column("text")]).to_numpy()
    rows["part"] = -1
    return rows
