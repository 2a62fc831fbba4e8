"""The steps of curation that look at one document alone, run over the shards of a corpus in any number of processes."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.curation.config import CurationConfig
from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.heuristics import HeuristicFilter
from hephaestus_dag.curation.language import LanguageRule
from hephaestus_dag.curation.near_duplicates import signature_schema, signatures
from hephaestus_dag.curation.removed import REMOVED_SCHEMA, Step
from hephaestus_dag.curation.rules import ExclusionRule, LengthRule, LicenseRule
from hephaestus_dag.documents import SCHEMA
from hephaestus_dag.whole_folder import whole_folder

DOCUMENTS, REMOVED, SIGNATURES, COUNTS = "documents.parquet", "removed.parquet", "signatures.parquet", "counts.json"


@dataclass(slots=True)
class StepCount:
    """What one step did."""

    step: str
    removed: int = 0
    kept: int = 0
    """Documents that went on to the next step."""
    removed_by_source: dict[str, int] = field(default_factory=dict)

    def apply(self, step: Step, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Run the step on a batch, count what it does, and return what stays and the rows of what does not."""
        stays, gone = step.filter(batch)
        self.kept += stays.num_rows
        if gone.num_rows:
            self.removed += gone.num_rows
            lost = Counter(batch.column("source").to_pylist()) - Counter(stays.column("source").to_pylist())
            self._add_by_source(lost)
        return stays, gone

    def add(self, other: Self) -> None:
        """Add what the same step did to other documents."""
        self.removed += other.removed
        self.kept += other.kept
        self._add_by_source(other.removed_by_source)

    def _add_by_source(self, lost: dict[str, int]) -> None:
        for source, number in lost.items():
            self.removed_by_source[source] = self.removed_by_source.get(source, 0) + number


@dataclass(frozen=True, slots=True)
class FilterTask:
    """One file of documents to filter, and the folder that takes the outcome."""

    documents: str
    config: CurationConfig
    index: Path
    """Folder of the `BenchmarkIndex`."""
    folder: Path


def document_steps(config: CurationConfig, index: BenchmarkIndex) -> list[Step]:
    """Return the steps that look at one document alone, the cheap ones first."""
    return [
        *([ExclusionRule(config.exclude)] if config.exclude else []),
        LicenseRule(config.licenses),
        LengthRule(config.min_characters, config.max_characters),
        LanguageRule(config.languages, config.language_confidence),
        HeuristicFilter(config.heuristics),
        index,
    ]


def filter_file(task: FilterTask) -> None:
    """Filter one file into a folder, unless that was done before: what stays, what does not, signatures and counts.

    The folder appears complete or not at all. Picklable, for a pool of processes; the index is loaded once in each.
    """
    if task.folder.exists():
        return
    steps = document_steps(task.config, _index(task.index))
    counts = [StepCount(step.name) for step in steps]
    near = task.config.near_duplicates
    read = 0
    with whole_folder(task.folder) as staging:
        with (
            pq.ParquetWriter(staging / DOCUMENTS, SCHEMA, compression="zstd") as kept,
            pq.ParquetWriter(staging / REMOVED, REMOVED_SCHEMA, compression="zstd") as removed,
            pq.ParquetWriter(
                staging / SIGNATURES, signature_schema(near) if near else pa.schema([]), compression="zstd"
            ) as signed,
        ):
            for batch in pq.ParquetFile(task.documents).iter_batches(batch_size=2_048, use_threads=False):
                read += batch.num_rows
                for step, count in zip(steps, counts, strict=True):
                    batch, gone = count.apply(step, batch)
                    if gone.num_rows:
                        removed.write_batch(gone)
                kept.write_batch(batch)
                if near and batch.num_rows:
                    signed.write_batch(signatures(batch, near))
        (staging / COUNTS).write_text(json.dumps({"read": read, "steps": [asdict(count) for count in counts]}))


def read_counts(folders: Sequence[Path]) -> tuple[int, list[StepCount]]:
    """Return the documents that were read into some folders, and what each step did to them."""
    found: list[dict[str, Any]] = [json.loads((folder / COUNTS).read_text()) for folder in folders]
    totals = [StepCount(step["step"]) for step in found[0]["steps"]] if found else []
    for counts in found:
        for total, step in zip(totals, counts["steps"], strict=True):
            total.add(StepCount(**step))
    return sum(counts["read"] for counts in found), totals


@cache
def _index(folder: Path) -> BenchmarkIndex:
    return BenchmarkIndex.load(folder)
