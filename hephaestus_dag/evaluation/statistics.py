"""Intervals and paired comparisons for scores of few items.

Proportions near 0 or 1 are the normal case for small models, where resampling gives an interval of no width: proportions get
Wilson's interval, weighted means of proportions draw from Jeffreys posteriors, and only ratios of sums are bootstrapped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """Both ends of an interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Stratum:
    """Items of one category under two models: per item a numerator and a denominator of the score ``sum / sum``."""

    numerators: np.ndarray
    denominators: np.ndarray
    other_numerators: np.ndarray
    other_denominators: np.ndarray
    weight: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Score of one model minus that of another on the same items."""

    difference: float
    low: float
    high: float
    num_items: int


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's interval of a proportion.

    Raises ValueError when there are no items, or more successes than items.
    """
    from scipy.stats import binomtest

    ends = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return Interval(float(ends.low), float(ends.high))


def weighted_proportion_interval(
    successes: Sequence[int],
    totals: Sequence[int],
    weights: Sequence[float],
    confidence: float = 0.95,
    num_samples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return an interval of a weighted sum of independent proportions, by draws from their Jeffreys posteriors.

    Near 0 and 1 the equal-tailed interval would leave out the estimate itself; it is widened to hold it (Brown, Cai and
    DasGupta, "Interval estimation for a binomial proportion", 2001).
    """
    k, n, w = np.asarray(successes), np.asarray(totals), np.asarray(weights)
    draws = np.random.default_rng(seed).beta(k + 0.5, n - k + 0.5, size=(num_samples, len(k)))
    interval = percentile_interval(draws @ w, confidence)
    estimate = float((k / n) @ w)
    return Interval(min(interval.low, estimate), max(interval.high, estimate))


def bootstrap_mean_interval(
    values: Sequence[float] | np.ndarray, confidence: float = 0.95, num_samples: int = 2_000, seed: int = 0
) -> Interval:
    """Return the percentile bootstrap interval of a mean."""
    values = np.asarray(values, dtype=float)
    return bootstrap_ratio_interval(values, np.ones_like(values), confidence, num_samples, seed)


def bootstrap_ratio_interval(
    numerators: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray,
    confidence: float = 0.95,
    num_samples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Return the percentile bootstrap interval, over items, of a ratio of sums such as bits per byte."""
    columns = np.column_stack([np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)])
    sums = resampled_sums(columns, num_samples, np.random.default_rng(seed))
    return percentile_interval(sums[:, 0] / sums[:, 1], confidence)


def paired_difference(
    strata: Sequence[Stratum], confidence: float = 0.95, num_samples: int = 2_000, seed: int = 0
) -> Difference:
    """Return the difference of two weighted scores with its bootstrap interval; items are drawn in pairs within strata."""
    rng = np.random.default_rng(seed)
    difference, draws = 0.0, np.zeros(num_samples)
    for s in strata:
        columns = np.column_stack([s.numerators, s.denominators, s.other_numerators, s.other_denominators]).astype(float)
        a, b, c, d = columns.sum(axis=0)
        difference += s.weight * (a / b - c / d)
        sums = resampled_sums(columns, num_samples, rng)
        draws += s.weight * (sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3])
    low, high = percentile_interval(draws, confidence)
    return Difference(float(difference), low, high, sum(len(s.numerators) for s in strata))


def mcnemar(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> float:
    """Return the two-sided p-value of the exact McNemar test on paired verdicts; 1 when they never differ."""
    from scipy.stats import binomtest

    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((a & ~b).sum()), int((~a & b).sum())
    return float(binomtest(only_first, only_first + only_second).pvalue) if only_first + only_second else 1.0


def resampled_sums(columns: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return the column sums of bootstrap resamples of the rows: [items, k] to [num_samples, k]."""
    n = len(columns)
    parts = []
    for start in range(0, num_samples, 250):  # bounds the memory of the counts
        counts = rng.multinomial(n, np.full(n, 1 / n), size=min(250, num_samples - start))
        parts.append(counts @ columns)
    return np.concatenate(parts)


def percentile_interval(draws: np.ndarray, confidence: float) -> Interval:
    """Return the central interval of draws."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
