import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.quality import bootstrap
from hephaestus_dag.quality.bootstrap import (
    average_precision_difference,
    interval,
    precision_recall_intervals,
    precision_threshold_interval,
    resampled,
    share_threshold_interval,
)
from hephaestus_dag.quality.measures import average_precision, measure, threshold_for_precision, threshold_for_share

scored = st.lists(st.tuples(st.integers(0, 10).map(lambda n: n / 10), st.booleans()), min_size=2, max_size=30)


def two_normals(examples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.random(examples) < 0.5
    return generator.normal(labels * 1.5), labels


def test_resamples_are_as_large_as_the_sample_and_seeded(monkeypatch: pytest.MonkeyPatch):
    totals = resampled(lambda counts: counts, 7, draws=50)
    assert totals.shape == (50, 7)
    assert set(totals.sum(axis=1)) == {7}
    assert np.array_equal(totals, resampled(lambda counts: counts, 7, draws=50))
    assert not np.array_equal(totals, resampled(lambda counts: counts, 7, draws=50, seed=1))
    monkeypatch.setattr(bootstrap, "BLOCK", 20)
    assert np.array_equal(totals, resampled(lambda counts: counts, 7, draws=50))


@settings(max_examples=20)
@given(scored, st.floats(0, 1))
def test_intervals_hold_the_point(rows: list[tuple[float, bool]], threshold: float):
    scores, labels = np.array([s for s, _ in rows]), np.array([label for _, label in rows])
    found = measure(scores, labels, threshold)
    (low, high), (recall_low, recall_high) = precision_recall_intervals(scores, labels, threshold)
    assert 0 <= low <= found["precision"] <= high <= 1
    assert 0 <= recall_low <= found["recall"] <= recall_high <= 1
    if labels.any():
        chosen = threshold_for_precision(scores, labels, 0.01)
        low, high = precision_threshold_interval(scores, labels, 0.01, chosen)
        assert low <= chosen <= high


def test_values_that_say_nothing_are_left_out():
    assert interval(np.array([np.nan, 1.0, 2.0, np.nan, 3.0]), 2.0, level=1.0) == (1.0, 3.0)
    assert interval(np.array([np.nan]), 2.0) == (2.0, 2.0)
    assert interval(np.array([1.0, 2.0]), 5.0, level=1.0) == (1.0, 5.0)


def test_precision_interval_is_as_wide_as_theory_says():
    scores, labels = two_normals(2_000)
    found = measure(scores, labels, 1.0)
    (low, high), _ = precision_recall_intervals(scores, labels, 1.0)
    kept = (scores >= 1.0).sum()
    width = 2 * 1.96 * (found["precision"] * (1 - found["precision"]) / kept) ** 0.5
    assert high - low == pytest.approx(width, rel=0.1)


def test_interval_of_precision_covers_the_truth_about_as_often_as_it_says():
    truth = measure(*two_normals(200_000, seed=99), 1.0)["precision"]
    covered = 0
    for seed in range(60):
        (low, high), _ = precision_recall_intervals(*two_normals(300, seed), 1.0)
        covered += low <= truth <= high
    assert 51 <= covered <= 60


def test_share_threshold_interval_is_that_of_real_resamples():
    scores = np.random.default_rng(3).random(200)
    threshold = threshold_for_share(scores, 0.3)
    generator = np.random.default_rng(4)
    drawn = [threshold_for_share(generator.choice(scores, 200), 0.3) for _ in range(4_000)]
    low, high = share_threshold_interval(scores, 0.3, threshold)
    assert (low, high) == (
        pytest.approx(np.quantile(drawn, 0.025), abs=0.01),
        pytest.approx(np.quantile(drawn, 0.975), abs=0.01),
    )
    assert low < threshold < high


def test_threshold_interval_shrinks_with_examples():
    widths = []
    for examples in (100, 3_000):
        scores, labels = two_normals(examples)
        threshold = threshold_for_precision(scores, labels, 0.85)
        low, high = precision_threshold_interval(scores, labels, 0.85, threshold)
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_real_difference_is_seen_and_a_false_one_is_not():
    scores, labels = two_normals(600)
    worse = scores + np.random.default_rng(5).normal(scale=3, size=600)
    point, (low, high) = average_precision_difference(scores, worse, labels)
    assert point == pytest.approx((average_precision(scores, labels) or 0) - (average_precision(worse, labels) or 0))
    assert 0 < low < point < high
    as_good = scores + np.random.default_rng(6).normal(scale=0.01, size=600)
    _, (low, high) = average_precision_difference(scores, as_good, labels)
    assert low <= 0 <= high
