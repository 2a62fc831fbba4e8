import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.quality.measures import (
    area_under_curve,
    average_precision,
    best_f1_threshold,
    calibration_error,
    confusion,
    curve,
    measure,
    precision_of_best,
    reliability,
    threshold_for_precision,
    threshold_for_share,
)

scored = st.lists(st.tuples(st.integers(0, 10).map(lambda n: n / 10), st.booleans()), min_size=1, max_size=40)
Rows = list[tuple[float, bool]]


def columns(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows]), np.array([label for _, label in rows])


@given(scored)
def test_area_is_the_share_of_pairs_in_order(rows: Rows):
    positive = np.array([s for s, label in rows if label])
    negative = np.array([s for s, label in rows if not label])
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    expected = sum(pairs) / len(pairs) if pairs else None
    assert area_under_curve(positive, negative) == (expected if expected is None else pytest.approx(expected))


@given(scored)
def test_average_precision_is_the_mean_precision_at_each_positive(rows: Rows):
    scores, labels = columns(rows)
    at_positives = [labels[scores >= score].mean() for score, label in rows if label]
    expected = float(np.mean(at_positives)) if at_positives else None
    assert average_precision(scores, labels) == (expected if expected is None else pytest.approx(expected))


@given(scored, st.data())
def test_counts_do_what_repeating_the_examples_does(rows: Rows, data: st.DataObject):
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    repeated = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
    weighted = curve(*columns(rows), counts=np.array([counts]))
    if any(label for _, label in repeated):
        assert weighted.average_precision[0] == pytest.approx(average_precision(*columns(repeated)))
    else:
        assert np.isnan(weighted.average_precision[0])


@given(scored, st.floats(0.01, 0.99))
def test_precision_threshold_is_the_lowest_that_reaches_the_target(rows: Rows, target: float):
    scores, labels = columns(rows)
    reaching = [t for t in np.unique(scores) if measure(scores, labels, t)["precision"] >= target]
    if not reaching:
        with pytest.raises(ValueError, match="target_precision"):
            threshold_for_precision(scores, labels, target)
    else:
        most = measure(scores, labels, min(reaching))["recall"]
        found = measure(scores, labels, threshold_for_precision(scores, labels, target))
        assert (found["precision"] >= target, found["recall"]) == (True, most)


def test_where_several_thresholds_serve_a_target_the_middle_is_taken():
    scores, labels = np.array([0.9, 0.8, 0.7, 0.1, 0.0]), np.array([True, True, True, False, False])
    assert threshold_for_precision(scores, labels, 0.7) == pytest.approx((0.7 + 0.1) / 2)


@given(scored)
def test_no_threshold_has_a_better_f1_than_the_best(rows: Rows):
    scores, labels = columns(rows)
    best = measure(scores, labels, best_f1_threshold(scores, labels))["f1"]
    assert best == pytest.approx(max(measure(scores, labels, t)["f1"] for t in scores))


@given(scored, st.floats(0, 1))
def test_f1_is_the_harmonic_mean(rows: Rows, threshold: float):
    found = measure(*columns(rows), threshold)
    both = found["precision"] + found["recall"]
    assert found["f1"] == pytest.approx(2 * found["precision"] * found["recall"] / both if both else 0)


@given(scored, st.floats(0, 1))
def test_confusion_counts_every_example_once(rows: Rows, threshold: float):
    scores, labels = columns(rows)
    positive, negative = confusion(scores, labels, threshold)
    assert positive["kept"] + positive["removed"] == labels.sum()
    assert negative["kept"] + negative["removed"] == (~labels).sum()
    assert positive["kept"] + negative["removed"] == pytest.approx(measure(scores, labels, threshold)["accuracy"] * len(rows))


@given(scored, st.integers(1, 20))
def test_reliability_counts_every_example_once_and_in_its_bin(rows: Rows, bins: int):
    scores, labels = columns(rows)
    found = reliability(scores, labels, bins)
    assert sum(row["examples"] for row in found) == len(rows)
    assert sum(row["examples"] * row["positive_share"] for row in found) == pytest.approx(labels.sum())
    assert all(row["from"] - 1e-9 <= row["mean_score"] <= row["to"] + 1e-9 for row in found)
    assert abs(scores.mean() - labels.mean()) - 1e-9 <= calibration_error(found) <= 1


def test_scores_that_are_true_shares_are_reliable():
    scores = np.repeat([0.25, 0.75], 4)
    labels = np.array([True, False, False, False, True, True, True, False])
    assert calibration_error(reliability(scores, labels)) == 0
    assert calibration_error(reliability(1 - scores, labels)) == 0.5


@given(scored, st.data())
def test_precision_of_the_best_is_the_mean_over_orders_of_equal_scores(rows: Rows, data: st.DataObject):
    count = data.draw(st.integers(1, len(rows)))
    scores, labels = columns(rows)
    cut = np.sort(scores)[-count]
    above, equal = labels[scores > cut], labels[scores == cut]
    expected = (above.sum() + (count - len(above)) * equal.mean()) / count
    assert precision_of_best(scores, labels, count) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50, unique=True), st.floats(0.01, 0.99))
def test_share_threshold_keeps_that_share(values: list[float], share: float):
    scores = np.array(values)
    assert (scores >= threshold_for_share(scores, share)).sum() == max(1, round(share * len(scores)))


def test_measures_of_a_known_case():
    scores, labels = np.array([0.9, 0.8, 0.4, 0.2]), np.array([True, False, True, False])
    result = measure(scores, labels, 0.5)
    assert (result["precision"], result["recall"], result["accuracy"], result["f1"]) == (0.5, 0.5, 0.5, 0.5)
    assert (result["auc"], result["average_precision"]) == (0.75, pytest.approx((1 + 2 / 3) / 2))
    assert measure(scores, labels, 0.95)["precision"] == 0.0
