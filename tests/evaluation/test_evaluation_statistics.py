import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from hephaestus_dag.evaluation.statistics import (
    Stratum,
    bootstrap_mean_interval,
    bootstrap_ratio_interval,
    mcnemar,
    paired_difference,
    weighted_proportion_interval,
    wilson_interval,
)


def test_wilson_interval_has_the_textbook_values():
    assert wilson_interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    low, high = wilson_interval(0, 20)
    assert low == 0
    assert high == pytest.approx(0.1611252, abs=1e-6)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_interval_holds_the_proportion(total: int, share: float):
    successes = round(share * total)
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    assert low < high


def test_mcnemar_is_the_exact_binomial_test_on_what_differs():
    first = [True] * 9 + [False] * 1 + [True] * 50
    second = [False] * 9 + [True] * 1 + [True] * 50
    assert mcnemar(first, second) == pytest.approx(22 / 1024)  # 2 × (1 + 10) / 2^10
    assert mcnemar([True, False], [True, False]) == 1.0


def test_bootstrap_mean_agrees_with_scipy():
    values = np.random.default_rng(1).normal(3, 2, 200)
    expected = bootstrap((values,), np.mean, n_resamples=4_000, method="percentile", rng=2).confidence_interval
    assert bootstrap_mean_interval(values, num_samples=4_000) == pytest.approx(tuple(expected), abs=0.03)


def test_bootstrap_ratio_of_proportional_columns_has_no_width():
    assert bootstrap_ratio_interval([1, 2, 3], [2, 4, 6]) == pytest.approx((0.5, 0.5))


def test_one_proportion_has_its_jeffreys_interval():
    # Beta(2.5, 18.5) quantiles at 2.5 % and 97.5 %.
    assert weighted_proportion_interval([2], [20], [1.0], num_samples=200_000) == pytest.approx((0.0213, 0.2838), abs=3e-3)
    low, high = weighted_proportion_interval([0, 0], [20, 30], [0.5, 0.5])
    assert low < 0.01 < high < 0.15


def test_paired_difference_is_narrower_than_unpaired_and_weighted():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(5, 2, 300)
    ones = np.ones(300)
    easy = Stratum(difficulty + 0.1, ones, difficulty, ones, 0.25)
    hard = Stratum(difficulty + 0.5, ones, difficulty, ones, 0.75)
    found = paired_difference([easy, hard])
    assert found.difference == pytest.approx(0.25 * 0.1 + 0.75 * 0.5)
    assert found.high - found.low < 1e-9
    assert found.num_items == 600


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 8), st.floats(0.1, 1)), min_size=1, max_size=4))
def test_a_weighted_interval_holds_its_estimate(parts: list[tuple[int, int, float]]) -> None:
    successes = [min(k, n) for k, n, _ in parts]
    totals = [n for _, n, _ in parts]
    weights = [w / sum(w for _, _, w in parts) for _, _, w in parts]
    interval = weighted_proportion_interval(successes, totals, weights, num_samples=500)
    estimate = sum(k / n * w for k, n, w in zip(successes, totals, weights, strict=True))
    assert interval.low - 1e-9 <= estimate <= interval.high + 1e-9
    assert interval.high > interval.low
