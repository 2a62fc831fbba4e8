"""Encode documents where they lie, block by block: by any number of workers, and each block is kept as soon as it is done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.finished_shards import FinishedShards
from hephaestus_dag.retrieval.vectors import checked

Progress = Callable[[int, int], None] | None
Places = Sequence[tuple[str, Sequence[int] | np.ndarray]]
"""Document shards, and ascending rows of each."""
READ_ROWS = 1_024


class TextEncoder(Protocol):
    """What turns texts into vectors; pickled, it is light, and loads its model where it is used."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON values that decide the vectors."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str], progress: Progress = None) -> np.ndarray:
        """Return float32 vectors, shape (number of texts, dimension)."""
        ...


@dataclass(frozen=True)
class EncodeBlock:
    """Encodes the documents at some places, and keeps their vectors among finished shards.

    A block is encoded as a whole: its vectors do not depend on what else is encoded, or by whom.
    """

    work: Path
    identity: Sequence[Any]
    """What decides the vectors; see `FinishedShards`."""
    dimension: int
    options: dict[str, Any] = field(default_factory=dict)
    """Of the encoder's ``encode``."""
    report: Progress = None
    """Is told about texts done inside a block; stays behind where the block goes to another process."""

    def __call__(self, encoder: TextEncoder, places: Places) -> Path:
        """Return the file of the vectors.

        Raises ValueError for a document shard that cannot be read, and for vectors that are not as the encoder says.
        """
        ids, texts = read_places(places)
        vectors = checked(encoder.encode(texts, self.report, **self.options), ids, self.dimension)
        return FinishedShards(self.work, self.identity).save(ids, vectors)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "report": None}


def each_loads(encoder: TextEncoder) -> Callable[[], TextEncoder]:
    """Return the setup that gives every worker the encoder; other processes than this get a copy that loads its own model."""
    return partial(_itself, encoder)


def _itself(encoder: TextEncoder) -> TextEncoder:
    return encoder


@contextmanager
def readable(file: str) -> Iterator[None]:
    """Raise ValueError with the remedy where a document shard cannot be read."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{file} cannot be read ({error}): delete its folder, and materialise its asset again") from error


def read_places(places: Places) -> tuple[list[str], list[str]]:
    """Return ids and texts of the documents at some places."""
    ids: list[str] = []
    texts: list[str] = []
    for file, chosen in places:
        rows, first = np.asarray(chosen), 0
        with readable(file):
            for batch in pq.ParquetFile(file).iter_batches(READ_ROWS, columns=["id", "text"], use_threads=False):
                here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(batch))] - first
                taken = batch.take(pa.array(here)) if len(here) < len(batch) else batch
                ids += taken.column("id").to_pylist()
                texts += taken.column("text").to_pylist()
                first += len(batch)
                if first > rows[-1]:
                    break
    return ids, texts
