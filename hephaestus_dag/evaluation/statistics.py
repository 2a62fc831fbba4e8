"""Intervals and paired comparisons for scores of few items.

Small models score near 0 or 1, where resampling gives an interval of no width. Scores between 0 and 1 therefore get Wilson's
interval: that of one category of verdicts as it is, that of a weighted mean, or of scores that are no verdicts, at the
*effective* number of items, which is the one that gives a proportion the variance of the stratified estimate (Korn and
Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated from survey data",
1998). Ratios of sums, such as bits per byte, are bootstrapped.
"""

import math
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
    """The items of one category, whose score is ``sum(numerators) / sum(denominators)``."""

    numerators: np.ndarray
    denominators: np.ndarray | None
    """None for verdicts and scores between 0 and 1, whose score is their mean."""
    weight: float = 1.0
    """Of the category's score in the group's."""

    @property
    def score(self) -> float:
        """The score of the category."""
        return float(self.numerators.mean() if self.denominators is None else self.numerators.sum() / self.denominators.sum())


@dataclass(frozen=True, slots=True)
class Difference:
    """Score of one model minus that of another on the same items."""

    difference: float
    low: float
    high: float
    num_items: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    @property
    def seen(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def wilson_interval(successes: float, total: float, confidence: float = 0.95) -> Interval:
    """Return Wilson's interval of a proportion; both counts may be fractions, as effective ones are.

    Raises ValueError when there are no items, or more successes than items.
    """
    if total <= 0 or not 0 <= successes <= total:
        raise ValueError(f"{successes:g} successes of {total:g} items: give 0 to as many as there are, of at least one")
    z2, p = _z(confidence) ** 2, successes / total
    centre, half = (p + z2 / (2 * total)), math.sqrt(z2 * (p * (1 - p) + z2 / (4 * total)) / total)
    low, high = (centre - half) / (1 + z2 / total), (centre + half) / (1 + z2 / total)
    # Rounding must not push an end past the proportion itself.
    return Interval(max(0.0, min(low, p)), min(1.0, max(high, p)))


def weighted_score(strata: Sequence[Stratum]) -> float:
    """Return the weighted sum of the strata's scores."""
    return math.fsum(stratum.weight * stratum.score for stratum in strata)


def score_interval(strata: Sequence[Stratum], confidence: float = 0.95, num_samples: int = 2_000, seed: int = 0) -> Interval:
    """Return the interval of the weighted sum of the strata's scores; it holds the estimate.

    ``num_samples`` and ``seed`` are of the bootstrap that ratios get; other scores are between 0 and 1.
    Raises ValueError when a stratum has no items.
    """
    if not all(len(stratum.numerators) for stratum in strata):
        raise ValueError("a stratum has no items; leave it out, or the group that needs it")
    if any(stratum.denominators is not None for stratum in strata):
        rng = np.random.default_rng(seed)
        draws = sum(s.weight * _ratio_draws([s], num_samples, rng)[0] for s in strata)
        return percentile_interval(np.asarray(draws), confidence)
    total, estimate = sum(stratum.weight for stratum in strata), weighted_score(strata)
    share = min(max(estimate / total, 0.0), 1.0)
    low, high = wilson_interval(share * (items := _effective_items(strata, share)), items, confidence)
    return Interval(min(low * total, estimate), max(high * total, estimate))


def bootstrap_ratio_interval(
    numerators: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray,
    confidence: float = 0.95,
    num_samples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Return the percentile bootstrap interval, over items, of a ratio of sums such as bits per byte."""
    stratum = Stratum(np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float))
    return score_interval([stratum], confidence, num_samples, seed)


def paired_difference(
    first: Sequence[Stratum], second: Sequence[Stratum], confidence: float = 0.95, num_samples: int = 2_000, seed: int = 0
) -> Difference:
    """Return ``first`` minus ``second`` with its interval; both hold the same items in the same order, stratum by stratum.

    Scores between 0 and 1 get a normal interval of the mean difference of items, widened as if one item more had turned out
    better and one worse (Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial proportions based
    on paired data", 2012): models that never differ on ten items may differ on the eleventh. Ratios are bootstrapped, items
    drawn in pairs.
    """
    difference = weighted_score(first) - weighted_score(second)
    num_items = sum(len(stratum.numerators) for stratum in first)
    if any(stratum.denominators is not None for stratum in first):
        rng, draws = np.random.default_rng(seed), np.zeros(num_samples)
        for one, other in zip(first, second, strict=True):
            drawn, other_drawn = _ratio_draws([one, other], num_samples, rng)
            draws += one.weight * drawn - other.weight * other_drawn
        low, high = percentile_interval(draws, confidence)
        return Difference(difference, low, high, num_items)
    total = sum(stratum.weight for stratum in first)
    mean = difference / total
    pairs = [
        Stratum(one.numerators.astype(float) - other.numerators, None, one.weight)
        for one, other in zip(first, second, strict=True)
    ]
    square = math.fsum(pair.weight / total * float((pair.numerators**2).mean()) for pair in pairs)
    variance = _variance(pairs, mean, square) + 2 / (_kish(pairs) + 2) ** 2
    half = _z(confidence) * math.sqrt(variance)
    return Difference(difference, max(mean - half, -1.0) * total, min(mean + half, 1.0) * total, num_items)


def mcnemar(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> float:
    """Return the two-sided p-value of the exact McNemar test on paired verdicts; 1 when they never differ."""
    from scipy.stats import binomtest

    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((a & ~b).sum()), int((~a & b).sum())
    return float(binomtest(only_first, only_first + only_second).pvalue) if only_first + only_second else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in their order (Holm, 1979): below 0.05 all together err in 5 % of cases."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def percentile_interval(draws: np.ndarray, confidence: float) -> Interval:
    """Return the central interval of draws."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _z(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))


def _effective_items(strata: Sequence[Stratum], share: float) -> float:
    """Return how many verdicts would give the weighted mean ``share`` the variance that it has."""
    only = strata[0].numerators
    if len(strata) == 1 and np.isin(only, (0, 1)).all():
        return len(only)
    spread = share * (1 - share)
    return spread / _variance(strata, share, share) if spread > 1e-12 else _kish(strata)


def _variance(strata: Sequence[Stratum], mean: float, square: float) -> float:
    """Return the variance of the weighted mean, weights made to sum to 1.

    A category of few items says little about its own spread, one of a single item nothing: each borrows one item with the
    mean and mean square of the whole. The factor makes the result unbiased where the categories are alike.
    """
    total, variance = sum(stratum.weight for stratum in strata), 0.0
    for stratum in strata:
        values, n = stratum.numerators.astype(float), len(stratum.numerators)
        spread = (float((values**2).sum()) + square) / (n + 1) - ((float(values.sum()) + mean) / (n + 1)) ** 2
        factor = (n + 1) ** 2 / ((n + 1) ** 2 - n)
        variance += (stratum.weight / total) ** 2 * factor * max(spread, 0.0) / n
    return variance


def _kish(strata: Sequence[Stratum]) -> float:
    """Return the number of equally weighted items that are worth these."""
    total = sum(stratum.weight for stratum in strata)
    return 1 / math.fsum((stratum.weight / total) ** 2 / len(stratum.numerators) for stratum in strata)


def _ratio_draws(strata: Sequence[Stratum], num_samples: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the scores of bootstrap resamples of strata that hold the same items: [num_samples] each."""
    columns = []
    for stratum in strata:
        bottom = np.ones(len(stratum.numerators)) if stratum.denominators is None else stratum.denominators
        columns += [stratum.numerators, bottom]
    table = np.column_stack(columns).astype(float)
    n, parts = len(table), []
    for start in range(0, num_samples, 250):  # bounds the memory of the counts
        counts = rng.multinomial(n, np.full(n, 1 / n), size=min(250, num_samples - start))
        parts.append(counts @ table)
    sums = np.concatenate(parts)
    return [sums[:, at] / sums[:, at + 1] for at in range(0, 2 * len(strata), 2)]
