"""Units of work of a source, read into small folders of their own, so that an interrupted run redoes only the unfinished ones.

A shard is a folder::

    documents.parquet       document schema
    trajectories.parquet    trajectory schema, for kinds that read trajectories
    rejects.parquet         what was set aside

It appears under its name only when it is complete.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from hephaestus_dag.documents import SCHEMA, Document, Reject, document_batch, write_rejects
from hephaestus_dag.sources import TRAJECTORY_KINDS, bounded, list_items, read_items, read_trajectories
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.trajectories import Trajectory, write_trajectories
from hephaestus_dag.whole_folder import whole_folder

SHARDS_PER_SOURCE = 64
MOST_ITEMS = 500
DOCUMENTS_AT_ONCE = 2_000

DOCUMENTS, TRAJECTORIES, REJECTS = "documents.parquet", "trajectories.parquet", "rejects.parquet"


@dataclass(frozen=True, slots=True)
class Shard:
    """Some units of work of one source, and the folder that holds what they give."""

    source: SourceConfig
    items: tuple[str, ...]
    folder: Path


def plan_shards(source: SourceConfig, folder: Path) -> list[Shard]:
    """Return the shards of a source: at least 64 where there are that many items, of at most 500 items each.

    Raises ValueError when the source holds nothing.
    """
    items = list_items(source)
    size = min(max(1, len(items) // SHARDS_PER_SOURCE), MOST_ITEMS)
    runs = [tuple(items[start : start + size]) for start in range(0, len(items), size)]
    return [Shard(source, run, folder / f"{source.name}-{number:05d}") for number, run in enumerate(runs)]


def read_shard(shard: Shard) -> None:
    """Read a shard's items into its folder, unless that was done before. Picklable, for a pool of processes."""
    if shard.folder.exists():
        return
    recorded = shard.source.kind in TRAJECTORY_KINDS
    read = read_trajectories if recorded else read_items
    found = (each for item in shard.items for each in read(shard.source, [item]))  # one item in memory at a time
    write_shard(shard.folder, found, shard.source if recorded else None)


def write_shard(folder: Path, found: Iterable[Document | Trajectory | Reject], source: SourceConfig | None = None) -> None:
    """Write documents or trajectories, and rejects, into a folder that appears complete or not at all.

    A trajectory whose text exceeds the source's bounds is set aside like a document.
    """
    documents: list[Document] = []
    trajectories: list[Trajectory] = []
    rejects: list[Reject] = []
    with whole_folder(folder) as staging:
        with pq.ParquetWriter(staging / DOCUMENTS, SCHEMA, compression="zstd") as writer:
            for item in found:
                document = item.to_document() if isinstance(item, Trajectory) else item
                if source and not isinstance(document, Reject):
                    document = bounded(source, document)
                if isinstance(document, Reject):
                    rejects.append(document)
                    continue
                documents.append(document)
                if isinstance(item, Trajectory):
                    trajectories.append(item)
                if len(documents) == DOCUMENTS_AT_ONCE:
                    writer.write_batch(document_batch(documents))
                    documents = []
            if documents:
                writer.write_batch(document_batch(documents))
        write_trajectories(staging / TRAJECTORIES, trajectories)
        write_rejects(staging / REJECTS, rejects)


def shard_rejects(shards: Sequence[Path]) -> Iterator[Reject]:
    """Yield what the shards set aside."""
    for shard in shards:
        yield from (Reject(**row) for row in pq.read_table(shard / REJECTS).to_pylist())
