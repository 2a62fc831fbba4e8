"""Decide by the quality score which documents stay. Scores are read, never recomputed: a threshold can move cheaply."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.curation.removed import removed_batch, write_removed
from hephaestus_dag.documents import SCHEMA, DocumentWriter, read_documents
from hephaestus_dag.quality.config import FilterConfig
from hephaestus_dag.quality.measures import threshold_for_precision, threshold_for_share

STEP = "quality"
REASON = "score below threshold"


def choose_threshold(scores: Path, classifier: Path, config: FilterConfig) -> float:
    """Return the threshold: on held-out examples for a target precision, on the scores themselves for a share to keep."""
    if config.target_precision is not None:
        held_out = pq.read_table(classifier / "held_out.parquet")
        labels = held_out["positive"].to_numpy(zero_copy_only=False)
        return threshold_for_precision(held_out["quality_score"].to_numpy(), labels, config.target_precision)
    values = pq.read_table(scores / "scores.parquet")["quality_score"].to_numpy()
    if not len(values) or config.keep_share is None:
        raise ValueError("there are no scored documents to keep a share of")
    return threshold_for_share(values, config.keep_share)


def apply_threshold(documents: Path, scores: Path, classifier: Path, config: FilterConfig, folder: Path) -> dict[str, Any]:
    """Keep the documents that score at least the threshold, and write into ``folder``.

    ``scores`` and ``classifier`` are the folders of ``score_documents`` and ``train_classifier``. Written are
    ``documents/part-*.parquet`` and ``removed.parquet`` (document_id, step, reason, evidence).
    Returns the counts, the threshold and the kept share. Raises ValueError when scores and documents do not match.
    """
    threshold = choose_threshold(scores, classifier, config)
    table = pq.read_table(scores / "scores.parquet")
    offset = 0
    removed: list[pa.RecordBatch] = []
    with DocumentWriter(folder) as writer:
        for batch in read_documents(documents, SCHEMA.names):
            part = table.slice(offset, batch.num_rows)
            offset += batch.num_rows
            if part["document_id"].to_pylist() != batch.column("id").to_pylist():
                raise ValueError("scores.parquet is not of these documents: score them again")
            keep = part["quality_score"].to_numpy() >= np.float32(threshold)
            writer.write_batch(batch.filter(pa.array(keep)))
            out = part.filter(pa.array(~keep)).to_pydict()
            evidence = [f"{value:.6f} < {threshold:.6f}" for value in out["quality_score"]]
            removed.append(removed_batch(STEP, out["document_id"], [REASON] * len(evidence), evidence))
    if offset != table.num_rows:
        raise ValueError("scores.parquet is not of these documents: score them again")
    num_removed = write_removed(folder / "removed.parquet", removed)
    return {
        "scored": offset,
        "kept": writer.num_documents,
        "removed": num_removed,
        "kept_share": writer.num_documents / offset if offset else 0.0,
        "threshold": threshold,
        "characters": writer.num_characters,
        "by_source": dict(sorted(writer.by_source.items())),
    }
