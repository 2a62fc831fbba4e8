"""Curation from end to end: what may stay in the corpus is written, and everything else is kept with its reason.

First every document is judged alone (`filters`), shard by shard. Then come the steps that look across the whole corpus, in
the order of the sources: exact copies, near-duplicates, and the cap of each provider. What they hold in memory does not
depend on the length of the documents: per document 100 bytes of ids, 210 of signatures, and 8 for the cap. Above 50 million
documents ids and bands are shuffled instead (`find_copies`, `find_in_bundles`), with the same result, and only what is
removed is held: 8 bytes of a copy, 24 of a near-duplicate, several times that while they are sorted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.curation.bundles import find_in_bundles
from hephaestus_dag.curation.config import CurationConfig, NearDuplicateConfig
from hephaestus_dag.curation.exact import CopiesAt, ExactDeduplicator, find_copies
from hephaestus_dag.curation.filters import DOCUMENTS, REMOVED, SIGNATURES, FilterTask, StepCount, filter_file, read_counts
from hephaestus_dag.curation.near_duplicates import CLUSTER_SCHEMA, NearDuplicates, find_near_duplicates
from hephaestus_dag.curation.providers import ProviderCap
from hephaestus_dag.curation.removed import REMOVED_SCHEMA, Step
from hephaestus_dag.documents import DocumentWriter, document_files
from hephaestus_dag.shuffle import in_memory

MapOver = Callable[..., Iterator[Any]]
Progress = Callable[[int, int], None] | None


@dataclass(slots=True)
class CurationCounts:
    """The waterfall of one curation."""

    read: int
    kept: int
    kept_characters: int
    steps: list[StepCount]

    @property
    def removed_share(self) -> float:
        """Share of the documents that was removed, 0 to 1."""
        return 1 - self.kept / self.read if self.read else 0.0

    def by_source(self) -> list[dict[str, Any]]:
        """Return what each step removed of each source, as rows."""
        sources = sorted({source for step in self.steps for source in step.removed_by_source})
        return [
            {"source": source, **{step.step: step.removed_by_source.get(source, 0) for step in self.steps}}
            for source in sources
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-able values."""
        return {**asdict(self), "removed_share": self.removed_share}


def curate(
    inputs: Sequence[Path],
    folder: Path,
    work: Path,
    config: CurationConfig,
    index: Path,
    map_over: MapOver,
    known: Path | None = None,
    progress: Progress = None,
) -> CurationCounts:
    """Write the documents that pass all steps into ``folder``, and into the same folder what was removed::

        removed.parquet       document_id, step, reason, evidence
        clusters.parquet      near-duplicates: cluster, document_id, jaccard
        signatures.parquet    of what is kept, for those who compare more documents with it

    ``inputs`` are folders of documents, in an order that decides which copy is kept; ``known`` is what an earlier call wrote:
    copies and near-duplicates of its documents go. ``index`` is the folder of the benchmarks' index. Files
    filtered so far lie in ``work``, where a second call after an interrupted one finds them. ``progress`` gets (files
    filtered, of how many). Raises ValueError when nothing was read: an empty corpus must not pass for a clean one.
    """
    files = [file for each in inputs for file in document_files(each)]
    filtered = _filter_all(files, work / "filtered", config, index, map_over, progress)
    read, counts = read_counts(filtered)
    if not read:
        raise ValueError("no documents to curate; check the sources of the recipe")
    across = _steps_across(filtered, work, config, known, map_over)
    found = [StepCount(step.name) for step in across]
    with (
        DocumentWriter(folder) as writer,
        pq.ParquetWriter(folder / "removed.parquet", REMOVED_SCHEMA, compression="zstd") as removed,
        pq.ParquetWriter(folder / SIGNATURES, pq.read_schema(filtered[0] / SIGNATURES), compression="zstd") as signed,
    ):
        for path in filtered:
            removed.write_table(pq.read_table(path / REMOVED))
            signatures, kept = pq.read_table(path / SIGNATURES), []
            for batch in pq.ParquetFile(path / DOCUMENTS).iter_batches(batch_size=2_048, use_threads=False):
                for step, count in zip(across, found, strict=True):
                    batch, gone = count.apply(step, batch)
                    if gone.num_rows:
                        removed.write_batch(gone)
                writer.write_batch(batch)
                kept += batch.column("id").to_pylist()
            signed.write_table(_of_documents(signatures, kept))
    near = next((step for step in across if isinstance(step, NearDuplicates)), None)
    clusters = near.clusters if near else CLUSTER_SCHEMA.empty_table()
    pq.write_table(clusters, folder / "clusters.parquet", compression="zstd")
    return CurationCounts(read, writer.num_documents, writer.num_characters, [*counts, *found])


def _filter_all(
    files: Sequence[str], work: Path, config: CurationConfig, index: Path, map_over: MapOver, progress: Progress
) -> list[Path]:
    """Judge every document alone; return the folders of what stays, one per file, in the order of the files."""
    tasks = [FilterTask(file, config, index, work / f"{number:05d}") for number, file in enumerate(files)]
    for _ in map_over(filter_file, [task for task in tasks if not task.folder.exists()], progress):
        pass
    return [task.folder for task in tasks]


def _steps_across(
    filtered: Sequence[Path], work: Path, config: CurationConfig, known: Path | None, map_over: MapOver
) -> list[Step]:
    """Return the steps that look across the corpus, ready to be applied to its batches once more, in order."""
    known_files = list(map(Path, document_files(known))) if known else []
    documents = [path / DOCUMENTS for path in filtered]
    if in_memory(sum(pq.read_metadata(file).num_rows for file in [*known_files, *documents])):
        signatures = [*([known / SIGNATURES] if known else []), *(path / SIGNATURES for path in filtered)]
        exact, near = (lambda: ExactDeduplicator(_ids(known_files))), partial(_near_duplicates, signatures)
    else:
        copies = find_copies(documents, known_files, work / "copies", map_over)
        exact, near = (lambda: CopiesAt(copies)), partial(find_in_bundles, map_over=map_over)
    steps: list[Step] = [exact()]
    if config.near_duplicates:
        steps.append(near(documents, known_files, work / "near-duplicates", config.near_duplicates))
    if config.max_documents_per_provider or config.max_provider_share:
        columns = ["id", "kind", "provider", "source", "origin"]
        left = _survivors(_batches(documents, columns), [exact(), *steps[1:]])
        steps.append(ProviderCap.plan(left, config.max_documents_per_provider, config.max_provider_share, config.seed))
    return steps


def _near_duplicates(
    signature_files: Sequence[Path], documents: Sequence[Path], known: Sequence[Path], work: Path, config: NearDuplicateConfig
) -> NearDuplicates:
    """Do in memory what `find_in_bundles` does."""
    work.mkdir(exist_ok=True)
    read = partial(_batches, [*known, *documents], ["id", "text"])
    return find_near_duplicates(_batches(signature_files), read, config, work, _ids(known))


def _ids(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        yield from pq.read_table(file, columns=["id"])["id"].to_pylist()


def _survivors(batches: Iterable[pa.RecordBatch], steps: Sequence[Step]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for step in steps:
            batch, _ = step.filter(batch)
        yield batch


def _of_documents(signatures: pa.Table, ids: Sequence[str]) -> pa.Table:
    if not signatures.num_columns:
        return signatures
    return signatures.filter(pc.field("document_id").isin([bytes.fromhex(document_id) for document_id in ids]))


def _batches(files: Sequence[str | Path], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    for file in files:
        yield from pq.ParquetFile(file).iter_batches(
            batch_size=4_096, columns=list(columns) if columns else None, use_threads=False
        )
