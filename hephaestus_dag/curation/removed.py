"""The record of what curation took out: one row per removed document, with the step, the reason and the evidence."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

REMOVED_SCHEMA = pa.schema([(name, pa.string()) for name in ("document_id", "step", "reason", "evidence")])


class Verdict(NamedTuple):
    """Why a document is removed."""

    reason: str
    """In words that many documents share, for counting; only a benchmark item is named."""
    evidence: str
    """What is particular to this document."""


class Step(Protocol):
    """One step of curation: a function from record batch to record batch."""

    @property
    def name(self) -> str:
        """Name of the step, as it stands in the table of what was removed."""
        ...

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, in its order, and a batch of ``REMOVED_SCHEMA`` for what does not."""
        ...


def removed_batch(step: str, document_ids: Sequence[str], reasons: Sequence[str], evidence: Sequence[str]) -> pa.RecordBatch:
    """Return rows of ``REMOVED_SCHEMA``, one per document."""
    columns = [list(document_ids), [step] * len(document_ids), list(reasons), list(evidence)]
    return pa.record_batch([pa.array(column, pa.string()) for column in columns], schema=REMOVED_SCHEMA)


def part(batch: pa.RecordBatch, step: str, verdicts: Sequence[Verdict | None]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Part a batch of documents by verdicts, one per row: None stays, the rest become rows of ``REMOVED_SCHEMA``."""
    given = [verdict for verdict in verdicts if verdict]
    if not given:
        return batch, removed_batch(step, [], [], [])
    stays = pa.array([verdict is None for verdict in verdicts])
    gone = pa.array([verdict is not None for verdict in verdicts])
    ids: list[str] = batch.column("id").filter(gone).to_pylist()
    return batch.filter(stays), removed_batch(step, ids, [v.reason for v in given], [v.evidence for v in given])


def write_removed(path: Path, rows: Iterable[pa.RecordBatch]) -> int:
    """Write the table of what was removed, and return how many rows it has."""
    table = pa.Table.from_batches(list(rows), REMOVED_SCHEMA)
    pq.write_table(table, path, compression="zstd")
    return table.num_rows
