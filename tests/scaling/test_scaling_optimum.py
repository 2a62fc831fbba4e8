from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize

from hephaestus_dag.scaling.law import Law, fit_law
from hephaestus_dag.scaling.optimum import Constraint, Scale, best_mixture, line
from hephaestus_dag.scaling.runs import Run
from hephaestus_dag.scaling.table import Table

SCALE = Scale(params=1e9, tokens=20e9, unique=(np.inf,) * 3)
WEIGHTS = np.array([0.5, 0.3, 0.2])


def loss(name: str, n: float, share: float) -> float:
    """A law of exponential mixtures, each of its own share."""
    slope = {"a": -3.0, "b": -2.5, "c": -4.0}[name]
    return 1 + 0.4 * (n / 1e8) ** -0.3 + 0.6 * (n / 1e8) ** -0.2 * np.exp(slope * share)


@cache
def law(on_line: bool, draws: int = 40) -> Law:
    rng = np.random.default_rng(0)
    mixtures = [(r, 0.6 * (1 - r), 0.4 * (1 - r)) for r in (0.1, 0.2, 0.3, 0.45, 0.6, 0.8)]
    if not on_line:
        mixtures = rng.dirichlet([1.2, 1.2, 1.2], 14).tolist()
    runs = [
        Run(
            cell=f"{n:g}-{k}",
            params=n,
            tokens=20 * n,
            flops=120 * n * n,
            shares=dict(zip("abc", mixture, strict=True)),
            losses={name: loss(name, n, x) + 0.001 * rng.normal() for name, x in zip("abc", mixture, strict=True)},
        )
        for n in (2e7, 5e7, 1e8, 2e8)
        for k, mixture in enumerate(mixtures)
    ]
    return fit_law(Table.of(runs), draws, 0)


def objective(x: np.ndarray) -> float:
    return float(sum(w * loss(name, SCALE.params, share) for w, name, share in zip(WEIGHTS, "abc", x, strict=True)))


def test_the_best_mixture_on_a_line_is_the_known_one():
    best = best_mixture(law(True), WEIGHTS, SCALE)
    grid = np.linspace(0.1, 0.8, 7001)
    truth = grid[np.argmin([objective(np.array([r, 0.6 * (1 - r), 0.4 * (1 - r)])) for r in grid])]
    assert best.shares["a"] == pytest.approx(truth, abs=0.02)
    assert best.shares["b"] == pytest.approx(0.6 * (1 - best.shares["a"]))
    assert sum(best.shares.values()) == pytest.approx(1)
    for domain in "abc":
        assert best.intervals[domain][0] < best.shares[domain] < best.intervals[domain][1]
        assert best.regret_bands[domain][0] < best.shares[domain] < best.regret_bands[domain][1]
    assert not best.at_edge
    assert best.curvature > 0


def test_the_best_of_all_mixtures_is_the_known_one():
    assert line(law(False)) is None
    best = best_mixture(law(False), WEIGHTS, SCALE)
    truth = minimize(
        objective, np.full(3, 1 / 3), bounds=[(0, 1)] * 3, constraints=[{"type": "eq", "fun": lambda x: x.sum() - 1}]
    ).x
    assert list(best.shares.values()) == pytest.approx(truth, abs=0.03)
    assert sum(best.shares.values()) == pytest.approx(1)
    assert all(best.intervals[d][0] <= best.shares[d] <= best.intervals[d][1] for d in "abc")


def test_no_mixture_inside_what_was_tried_is_better():
    found = law(False)
    best = best_mixture(found, WEIGHTS, SCALE)
    low, high = found.table.shares.min(0), found.table.shares.max(0)
    others = np.random.default_rng(1).dirichlet(np.ones(3), 4000)
    others = others[((others >= low) & (others <= high)).all(1)]
    assert best.loss <= float((found.predict(*SCALE.arguments(others)) @ WEIGHTS).min()) + 1e-6


def test_an_objective_of_one_loss_ends_at_the_edge_of_what_was_tried():
    best = best_mixture(law(True), np.array([1.0, 0, 0]), SCALE)
    assert best.at_edge
    assert best.shares["a"] == pytest.approx(0.8, abs=0.01)


def test_a_constraint_on_the_general_losses_bounds_the_share():
    tight, loose = (
        best_mixture(law(True), WEIGHTS, SCALE, Constraint(weights=np.array([0, 0.5, 0.5]), max_rise=rise)).constrained
        for rise in (0.02, 0.08)
    )
    assert tight is not None
    assert loose is not None
    assert 0.1 < tight < loose < 0.8
    general = [0.5 * loss("b", 1e9, 0.6 * (1 - r)) + 0.5 * loss("c", 1e9, 0.4 * (1 - r)) for r in (0.1, tight)]
    assert general[1] / general[0] == pytest.approx(1.02, abs=0.003)
