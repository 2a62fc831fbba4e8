"""Vectors of documents, in shards that are memory-mapped: nothing is read before it is asked for.

A folder of vectors looks like this::

    vectors/part-00000.npy     float32 (rows, dimension)
    ids.parquet                document_id, one row per vector, in the order of the shards
    vectors.json               the encoder, the dimension, and name and rows of every shard; written last
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.whole_folder import whole_file

HEAD = "vectors.json"
IDS = "ids.parquet"
ID_SCHEMA = pa.schema([("document_id", pa.string())])


def mapped(path: Path) -> np.ndarray:
    """Return the vectors of a file, memory-mapped."""
    return np.load(path, mmap_mode="r")


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of vectors."""

    path: Path
    first: int
    """Row of its first vector among all."""
    rows: int


class Vectors:
    """The vectors of a folder, by row. Row i belongs to document ``ids[i]``."""

    def __init__(self, folder: Path, encoder: dict[str, Any], dimension: int, shards: Sequence[Shard]) -> None:
        self.folder, self.encoder, self.dimension, self.shards = folder, encoder, dimension, tuple(shards)

    def __len__(self) -> int:
        return self.shards[-1].first + self.shards[-1].rows if self.shards else 0

    @cached_property
    def ids(self) -> pa.ChunkedArray:
        """Document ids, row by row."""
        return pq.read_table(self.folder / IDS)["document_id"]

    def id_blocks(self, rows: int = 65_536) -> Iterator[tuple[int, list[str]]]:
        """Yield (first row, ids of at most ``rows`` documents), in order, without holding them all."""
        first = 0
        for batch in pq.ParquetFile(self.folder / IDS).iter_batches(rows, use_threads=False):
            yield first, batch.column("document_id").to_pylist()
            first += batch.num_rows

    def blocks(self, rows: int = 65_536) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, float32 vectors of at most ``rows`` rows), in order; a block never crosses a shard."""
        for shard in self.shards:
            vectors = mapped(shard.path)
            for start in range(0, shard.rows, rows):
                yield shard.first + start, np.ascontiguousarray(vectors[start : start + rows], dtype=np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of some rows, in the order given: float32, shape (len(rows), dimension).

        Raises IndexError for a row that is not there.
        """
        found = np.empty((len(rows), self.dimension), dtype=np.float32)
        for vectors, places, inside in self.by_shard(rows):
            found[places] = vectors[inside]
        return found

    def by_shard(
        self, rows: np.ndarray, load: Callable[[Path], np.ndarray] = mapped
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield for each shard with some of the rows: its memory-mapped vectors, the places in ``rows``, the rows inside it.

        ``load`` maps a shard; a caller who comes again and again gives one that remembers.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if not len(rows):
            return
        if rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"{self.folder} has rows 0 to {len(self) - 1}, not {rows.min()} to {rows.max()}")
        owners = np.searchsorted([shard.first for shard in self.shards], rows, side="right") - 1
        order = np.argsort(owners.astype(np.min_scalar_type(len(self.shards))), kind="stable")  # narrow integers sort faster
        owners = owners[order]
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            shard, places = self.shards[owners[start]], order[start:stop]
            yield load(shard.path), places, rows[places] - shard.first


def open_vectors(folder: Path) -> Vectors:
    """Return the vectors of a folder.

    Raises FileNotFoundError when there are none, and ValueError naming the file when shards, head and ids do not belong
    together.
    """
    if not (folder / HEAD).is_file():
        raise FileNotFoundError(f"{folder} holds no {HEAD}: its vectors were never finished, build them first")
    try:
        head = json.loads((folder / HEAD).read_text())
        encoder, dimension = head["encoder"], head["dimension"]
        entries = [(folder / "vectors" / entry["name"], entry["rows"]) for entry in head["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder / HEAD, f"cannot be read ({error!r})") from error
    shards, first = [], 0
    for path, rows in entries:
        try:
            shape = mapped(path).shape
        except (OSError, ValueError, EOFError) as error:
            raise damaged(path, f"cannot be read ({error})") from error
        if shape != (rows, dimension):
            raise damaged(path, f"has shape {shape} in place of {(rows, dimension)}")
        shards.append(Shard(path, first, rows))
        first += rows
    try:
        ids = pq.read_metadata(folder / IDS).num_rows
    except (OSError, pa.ArrowException) as error:
        raise damaged(folder / IDS, f"cannot be read ({error})") from error
    if ids != first:
        raise damaged(folder / IDS, f"has {ids} ids for {first} vectors")
    return Vectors(folder, encoder, dimension, shards)


def damaged(path: Path, what: str) -> ValueError:
    """Return the error for a file that cannot be used."""
    return ValueError(f"{path} {what}; the folder is damaged, build it again")


def check_same_encoder(left: Vectors, right: Vectors, what: str) -> None:
    """Raise ValueError, naming the fields, when two sets of vectors come from different encoders."""
    folders = f"{left.folder} and {right.folder}"
    if left.dimension != right.dimension:
        raise ValueError(f"{what}: {folders} have dimensions {left.dimension} and {right.dimension}; encode again")
    fields = sorted(name for name in {*left.encoder, *right.encoder} if left.encoder.get(name) != right.encoder.get(name))
    if fields:
        raise ValueError(f"{what}: the encoders of {folders} differ in {', '.join(fields)}; encode again")


class VectorsWriter:
    """Adds shards to a folder of vectors; see `vectors_writer`."""

    def __init__(self, folder: Path, dimension: int, ids: pq.ParquetWriter) -> None:
        self.folder, self.dimension = folder, dimension
        self.shards: list[dict[str, Any]] = []
        self._ids = ids

    def add(self, ids: Sequence[str], vectors: np.ndarray | Path) -> None:
        """Add a shard: float32 vectors (len(ids), dimension), or a .npy file of them, which is linked and not copied."""
        target = self.folder / "vectors" / f"part-{len(self.shards):05d}.npy"
        if isinstance(vectors, Path):
            link_or_copy(vectors, target)
        else:
            with whole_file(target) as staging, staging.open("wb") as file:
                np.save(file, checked(vectors, ids, self.dimension))
        self._ids.write_table(pa.table({"document_id": list(ids)}, schema=ID_SCHEMA))
        self.shards.append({"name": target.name, "rows": len(ids)})


@contextmanager
def vectors_writer(folder: Path, encoder: dict[str, Any], dimension: int) -> Iterator[VectorsWriter]:
    """Write a folder of vectors shard by shard. It can be opened after a clean exit; after an error it holds no vectors."""
    clear(folder)
    (folder / "vectors").mkdir(parents=True)
    try:
        with whole_file(folder / IDS) as path, pq.ParquetWriter(path, ID_SCHEMA, compression="zstd") as ids:
            writer = VectorsWriter(folder, dimension, ids)
            yield writer
        with whole_file(folder / HEAD) as path:
            head = {"encoder": encoder, "dimension": dimension, "shards": writer.shards}
            path.write_text(json.dumps(head, indent=1) + "\n")
    except BaseException:
        clear(folder)
        raise


def clear(folder: Path) -> None:
    """Remove the vectors of a folder."""
    (folder / HEAD).unlink(missing_ok=True)
    (folder / IDS).unlink(missing_ok=True)
    shutil.rmtree(folder / "vectors", ignore_errors=True)


def write_vectors(
    folder: Path, blocks: Iterable[tuple[Sequence[str], np.ndarray]], encoder: dict[str, Any], dimension: int
) -> None:
    """Write (ids, float32 vectors) blocks as a folder of vectors, a shard for each.

    ``encoder`` is the identity of the encoder. Raises ValueError when a block has another shape, or a value is not finite.
    """
    with vectors_writer(folder, encoder, dimension) as writer:
        for ids, vectors in blocks:
            writer.add(ids, vectors)


def checked(vectors: np.ndarray, ids: Sequence[str], dimension: int) -> np.ndarray:
    """Return vectors after checking that there is one finite float32 vector of the right length for each id."""
    if vectors.shape != (len(ids), dimension):
        raise ValueError(f"there are vectors of shape {vectors.shape} for {len(ids)} documents of dimension {dimension}")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the vector of document {ids[int(finite.argmin())]} is not finite: set encoder.dtype to bfloat16 or float32"
        )
    return np.ascontiguousarray(vectors, dtype=np.float32)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system cannot, copy it."""
    try:
        os.link(source, target)
    except OSError:
        with whole_file(target) as staging:
            shutil.copyfile(source, staging)
