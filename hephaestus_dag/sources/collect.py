"""Read all sources of one kind of document into one folder, in parallel and resumably, and count what was found."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.documents import DocumentWriter
from hephaestus_dag.sources import sample_ids
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.shards import (
    DOCUMENTS,
    TRAJECTORIES,
    Shard,
    is_whole,
    plan_shards,
    prune_shards,
    read_shard,
    shard_rejects,
    write_shard,
)
from hephaestus_dag.trajectories import TRAJECTORY_SCHEMA, Trajectory

Progress = Callable[[int, int], None] | None


class MapOver(Protocol):
    """Runs a picklable function over items, on one machine or many, and gives the results in order."""

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any], progress: Progress = None) -> Iterator[Any]:
        """Yield ``function(item)`` for every item."""
        ...


@dataclass(kw_only=True)
class Collected:
    """What reading the sources found and what was kept of it."""

    num_parsed: int = 0
    """Documents read, before sampling."""
    num_documents: int = 0
    """Documents kept."""
    num_characters: int = 0
    num_rejects: int = 0
    shards_read: int = 0
    shards_taken_over: int = 0
    """Shards that an earlier or interrupted build had read."""
    by_kind: Counter[str] = field(default_factory=Counter)
    sources: list[dict[str, Any]] = field(default_factory=list)
    """Per source: items, documents parsed and kept, rejects."""
    reject_reasons: Counter[str] = field(default_factory=Counter)
    sample: list[dict[str, str]] = field(default_factory=list)
    """The beginning of the first documents of each source."""


def collect_documents(
    sources: Sequence[SourceConfig],
    folder: Path,
    work: Path,
    map_over: MapOver,
    progress: Progress = None,
    shards: Path | None = None,
) -> Collected:
    """Write the documents of all sources into ``folder``; a source's sample is drawn from all that it holds.

    What is read lies in shards first: a second call, after the first was stopped, reads only what is missing. They lie in
    ``work``, or in ``shards``, a folder that outlives builds; then the next build reads only what is new or has changed,
    and what no build has used for 30 days is removed.

    Raises ValueError when an input changes while it is read.
    """
    collected = Collected()
    with DocumentWriter(folder) as writer:
        found = list(_read(collected, sources, shards or work / "shards", map_over, progress))
        for source, items, folders in found:
            _add(collected, writer, source.name, source.kind, items, folders, source)
    if shards:
        prune_shards(shards, (used for _, _, folders in found for used in folders))
    return _finish(collected, writer)


def collect_trajectories(
    sources: Sequence[SourceConfig],
    synthetic: Iterable[Trajectory],
    folder: Path,
    work: Path,
    map_over: MapOver,
    progress: Progress = None,
) -> Collected:
    """Write recorded and synthetic trajectories as documents, and in structured form beside them."""
    collected = Collected()
    with (
        DocumentWriter(folder) as writer,
        pq.ParquetWriter(folder / "trajectories.parquet", TRAJECTORY_SCHEMA, compression="zstd") as structured,
    ):
        for source, items, shards in _read(collected, sources, work / "shards", map_over, progress):
            _add(collected, writer, source.name, source.kind, items, shards, source, structured)
        made = work / "synthetic"
        if not made.exists():
            write_shard(made, synthetic)
        if pq.read_metadata(made / DOCUMENTS).num_rows:
            _add(collected, writer, "synthetic", "synthetic_calls", 1, [made], None, structured)
    return _finish(collected, writer)


def _read(
    collected: Collected, sources: Sequence[SourceConfig], folder: Path, map_over: MapOver, progress: Progress
) -> Iterator[tuple[SourceConfig, int, list[Path]]]:
    """Read what is not there yet, all sources at once, and yield each source with its shards."""
    planned = [plan_shards(source, folder) for source in sources]
    every = [shard for shards in planned for shard in shards]
    with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter's lock
        whole = list(pool.map(is_whole, [shard.folder for shard in every]))
    missing = [shard for shard, there in zip(every, whole, strict=True) if not there]
    for _ in map_over(read_shard, missing, progress):
        pass
    _check_unchanged(missing, folder)
    collected.shards_read += len(missing)
    collected.shards_taken_over += len(every) - len(missing)
    for source, shards in zip(sources, planned, strict=True):
        yield source, sum(len(shard.items) for shard in shards), [shard.folder for shard in shards]


def _check_unchanged(read: Sequence[Shard], folder: Path) -> None:
    """Remove shards whose input changed while they were read: they hold something else than their names say."""
    for source in {shard.source.name: shard.source for shard in read}.values():
        now = {shard.folder for shard in plan_shards(source, folder)}
        if changed := [shard for shard in read if shard.source.name == source.name and shard.folder not in now]:
            for shard in changed:
                shutil.rmtree(shard.folder, ignore_errors=True)
            raise ValueError(
                f"source {source.name!r}: {changed[0].items[0]} or a file near it changed while it was read; move files into "
                f"{source.where} only when they are complete, and start again"
            )


def _add(
    collected: Collected,
    writer: DocumentWriter,
    name: str,
    kind: str,
    num_items: int,
    shards: Sequence[Path],
    source: SourceConfig | None,
    structured: pq.ParquetWriter | None = None,
) -> None:
    """Write what a source's shards hold, or the sample of it that the source asks for."""
    ids = pa.concat_tables([pq.read_table(shard / DOCUMENTS, columns=["id"]) for shard in shards])["id"]
    chosen = sample_ids(ids.to_pylist(), source.max_documents, source.seed) if source else None
    written = writer.num_documents
    left = set(chosen) if chosen is not None else None
    for shard in shards:
        for batch in pq.ParquetFile(shard / DOCUMENTS).iter_batches(batch_size=4_096, use_threads=False):
            kept = batch if left is None else _take(batch, left)
            if len(collected.sample) < 9 and writer.num_documents - written < 3:
                collected.sample += _sample(kept, 3 - (writer.num_documents - written))
            writer.write_batch(kept)
        if structured:
            table = pq.read_table(shard / TRAJECTORIES)
            structured.write_table(table if chosen is None else table.filter(pc.field("id").isin(chosen)))
    rejects = list(shard_rejects(shards))
    writer.write(rejects)
    collected.num_parsed += len(ids)
    collected.sources.append(
        {
            "source": name,
            "kind": kind,
            "items": num_items,
            "parsed": len(ids),
            "kept": writer.num_documents - written,
            "set aside": len(rejects),
        }
    )


def _take(batch: pa.RecordBatch, left: set[str]) -> pa.RecordBatch:
    """Return the rows whose ids are still wanted, each once."""
    wanted = []
    for document_id in batch.column("id").to_pylist():
        wanted.append(document_id in left)
        left.discard(document_id)
    return batch.filter(pa.array(wanted, pa.bool_()))


def _sample(batch: pa.RecordBatch, count: int) -> list[dict[str, str]]:
    rows = batch.slice(0, count).select(["origin", "license", "text"]).to_pylist()
    return [{**row, "text": row["text"][:200]} for row in rows]


def _finish(collected: Collected, writer: DocumentWriter) -> Collected:
    collected.num_documents = writer.num_documents
    collected.num_characters = writer.num_characters
    collected.num_rejects = len(writer.rejects)
    collected.by_kind = writer.by_kind
    collected.reject_reasons = Counter(reject.reason.split(":")[0] for reject in writer.rejects)
    return collected
