"""Encode a documents folder into a folder of vectors: resumable after a kill, and only what no earlier folder holds."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import document_files
from hephaestus_dag.finished_shards import FinishedShards
from hephaestus_dag.map_over import MapOver, in_order
from hephaestus_dag.retrieval.encoding import EncodeBlock, Places, Progress, TextEncoder, each_loads, readable
from hephaestus_dag.retrieval.vectors import Shard, Vectors, open_vectors, vectors_writer, write_vectors

__all__ = ["TextEncoder", "embed_documents", "write_vectors"]

SHARD_ROWS = 8_192  # What a kill can lose; at 384 dimensions a file of 12.6 MB.


def embed_documents(
    documents: Path,
    encoder: TextEncoder,
    folder: Path,
    work: Path,
    progress: Progress = None,
    earlier: Sequence[Path] = (),
    map_over: MapOver = in_order,
) -> dict[str, Any]:
    """Write the vectors of a documents folder into ``folder``, in the order of the documents.

    A shard of at most 8,192 vectors never crosses a document shard, and is encoded as a whole by ``map_over``, which may be
    the compute resource's. Finished ones wait in ``work``, so that a stop at any moment costs one per worker at most, and
    the next run with the same folders gives the bytes of an undisturbed one.

    ``earlier`` names folders of vectors. What those of the same encoder hold, found by document id wherever it lies, is
    copied byte for byte; only the rest is encoded. A vector that is encoded beside others than before may differ from
    what a run from scratch gives in its last bits, as any change of batch does. Damaged folders, and those of another
    encoder, are passed over. Memory: 16 bytes per document, 28 with ``earlier``, and of each worker one shard with its texts.

    Returns counts: documents = encoded + copied + resumed, dimension, shards.

    Raises ValueError when a document shard cannot be read, two documents share an id, or there are none.
    """
    identity, dimension = json.loads(json.dumps(encoder.identity)), encoder.dimension
    known = KnownVectors(documents, earlier, identity, dimension)
    finished = FinishedShards(work, [identity, dimension])
    counts = dict.fromkeys(("encoded", "copied", "resumed"), 0)

    def report(done: int, _: int) -> None:
        if progress:
            progress(sum(counts.values()) + done, len(known))

    paths, missing = _plan(documents, known, finished)
    encode = EncodeBlock(work, finished.identity, dimension, report=report)
    made = map_over(encode, missing, setup=each_loads(encoder))
    with vectors_writer(folder, identity, dimension) as writer:
        for batch, found in zip(read_shards(documents, ["id"]), paths, strict=True):
            ids = batch.column("id").to_pylist()
            rows = known.find(ids)
            new = rows < 0
            path = found or (next(made) if new.any() else None)
            counts["resumed" if found else "encoded"] += int(new.sum())
            counts["copied"] += int((~new).sum())
            if path and new.all():
                writer.add(ids, path)
            else:
                vectors = np.empty((len(ids), dimension), dtype=np.float32)
                vectors[~new] = known.vectors.take(rows[~new])
                if path:
                    vectors[new] = np.load(path)
                writer.add(ids, vectors)
            report(0, 0)
    return {"documents": len(known), "dimension": dimension, **counts, "shards": len(writer.shards)}


def _plan(documents: Path, known: "KnownVectors", finished: FinishedShards) -> tuple[list[Path | None], list[Places]]:
    """Return, for each batch of `read_shards`, the file of its new vectors if an earlier run left it, and what is to encode."""
    paths: list[Path | None] = []
    missing: list[Places] = []
    for file in document_files(documents):
        first = 0
        for batch in read_file(file, ["id"]):
            ids = batch.column("id").to_pylist()
            new = np.flatnonzero(known.find(ids) < 0).astype(np.int32)
            paths.append(finished.find([ids[row] for row in new]) if len(new) else None)
            if len(new) and not paths[-1]:
                rows = range(first, first + len(ids)) if len(new) == len(ids) else first + new
                missing.append([(file, rows)])
            first += len(ids)
    return paths, missing


def read_shards(documents: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a folder in batches of ``SHARD_ROWS``, fewer at the end of each document shard."""
    for file in document_files(documents):
        yield from read_file(file, columns)


def read_file(file: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a document shard in batches of ``SHARD_ROWS``."""
    with readable(file):
        yield from pq.ParquetFile(file).iter_batches(SHARD_ROWS, columns=list(columns), use_threads=False)


def digests(ids: Sequence[str]) -> bytes:
    """Return 16 bytes for each id, one after the other."""
    return b"".join(hashlib.blake2b(identity.encode(), digest_size=16).digest() for identity in ids)


class KnownVectors:
    """The distinct documents of a folder, and where vectors of theirs already lie."""

    def __init__(self, documents: Path, earlier: Sequence[Path], identity: dict[str, Any], dimension: int) -> None:
        keys = bytearray()
        for batch in read_shards(documents, ["id"]):
            keys += digests(batch.column("id").to_pylist())
        if not keys:
            raise ValueError(f"{documents} holds no documents to encode: give the corpus a source, or loosen its filters")
        self.keys = np.frombuffer(keys, dtype="S16")
        self.keys.sort()
        if len(repeated := self.keys[1:][self.keys[1:] == self.keys[:-1]]):
            raise ValueError(f"{documents} holds a document twice, {self.name(documents, repeated[0])}: remove copies first")
        self.rows: np.ndarray | None = None
        self.vectors = Vectors(documents, identity, dimension, [])
        for folder in earlier:
            self.look_up(folder)

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row in ``vectors`` of each of the folder's ids, or -1."""
        if self.rows is None:
            return np.full(len(ids), -1, dtype=np.int64)
        return self.rows[np.searchsorted(self.keys, np.frombuffer(digests(ids), dtype="S16"))]

    def look_up(self, folder: Path) -> None:
        """Note which documents an earlier folder holds; pass it over when it is damaged or of another encoder."""
        try:
            found = open_vectors(folder)
            if (found.encoder, found.dimension) != (self.vectors.encoder, self.vectors.dimension):
                return
            first, rows = len(self.vectors), self.rows
            rows = np.full(len(self), -1, dtype=np.int64) if rows is None else rows.copy()
            for start, ids in found.id_blocks():
                wanted = np.frombuffer(digests(ids), dtype="S16")
                places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
                hits = np.flatnonzero(self.keys[places] == wanted)
                rows[places[hits]] = first + start + hits
        except (OSError, ValueError):
            return
        self.rows = rows
        shards = [*self.vectors.shards, *(Shard(shard.path, first + shard.first, shard.rows) for shard in found.shards)]
        self.vectors = Vectors(self.vectors.folder, self.vectors.encoder, self.vectors.dimension, shards)

    @staticmethod
    def name(documents: Path, key: bytes) -> str:
        """Return the id whose digest is ``key``."""
        batches = (batch.column("id").to_pylist() for batch in read_shards(documents, ["id"]))
        return next(identity for ids in batches for identity in ids if digests([identity]).rstrip(b"\0") == key)
