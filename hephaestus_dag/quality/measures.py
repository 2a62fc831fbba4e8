"""Measures of a score against labels."""

from typing import TypedDict

import numpy as np


class Measures(TypedDict):
    """How well ``score >= threshold`` tells positive from negative examples."""

    threshold: float
    examples: int
    positives: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float | None
    kept_share: float


def measure(scores: np.ndarray, labels: np.ndarray, threshold: float) -> Measures:
    """Return the measures at one threshold. Precision, recall and F1 are 0 where nothing is kept or nothing is positive."""
    kept = scores >= threshold
    hits = int((kept & labels).sum())
    positives, num_kept = int(labels.sum()), int(kept.sum())
    precision = hits / num_kept if num_kept else 0.0
    recall = hits / positives if positives else 0.0
    return Measures(
        threshold=float(threshold),
        examples=len(scores),
        positives=positives,
        accuracy=float((kept == labels).mean()),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if hits else 0.0,
        auc=area_under_curve(scores[labels], scores[~labels]),
        kept_share=num_kept / len(scores),
    )


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Return the probability that a positive score exceeds a negative one, ties counting half; None without both kinds."""
    if not len(positive) or not len(negative):
        return None
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).mean() / 2 / len(negative))


def threshold_table(scores: np.ndarray, labels: np.ndarray, steps: int = 20) -> list[Measures]:
    """Return the measures at evenly spaced quantiles of the scores, from keeping all to keeping little."""
    quantiles = np.unique(np.quantile(scores, np.arange(steps) / steps, method="lower"))
    return [measure(scores, labels, threshold) for threshold in quantiles]


def threshold_for_precision(scores: np.ndarray, labels: np.ndarray, target: float) -> float:
    """Return the lowest score at which all kept examples together reach a precision.

    Raises ValueError with the best precision when none reaches it.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], np.cumsum(labels[order])
    precision = right / np.arange(1, len(scores) + 1)
    last_of_its_score = np.append(ranked[1:] != ranked[:-1], True)  # Equal scores are kept together.
    reached = np.flatnonzero(last_of_its_score & (precision >= target))
    if not len(reached):
        best = float(precision[last_of_its_score].max())
        raise ValueError(f"no threshold reaches target_precision {target} on the held-out examples (best {best:.3f}): lower it")
    return float(ranked[reached[-1]])


def threshold_for_share(scores: np.ndarray, share: float) -> float:
    """Return the score that keeps a share of the given scores, best first (more when scores are equal)."""
    count = max(1, round(share * len(scores)))
    return float(np.sort(scores)[-count])
