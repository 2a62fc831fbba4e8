import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from hephaestus_dag.evaluation.statistics import (
    Stratum,
    bootstrap_ratio_interval,
    holm,
    mcnemar,
    paired_difference,
    score_interval,
    weighted_score,
    wilson_interval,
)

verdicts = st.lists(st.booleans(), min_size=1, max_size=12)
shares = st.lists(st.floats(0, 1), min_size=1, max_size=12)
strata = st.lists(st.tuples(st.one_of(verdicts, shares), st.floats(0.05, 5)), min_size=1, max_size=5)


def stratum(values: list | np.ndarray, weight: float = 1.0) -> Stratum:
    return Stratum(np.array(values, dtype=float), None, weight)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_is_scipys(total: int, share: float) -> None:
    successes = round(share * total)
    ends = binomtest(successes, total).proportion_ci(0.9, method="wilson")
    assert wilson_interval(successes, total, 0.9) == pytest.approx((ends.low, ends.high), abs=1e-12)
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total <= high <= 1


def test_wilson_refuses_what_is_no_proportion() -> None:
    for successes, total in ((0, 0), (3, 2), (-1, 5)):
        with pytest.raises(ValueError, match="successes of"):
            wilson_interval(successes, total)


@given(strata)
def test_an_interval_holds_its_estimate_and_has_width(parts: list[tuple[list, float]]) -> None:
    made = [stratum(values, weight) for values, weight in parts]
    low, high = score_interval(made)
    assert low <= weighted_score(made) <= high
    assert low < high


@given(verdicts)
def test_one_category_of_verdicts_gets_wilsons_interval(values: list[bool]) -> None:
    assert score_interval([stratum(values, 1.0)]) == pytest.approx(wilson_interval(sum(values), len(values)))


@given(strata, st.floats(0.1, 10))
def test_weights_only_scale(parts: list[tuple[list, float]], factor: float) -> None:
    low, high = score_interval([stratum(values, weight) for values, weight in parts])
    scaled = score_interval([stratum(values, weight * factor) for values, weight in parts])
    assert scaled == pytest.approx((low * factor, high * factor), abs=1e-9)


def test_verdicts_among_scores_count_as_scores() -> None:
    assert score_interval([stratum([0, 1, 1, 0.0])]) == score_interval([stratum([False, True, True, False])])
    narrow, wide = score_interval([stratum([0.4, 0.5, 0.6] * 20)]), score_interval([stratum([0, 0.5, 1] * 20)])
    assert narrow.high - narrow.low < wide.high - wide.low


def coverage(shares: list[float], sizes: list[int], runs: int = 250) -> float:
    rng, weight = np.random.default_rng(5), 1 / len(shares)
    truth, held = sum(shares) * weight, 0
    for _ in range(runs):
        drawn = [stratum(rng.random(n) < p, weight) for p, n in zip(shares, sizes, strict=True)]
        low, high = score_interval(drawn)
        held += low <= truth <= high
    return held / runs


@pytest.mark.parametrize(
    ("shares", "sizes"),
    [([0.02, 0.01, 0.0, 0.01], [400, 200, 200, 200]), ([0.3, 0.5, 0.2, 0.6], [8] * 4), ([0.2, 0.3, 0.4] * 15, [1, 2, 3] * 15)],
    ids=["almost all wrong", "few items", "many small strata"],
)
def test_intervals_cover_what_they_promise(shares: list[float], sizes: list[int]) -> None:
    assert coverage(shares, sizes) >= 0.91


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30), st.floats(0.1, 3))
def test_a_paired_difference_turns_round_with_its_models(pairs: list[tuple[bool, bool]], weight: float) -> None:
    one, other = ([stratum([pair[at] for pair in pairs], weight)] for at in (0, 1))
    there, back = paired_difference(one, other), paired_difference(other, one)
    assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))
    assert there.low <= there.difference <= there.high


@given(strata)
def test_equal_models_do_not_differ_but_nothing_is_certain(parts: list[tuple[list, float]]) -> None:
    made = [stratum(values, weight) for values, weight in parts]
    found = paired_difference(made, made)
    assert found.difference == 0
    assert not found.seen
    assert found.half_width > 0


def test_a_pair_that_differs_in_one_direction_is_seen() -> None:
    one, other = [True] * 20 + [False] * 30, [False] * 15 + [True] * 5 + [False] * 30
    found = paired_difference([stratum(one)], [stratum(other)])
    assert found.difference == pytest.approx(0.3)
    assert found.seen
    assert mcnemar(one, other) == pytest.approx(2 / 2**15)


@settings(max_examples=20)
@given(st.floats(-0.3, 0.3))
def test_losses_are_compared_in_pairs(shift: float) -> None:
    rng = np.random.default_rng(0)
    size, difficulty = rng.integers(10, 100, 80).astype(float), rng.uniform(1, 3, 80)
    found = paired_difference([Stratum(size * (difficulty + shift), size)], [Stratum(size * difficulty, size)])
    assert found.difference == pytest.approx(shift)
    assert found.high - found.low < 1e-9  # how hard the items are falls out


def test_bootstrap_of_proportional_columns_has_no_width() -> None:
    assert bootstrap_ratio_interval([1, 2, 3], [2, 4, 6]) == pytest.approx((0.5, 0.5))
    low, high = bootstrap_ratio_interval([1, 9, 3, 4], [2, 4, 6, 8])
    assert low < 17 / 20 < high


def test_mcnemar_is_the_exact_binomial_test_on_what_differs() -> None:
    first = [True] * 9 + [False] * 1 + [True] * 50
    second = [False] * 9 + [True] * 1 + [True] * 50
    assert mcnemar(first, second) == pytest.approx(22 / 1024)  # 2 × (1 + 10) / 2^10
    assert mcnemar([True, False], [True, False]) == 1.0


def test_holm_has_the_textbook_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert [a for _, a in sorted(zip(p, adjusted, strict=True))] == sorted(adjusted)
