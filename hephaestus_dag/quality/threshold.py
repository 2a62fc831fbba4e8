"""Decide by the quality score which documents stay. Scores are read, never recomputed: a threshold can move cheaply."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.curation.removed import REMOVED_SCHEMA, removed_batch
from hephaestus_dag.documents import SCHEMA, DocumentWriter, read_documents
from hephaestus_dag.quality.bootstrap import (
    precision_recall_intervals,
    precision_threshold_interval,
    share_threshold_interval,
)
from hephaestus_dag.quality.config import FilterConfig
from hephaestus_dag.quality.examples import in_part, most_honest_part
from hephaestus_dag.quality.measures import confusion, measure, threshold_for_precision, threshold_for_share
from hephaestus_dag.quality.scoring import SCORE_SCHEMA

STEP = "quality"
REASON = "score below threshold"


class Threshold(TypedDict):
    """A threshold, and what held-out examples say about it. Intervals hold 95% of resamples."""

    rule: str
    """What it is set for, in words."""
    threshold: float
    threshold_low: float
    threshold_high: float
    measured_on: str
    """Which held-out examples the following comes from: "annotated pages", "web pages", or "examples", which hold seed
    documents and flatter."""
    held_out: int
    """How many they are."""
    precision: float
    precision_low: float
    precision_high: float
    recall: float
    recall_low: float
    recall_high: float
    f1: float
    confusion: list[dict[str, Any]]


def choose_threshold(scores: Path, classifier: Path, config: FilterConfig) -> Threshold:
    """Return the threshold for a precision on held-out examples, or for a share of the scored web pages to keep.

    ``scores`` and ``classifier`` are the folders of ``score_documents`` and ``train_classifier``. Precision is that of the
    held-out annotated pages, where there are enough of both classes to decide by; failing that, of the web pages, which
    counts random ones as bad; failing that, of all examples. Where the same pages also set the threshold, its precision is
    the target or a little more, and the interval is what to read.
    Raises ValueError when no threshold reaches the precision.
    """
    held_out = pq.read_table(classifier / "held_out.parquet", columns=["origin", "positive", "quality_score"])
    labels = held_out["positive"].to_numpy(zero_copy_only=False)
    origins = held_out["origin"].to_numpy(zero_copy_only=False)
    part = most_honest_part(origins, labels)
    mask = in_part(origins, part)
    values, labels = held_out["quality_score"].to_numpy()[mask], labels[mask]
    if config.target_precision is not None:
        threshold = threshold_for_precision(values, labels, config.target_precision, of=part)
        low, high = precision_threshold_interval(values, labels, config.target_precision, threshold)
        rule = f"precision {config.target_precision:.0%} on held-out {part}"
    else:
        share = config.keep_share or 0.0
        scored = pq.read_table(scores / "scores.parquet", columns=["quality_score"])["quality_score"].to_numpy()
        if not len(scored):
            raise ValueError("there are no scored documents to keep a share of")
        threshold = threshold_for_share(scored, share)
        low, high = share_threshold_interval(scored, share, threshold)
        rule = f"best {share:.0%} of the scored web pages"
    measures = measure(values, labels, threshold)
    precision, recall = precision_recall_intervals(values, labels, threshold)
    return Threshold(
        rule=rule,
        threshold=threshold,
        threshold_low=low,
        threshold_high=high,
        measured_on=part,
        held_out=len(values),
        precision=measures["precision"],
        precision_low=precision[0],
        precision_high=precision[1],
        recall=measures["recall"],
        recall_low=recall[0],
        recall_high=recall[1],
        f1=measures["f1"],
        confusion=confusion(values, labels, threshold),
    )


def apply_threshold(documents: Path, scores: Path, classifier: Path, config: FilterConfig, folder: Path) -> dict[str, Any]:
    """Keep the documents that score at least the threshold, and write into ``folder``, batch by batch.

    ``scores`` and ``classifier`` are the folders of ``score_documents`` and ``train_classifier``. Written are
    ``documents/part-*.parquet`` and ``removed.parquet`` (document_id, step, reason, evidence).
    Returns what ``choose_threshold`` returns, and the counts. Raises ValueError when scores and documents do not match.
    """
    chosen = choose_threshold(scores, classifier, config)
    threshold = np.float32(chosen["threshold"])
    scored = num_removed = 0
    with (
        DocumentWriter(folder) as writer,
        pq.ParquetWriter(folder / "removed.parquet", REMOVED_SCHEMA, compression="zstd") as removed,
    ):
        for batch, values in with_scores(documents, scores / "scores.parquet"):
            keep = values >= threshold
            writer.write_batch(batch.filter(pa.array(keep)))
            ids = batch.column("id").filter(pa.array(~keep)).to_pylist()
            evidence = [f"{value:.6f} < {threshold:.6f}" for value in values[~keep].tolist()]
            removed.write_batch(removed_batch(STEP, ids, [REASON] * len(ids), evidence))
            scored, num_removed = scored + batch.num_rows, num_removed + len(ids)
    return {
        **chosen,
        "scored": scored,
        "kept": writer.num_documents,
        "removed": num_removed,
        "kept_share": writer.num_documents / scored if scored else 0.0,
        "characters": writer.num_characters,
        "by_source": dict(sorted(writer.by_source.items())),
    }


def with_scores(documents: Path, scores: Path) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Yield the documents batch by batch, each with the scores of its rows (float32).

    Raises ValueError as soon as a score belongs to another document, or a document has none.
    """
    mismatch = ValueError("scores.parquet is not of these documents: score them again")
    source = pq.ParquetFile(scores).iter_batches(use_threads=False)
    waiting = SCORE_SCHEMA.empty_table()
    for batch in read_documents(documents, SCHEMA.names):
        while waiting.num_rows < batch.num_rows and (more := next(source, None)):
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([more])])
        rows, waiting = waiting.slice(0, batch.num_rows), waiting.slice(batch.num_rows)
        if not rows["document_id"].equals(pa.chunked_array([batch.column("id")])):
            raise mismatch
        yield batch, rows["quality_score"].to_numpy()
    if waiting.num_rows or next(source, None):
        raise mismatch
