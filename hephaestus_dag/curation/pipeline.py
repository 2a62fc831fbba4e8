"""Curation from end to end: copies, licences, lengths and benchmark text are taken out, and every removal is kept."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from hephaestus_dag.curation.config import CurationConfig
from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.exact import ExactDeduplicator
from hephaestus_dag.curation.removed import Step, write_removed
from hephaestus_dag.curation.rules import LengthRule, LicenseRule
from hephaestus_dag.documents import DocumentWriter


@dataclass(slots=True)
class StepCount:
    """What one step did."""

    step: str
    removed: int = 0
    kept: int = 0
    """Documents that went on to the next step."""
    removed_by_source: dict[str, int] = field(default_factory=dict)


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

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-able values."""
        return {**asdict(self), "removed_share": self.removed_share}


def curation_steps(config: CurationConfig, index: BenchmarkIndex, known: Iterable[str] = ()) -> list[Step]:
    """Return the steps in the order in which they run: the cheap ones first. Copies of the ids in `known` are removed."""
    return [
        ExactDeduplicator(known),
        LicenseRule(config.licenses),
        LengthRule(config.min_characters, config.max_characters),
        index,
    ]


def curate(
    batches: Iterable[pa.RecordBatch],
    folder: Path,
    steps: Sequence[Step],
    progress: Callable[[int, int], None] | None = None,
    total: int = 0,
) -> CurationCounts:
    """Write the documents that pass all steps into ``folder``, and the others' rows into its ``removed.parquet``.

    ``batches`` are record batches of the document schema, in an order that decides which copy is kept. ``progress`` gets
    (documents read, ``total``). Raises ValueError when nothing was read: an empty corpus must not pass for a clean one.
    """
    counts = [StepCount(step.name) for step in steps]
    removed: list[pa.RecordBatch] = []
    read = 0
    with DocumentWriter(folder) as writer:
        for batch in batches:
            read += batch.num_rows
            for step, count in zip(steps, counts, strict=True):
                before, (batch, gone) = batch, step.filter(batch)
                count.kept += batch.num_rows
                if gone.num_rows:
                    count.removed += gone.num_rows
                    stayed = Counter(batch.column("source").to_pylist())
                    for source, number in (Counter(before.column("source").to_pylist()) - stayed).items():
                        count.removed_by_source[source] = count.removed_by_source.get(source, 0) + number
                    removed.append(gone)
            writer.write_batch(batch)
            if progress:
                progress(read, total)
        if not read:
            raise ValueError("no documents to curate; check the sources of the recipe")
    write_removed(folder / "removed.parquet", removed)
    return CurationCounts(read, writer.num_documents, writer.num_characters, counts)
