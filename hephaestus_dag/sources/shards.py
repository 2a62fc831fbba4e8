"""Units of work of a source, read into small folders of their own, so that nothing that was read is read again.

A shard is a folder whose name says what it holds: source, and a hash of what decides the content (`shard_keys`)::

    documents.parquet       document schema
    trajectories.parquet    trajectory schema, for kinds that read trajectories
    rejects.parquet         what was set aside
    SHA256SUMS              the seal: a digest of each of these

It appears under its name only when it is complete, and counts only while its files agree with the seal. Beside an
artifact it lets a stopped build go on; in a folder that outlives builds, the next build reads only what is new.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from hephaestus_dag.code_version import function_version
from hephaestus_dag.documents import SCHEMA, Document, Reject, document_batch, write_rejects
from hephaestus_dag.sources import KINDS, TRAJECTORY_KINDS, bounded, list_items, read_items, read_trajectories
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.shard_keys import item_versions, shard_key
from hephaestus_dag.trajectories import Trajectory, write_trajectories
from hephaestus_dag.whole_folder import whole_folder

SHARDS_PER_SOURCE = 64
MOST_ITEMS = 512
LARGE_ITEMS = frozenset({"records", "warc"})
"""Kinds of which an item holds many documents: each is a shard of its own."""
DOCUMENTS_AT_ONCE = 2_000
UNUSED_DAYS = 30

DOCUMENTS, TRAJECTORIES, REJECTS, SEAL = "documents.parquet", "trajectories.parquet", "rejects.parquet", "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Shard:
    """Some units of work of one source, and the folder that holds what they give."""

    source: SourceConfig
    items: tuple[str, ...]
    folder: Path


def plan_shards(source: SourceConfig, folder: Path) -> list[Shard]:
    """Return the shards of a source: at least about 64 where there are that many items, of about 512 items each at most.

    A shard begins at items whose names say so, so an item that is added, removed or changed concerns the one shard that it
    lies in. Raises ValueError when the source holds nothing.
    """
    items = list_items(source)
    versions = item_versions(source, items)
    size = _size(source, len(items))
    shards = []
    for start, end in pairwise([0, *(n for n in range(1, len(items)) if _begins(items[n], size)), len(items)]):
        key = shard_key(source, _reader(source.kind), items[start:end], versions[start:end])
        shards.append(Shard(source, tuple(items[start:end]), folder / f"{source.name}-{key[:32]}"))
    return shards


def _size(source: SourceConfig, num_items: int) -> int:
    """Return how many items a shard holds on average: a power of two, which stays while a source does not double."""
    if source.kind in LARGE_ITEMS:
        return 1
    return min(1 << (max(1, num_items // SHARDS_PER_SOURCE).bit_length() - 1), MOST_ITEMS)


def _begins(item: str, size: int) -> bool:
    return int.from_bytes(hashlib.blake2b(item.encode(), digest_size=4).digest()) % size == 0


@cache
def _reader(kind: str) -> str:
    return function_version(read_shard, (KINDS[kind],))


def read_shard(shard: Shard) -> None:
    """Read a shard's items into its folder, unless that was done before. Picklable, for a pool of processes."""
    if is_whole(shard.folder):
        return
    shutil.rmtree(shard.folder, ignore_errors=True)
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
        (staging / SEAL).write_text(_sums(staging))


def is_whole(folder: Path) -> bool:
    """Return whether a shard is there and its files agree with its seal; notes that it was used."""
    try:
        whole = (folder / SEAL).read_bytes() == _sums(folder).encode()
        os.utime(folder / SEAL)
    except OSError:
        return False
    return whole


def _sums(folder: Path) -> str:
    """Return the digests of a shard's files as the program sha256sum writes them."""
    lines = []
    for path in sorted(set(folder.iterdir()) - {folder / SEAL}):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


def prune_shards(shards: Path, used: Iterable[Path]) -> None:
    """Remove the shards that nobody used for 30 days, except those in ``used``, and what stopped builds left unfinished.

    Recipes may share the folder: what another one uses has been used lately, or is read again.
    """
    oldest = time.time() - UNUSED_DAYS * 86_400
    for folder in set(shards.iterdir()) - set(used):
        try:
            stamp = (folder / SEAL if (folder / SEAL).exists() else folder).stat().st_mtime
        except FileNotFoundError:  # another build prunes too
            continue
        if stamp < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def shard_rejects(shards: Sequence[Path]) -> Iterator[Reject]:
    """Yield what the shards set aside."""
    for shard in shards:
        yield from (Reject(**row) for row in pq.read_table(shard / REJECTS).to_pylist())
