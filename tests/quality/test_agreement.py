import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from hephaestus_dag.quality.agreement import agreement, rank_correlation

SCORES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40)


def test_cohens_worked_example():
    """20 both good, 5 only the first, 10 only the second, 15 neither: 0.7 agree, 0.5 by chance, kappa 0.4."""
    first = np.array([1] * 25 + [0] * 25, dtype=float)
    second = np.array([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15, dtype=float)
    found = agreement(first, second, (0.5, 0.5))
    assert (found["both_good"], found["only_first_good"], found["only_second_good"], found["neither_good"]) == (20, 5, 10, 15)
    assert (found["pages"], found["same_verdict"]) == (50, 0.7)
    assert found["kappa"] == pytest.approx(0.4)


def test_each_scoring_has_its_own_cut():
    first, second = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.6, 0.7, 0.8, 0.9])
    assert agreement(first, second, (0.25, 0.75)) | {"spearman": 1} == agreement(first, first, (0.25, 0.25)) | {"spearman": 1}
    assert agreement(first, second, (0.25, 0.25))["same_verdict"] == 0.5


def test_what_is_not_defined_is_none():
    nothing, same = np.array([]), np.array([0.5, 0.5])
    assert agreement(nothing, nothing, (0, 0))["same_verdict"] is None
    assert agreement(same, same, (0, 0)) | {"kappa": None, "spearman": None} == agreement(same, same, (0, 0))


@given(pairs=SCORES, cut=st.integers(0, 4))
def test_measures_do_not_depend_on_who_is_first(pairs: list[tuple[int, int]], cut: int):
    first, second = np.array(pairs, dtype=float).T
    one, other = agreement(first, second, (cut, cut)), agreement(second, first, (cut, cut))
    assert (one["same_verdict"], one["only_first_good"]) == (other["same_verdict"], other["only_second_good"])
    assert one["kappa"] == pytest.approx(other["kappa"]) if one["kappa"] is not None else other["kappa"] is None
    assert one["kappa"] is None or one["kappa"] <= 1
    assert one["both_good"] + one["neither_good"] == pytest.approx(one["same_verdict"] * len(pairs))


@given(pairs=SCORES)
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]):
    first, second = np.array(pairs, dtype=float).T
    found = rank_correlation(first, second)
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert found == pytest.approx(spearmanr(first, second)[0])
    else:
        assert found is None
