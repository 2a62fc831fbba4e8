"""Intervals by resampling: what a measure or a threshold might have been, had other examples been drawn."""

from collections.abc import Callable

import numpy as np

from hephaestus_dag.quality.measures import curve, kept_count, middle_threshold

DRAWS = 1_000
BLOCK = 4_000_000  # Counts held at once.

Interval = tuple[float, float]


def resampled(statistic: Callable[[np.ndarray], np.ndarray], examples: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return a statistic of ``draws`` resamples with replacement, as (draws, ...).

    ``statistic`` takes how often each example was drawn, (resamples, examples), and returns (resamples, ...).
    """
    generator = np.random.default_rng(seed)
    found, block = [], max(1, BLOCK // examples)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = generator.integers(examples, size=(rows, examples)) + examples * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * examples).reshape(rows, examples)
        found.append(statistic(counts))
    return np.concatenate(found)


def interval(values: np.ndarray, point: float, level: float = 0.95) -> Interval:
    """Return the middle ``level`` of resampled values, widened to hold the point; NaN values say nothing and are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return point, point
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2))
    return min(float(low), point), max(float(high), point)


def average_precision_difference(
    one: np.ndarray, other: np.ndarray, labels: np.ndarray, level: float = 0.95
) -> tuple[float, Interval]:
    """Return the average precision of one score less that of another on the same examples, and its interval."""

    def difference(counts: np.ndarray | None) -> np.ndarray:
        return curve(one, labels, counts).average_precision - curve(other, labels, counts).average_precision

    point = float(difference(None))
    return point, interval(resampled(difference, len(labels)), point, level)


def precision_recall_intervals(scores: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[Interval, Interval]:
    """Return the intervals of precision and recall at a threshold, over resamples of the examples."""
    kept = scores >= threshold

    def at_threshold(counts: np.ndarray) -> np.ndarray:
        hits = counts @ (kept & labels)
        of = np.stack([counts @ kept, counts @ labels], axis=-1)
        return np.where(of > 0, hits[:, None] / np.maximum(of, 1), np.nan)

    values = resampled(at_threshold, len(labels))
    hits = int((kept & labels).sum())
    points = hits / max(int(kept.sum()), 1), hits / max(int(labels.sum()), 1)
    return interval(values[:, 0], points[0]), interval(values[:, 1], points[1])


def precision_threshold_interval(scores: np.ndarray, labels: np.ndarray, target: float, threshold: float) -> Interval:
    """Return the interval of `threshold_for_precision`, over the resamples in which a threshold reaches it."""

    def chosen(counts: np.ndarray) -> np.ndarray:
        ranked = curve(scores, labels, counts)
        reached = ranked.precision >= target
        last = reached.shape[1] - 1 - np.argmax(reached[:, ::-1], axis=1)
        return np.where(reached.any(axis=1), middle_threshold(ranked, last), np.nan)

    return interval(resampled(chosen, len(labels)), threshold)


def share_threshold_interval(scores: np.ndarray, share: float, threshold: float, seed: int = 0) -> Interval:
    """Return the interval of the score that keeps a share of the scores, over resamples of the scores.

    The rank that the k-th best of a resample has among n scores is n times a Beta(k, n - k + 1) variable, rounded down:
    resamples of millions of scores need not be made.
    """
    count = kept_count(share, len(scores))
    ranks = len(scores) * np.random.default_rng(seed).beta(count, len(scores) - count + 1, size=DRAWS)
    ascending = np.sort(scores)
    return interval(ascending[len(scores) - 1 - np.minimum(ranks.astype(int), len(scores) - 1)].astype(float), threshold)
