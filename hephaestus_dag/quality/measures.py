"""Measures of a score against labels: at one threshold, over all thresholds, and as a probability."""

from dataclasses import dataclass
from typing import Any, TypedDict

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
    average_precision: float | None
    kept_share: float


@dataclass(frozen=True, slots=True)
class Curve:
    """What is kept at every threshold that makes a difference. Leading dimensions, if any, are resamples."""

    thresholds: np.ndarray
    """(thresholds,) the distinct scores, from the highest down"""
    hits: np.ndarray
    """(..., thresholds) positive examples that score at least so"""
    kept: np.ndarray
    """(..., thresholds) examples that score at least so"""

    @property
    def precision(self) -> np.ndarray:
        """(..., thresholds); 0 where nothing is kept"""
        return self.hits / np.maximum(self.kept, 1)

    @property
    def recall(self) -> np.ndarray:
        """(..., thresholds); 0 where nothing is positive"""
        return self.hits / np.maximum(self.hits[..., -1:], 1)

    @property
    def f1(self) -> np.ndarray:
        """(..., thresholds)"""
        return 2 * self.hits / np.maximum(self.kept + self.hits[..., -1:], 1)

    @property
    def average_precision(self) -> np.ndarray:
        """(...) precision averaged over the steps of recall, without interpolation; NaN where nothing is positive"""
        steps = np.diff(self.recall, axis=-1, prepend=0)
        return np.where(self.hits[..., -1] > 0, (steps * self.precision).sum(axis=-1), np.nan)


def curve(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray | None = None) -> Curve:
    """Return what is kept at every distinct score. ``counts`` (..., examples) says how often each example counts."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # Equal scores are kept together.
    weights = np.ones(len(scores), dtype=np.int64) if counts is None else counts[..., order]
    hits, kept = np.cumsum(weights * labels[order], axis=-1), np.cumsum(weights, axis=-1)
    return Curve(ranked[last], hits[..., last], kept[..., last])


def measure(scores: np.ndarray, labels: np.ndarray, threshold: float) -> Measures:
    """Return the measures at one threshold. Precision, recall and F1 are 0 where nothing is kept or nothing is positive."""
    kept = scores >= threshold
    hits, positives, num_kept = int((kept & labels).sum()), int(labels.sum()), int(kept.sum())
    return Measures(
        threshold=float(threshold),
        examples=len(scores),
        positives=positives,
        accuracy=float((kept == labels).mean()),
        precision=hits / max(num_kept, 1),
        recall=hits / max(positives, 1),
        f1=2 * hits / max(num_kept + positives, 1),
        auc=area_under_curve(scores[labels], scores[~labels]),
        average_precision=average_precision(scores, labels),
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


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the area under the precision-recall steps; None where nothing is positive."""
    return float(curve(scores, labels).average_precision) if labels.any() else None


def confusion(scores: np.ndarray, labels: np.ndarray, threshold: float) -> list[dict[str, Any]]:
    """Return how many positive and negative examples a threshold keeps and removes, one row per class."""
    kept = scores >= threshold
    return [
        {"examples": name, "kept": int((kept & of_class).sum()), "removed": int((~kept & of_class).sum())}
        for name, of_class in (("positive", labels), ("negative", ~labels))
    ]


def reliability(scores: np.ndarray, labels: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Return one row per bin of the score, of equal width, that holds examples: its mean score and its share of positives."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        {
            "from": number / bins,
            "to": (number + 1) / bins,
            "examples": int((place == number).sum()),
            "mean_score": float(scores[place == number].mean(dtype=float)),
            "positive_share": float(labels[place == number].mean()),
        }
        for number in np.unique(place).tolist()
    ]


def calibration_error(rows: list[dict[str, float]]) -> float:
    """Return the expected calibration error: the mean distance of score and share of positives, over examples."""
    gaps = [row["examples"] * abs(row["mean_score"] - row["positive_share"]) for row in rows]
    return sum(gaps) / sum(row["examples"] for row in rows)


def threshold_table(scores: np.ndarray, labels: np.ndarray, steps: int = 20) -> list[Measures]:
    """Return the measures at evenly spaced quantiles of the scores, from keeping all to keeping little."""
    quantiles = np.unique(np.quantile(scores, np.arange(steps) / steps, method="lower"))
    return [measure(scores, labels, threshold) for threshold in quantiles]


def best_f1_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the threshold with the highest F1; of several, the highest threshold."""
    ranked = curve(scores, labels)
    return float(ranked.thresholds[np.argmax(ranked.f1)])


def precision_of_best(scores: np.ndarray, labels: np.ndarray, count: int) -> float:
    """Return the precision of keeping the ``count`` best examples, expected over the order of equal scores."""
    ranked = curve(scores, labels)
    return float(np.interp(count, np.append(0, ranked.kept), np.append(0, ranked.hits)) / count)


def threshold_for_precision(scores: np.ndarray, labels: np.ndarray, target: float, of: str = "examples") -> float:
    """Return the score that reaches a precision and keeps the most positive examples.

    Where several do, it lies in their middle: the lowest would let in what is bad and unlike the examples, the highest would
    shut out what is good and unlike them. Raises ValueError with the best precision when none reaches it; ``of`` is what the
    message calls the examples.
    """
    ranked = curve(scores, labels)
    reached = np.flatnonzero(ranked.precision >= target)
    if not len(reached):
        best = float(ranked.precision.max())
        raise ValueError(
            f"no threshold reaches target_precision {target} on the {len(scores)} held-out {of} (best {best:.3f}): lower it"
        )
    return float(middle_threshold(ranked, reached[-1]))


def middle_threshold(ranked: Curve, lowest: np.ndarray) -> np.ndarray:
    """Return the middle of the thresholds that keep as many positive examples as those at places of a curve, from these up."""
    hits = np.take_along_axis(ranked.hits, np.asarray(lowest)[..., None], axis=-1)
    highest = np.argmax(ranked.hits >= hits, axis=-1)
    return (ranked.thresholds[lowest] + ranked.thresholds[highest]) / 2


def threshold_for_share(scores: np.ndarray, share: float) -> float:
    """Return the score that keeps a share of the given scores, best first (more when scores are equal)."""
    count = kept_count(share, len(scores))
    return float(np.partition(scores, -count)[-count])


def kept_count(share: float, number: int) -> int:
    """Return how many of a number of examples a share keeps: at least one."""
    return max(1, round(share * number))
