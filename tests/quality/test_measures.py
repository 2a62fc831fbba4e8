import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.quality.measures import area_under_curve, measure, threshold_for_precision, threshold_for_share

scored = st.lists(st.tuples(st.integers(0, 10).map(lambda n: n / 10), st.booleans()), min_size=1, max_size=40)


@given(scored)
def test_area_is_the_share_of_pairs_in_order(rows):
    positive = np.array([s for s, label in rows if label])
    negative = np.array([s for s, label in rows if not label])
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    expected = sum(pairs) / len(pairs) if pairs else None
    assert area_under_curve(positive, negative) == (expected if expected is None else pytest.approx(expected))


@given(scored, st.floats(0.01, 0.99))
def test_precision_threshold_is_the_lowest_that_reaches_the_target(rows, target):
    scores, labels = np.array([s for s, _ in rows]), np.array([label for _, label in rows])
    reaching = [t for t in np.unique(scores) if measure(scores, labels, t)["precision"] >= target]
    if not reaching:
        with pytest.raises(ValueError, match="target_precision"):
            threshold_for_precision(scores, labels, target)
    else:
        assert threshold_for_precision(scores, labels, target) == min(reaching)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50, unique=True), st.floats(0.01, 0.99))
def test_share_threshold_keeps_that_share(values, share):
    scores = np.array(values)
    assert (scores >= threshold_for_share(scores, share)).sum() == max(1, round(share * len(scores)))


def test_measures_of_a_known_case():
    scores, labels = np.array([0.9, 0.8, 0.4, 0.2]), np.array([True, False, True, False])
    result = measure(scores, labels, 0.5)
    assert (result["precision"], result["recall"], result["accuracy"], result["f1"]) == (0.5, 0.5, 0.5, 0.5)
    assert result["auc"] == 0.75
    assert measure(scores, labels, 0.95)["precision"] == 0.0
