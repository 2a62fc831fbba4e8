"""What the classifier adds: the same held-out web pages ranked by retrieval alone, by a heuristic, and not at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.quality.bootstrap import average_precision_difference
from hephaestus_dag.quality.measures import best_f1_threshold, measure, precision_of_best

CLASSIFIER, SIMILARITY, HEURISTIC, CONSTANT = (
    "fastText classifier",
    "embedding similarity",
    "heuristic filter",
    "keep everything",
)
BLOCK = 1_024


def query_similarity(document_ids: Sequence[str], web_index: Path, queries: Path) -> np.ndarray:
    """Return the best score of each page against the seed queries: float32 (pages,).

    ``web_index`` holds the vectors of the web, ``queries`` is the folder of ``write_queries``. A page without a vector, which
    the first pass has left out, gets minus infinity: retrieval would never find it.
    Raises ValueError when the two were encoded differently.
    """
    from hephaestus_dag.retrieval.queries import open_queries
    from hephaestus_dag.retrieval.vectors import check_same_encoder, open_vectors

    web, seed = open_vectors(web_index), open_queries(queries)
    check_same_encoder(seed.candidates, web, "comparing the classifier with embedding similarity")
    place_of = {identity: place for place, identity in enumerate(document_ids)}
    found = [(place_of[i], row) for first, ids in web.id_blocks() for row, i in enumerate(ids, first) if i in place_of]
    places, rows = np.array(found, dtype=np.int64).reshape(-1, 2).T
    scores = np.full(len(document_ids), -np.inf, dtype=np.float32)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        scores[places[block]] = (web.take(rows[block]) @ seed.vectors.T).max(axis=1)
    return scores


def compare(
    validation: dict[str, np.ndarray], held_out: dict[str, np.ndarray], known: np.ndarray, truth: np.ndarray
) -> list[dict[str, Any]]:
    """Return one row per way of scoring: AUC, average precision, F1, and precision at the share that the classifier keeps.

    ``validation`` and ``held_out`` map each way to its scores, ``known`` and ``truth`` are the labels of the two. F1 is at the
    threshold that is best on the validation pages. `classifier_adds` is the classifier's average precision less the row's,
    with an interval over resamples of the same pages: where that holds 0, the classifier has not been shown to add anything.
    """
    thresholds = {name: best_f1_threshold(scores, known) for name, scores in validation.items()}
    ours = held_out[CLASSIFIER]
    kept = max(1, int((ours >= thresholds[CLASSIFIER]).sum()))
    rows: list[dict[str, Any]] = []
    for name, scores in held_out.items():
        found = measure(scores, truth, thresholds[name])
        adds, (low, high) = (None, (None, None)) if name == CLASSIFIER else average_precision_difference(ours, scores, truth)
        rows.append(
            {
                "scored by": name,
                "pages": len(truth),
                "positives": found["positives"],
                "auc": found["auc"],
                "average_precision": found["average_precision"],
                "f1": found["f1"],
                "precision_at_share": precision_of_best(scores, truth, kept),
                "share": kept / len(truth),
                "classifier_adds": adds,
                "classifier_adds_low": low,
                "classifier_adds_high": high,
            }
        )
    return rows
