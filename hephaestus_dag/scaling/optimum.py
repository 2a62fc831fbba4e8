"""The best mixture at a scale: where the weighted sum of losses is lowest, and how well that is known.

The objective is ``J(x) = sum_i w_i L_i(N, D, x)``. Where the runs lie on a line (one share varies, the others keep their
proportions, as in a sweep of the agent ratio), the best mixture is sought on that line; otherwise among all mixtures whose
shares lie between the least and the most that was tried. Intervals hold 95 % of the best mixtures of all bootstrap draws of
all families: they count noise, what the priors leave open, and how far the forms disagree.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from hephaestus_dag.scaling.law import Law
from hephaestus_dag.scaling.table import REPETITION_DECAY, Array, effective_share

GRID_POINTS = 201
_LEAST = 1e-6
_DESCENT_STEPS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A model size and token budget at which the best mixture is asked for."""

    params: float
    tokens: float
    unique: tuple[float, ...]
    """Distinct tokens per domain; infinity where nothing repeats."""
    is_target: bool = False

    @property
    def flops(self) -> float:
        """Training compute, 6 N D."""
        return 6 * self.params * self.tokens

    def arguments(self, shares: Array) -> tuple[Array, Array, Array]:
        """Return sizes, tokens and effective shares of mixtures [..., rows, K] at this scale, as a law takes them."""
        rows = np.ones(shares.shape[-2])
        effective = effective_share(np.maximum(shares, 0.0), np.asarray(self.tokens), np.asarray(self.unique))
        return self.params * rows, self.tokens * rows, effective


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The best mixture at one scale."""

    scale: Scale
    shares: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    """95 % interval of each best share."""
    regret_bands: dict[str, tuple[float, float]]
    """Shares of a domain, the others keeping their proportions, that cost at most ``regret``."""
    regret: float
    """Two standard deviations of one run's objective."""
    loss: float
    curvature: float
    """Second derivative of the objective by the varied share; positive at a true minimum. On a line only, else NaN."""
    at_edge: bool
    """Whether the best mixture lies at the end of what was tried. On a line only."""
    constrained: float | None = None
    """Largest varied share at which the general loss rises no more than tolerated; None without a constraint."""
    constrained_interval: tuple[float, float] | None = None
    """95 % interval of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """The general loss may rise by no more than a share of what it is at the smallest varied share that was tried."""

    weights: Array
    """[M]"""
    max_rise: float


def objective_curve(law: Law, weights: Array, scale: Scale, shares: Array) -> Array:
    """Return the objective [rows] of mixtures [rows, K] at a scale."""
    return law.predict(*scale.arguments(shares)) @ weights


def line(law: Law, points: int = GRID_POINTS) -> tuple[Array, Array] | None:
    """Return the shares of the varied domain that were tried, as a grid, and the mixtures [points, K]; None without a line."""
    axis = law.table.axis
    if axis is None:
        return None
    tried = law.table.shares[:, axis]
    rest = np.delete(law.table.shares, axis, axis=1)
    rest = rest[rest.sum(1) > 1e-9]
    proportions = np.insert((rest / rest.sum(1, keepdims=True)).mean(0), axis, 0.0)
    grid = np.linspace(tried.min(), tried.max(), points)
    mixtures = (1 - grid)[:, None] * proportions
    mixtures[:, axis] = grid
    return grid, mixtures


def best_mixture(law: Law, weights: Array, scale: Scale, constraint: Constraint | None = None) -> Optimum:
    """Return the mixture with the lowest objective at a scale.

    Args:
        law: the fitted law; without bootstrap draws the intervals are NaN.
        weights: of the losses in the objective, [M].
        scale: where it is asked for.
        constraint: on the general loss; acts where runs lie on a line.
    """
    regret = 2 * float(np.sqrt(weights @ law.covariance @ weights))
    on_line = line(law)
    if on_line is None:
        return _in_simplex(law, weights, scale, regret)
    grid, mixtures = on_line
    axis = law.table.axis or 0
    curve = objective_curve(law, weights, scale, mixtures)
    ratio = minimum(grid, curve)
    drawn = law.drawn(*scale.arguments(mixtures)) @ weights
    best = np.array([minimum(grid, one) for one in drawn])
    k = int(np.clip(np.argmin(curve), 1, len(grid) - 2))
    band = grid[curve - curve.min() <= regret]
    margin = 0.01 * (grid[-1] - grid[0])

    def shares(ratio: float) -> Array:
        return mixtures[0] * (1 - ratio) / (1 - grid[0]) if ratio != grid[0] else mixtures[0]

    def by_domain(low: float, high: float) -> dict[str, tuple[float, float]]:
        ends = np.stack([shares(low), shares(high)])
        ends[:, axis] = low, high
        return {d: (float(ends[:, j].min()), float(ends[:, j].max())) for j, d in enumerate(law.table.domains)}

    at_best = shares(ratio)
    at_best[axis] = ratio
    interval = np.quantile(best, [0.025, 0.975]) if len(best) else (np.nan, np.nan)
    return Optimum(
        scale=scale,
        shares={d: float(share) for d, share in zip(law.table.domains, at_best, strict=True)},
        intervals=by_domain(float(interval[0]), float(interval[1])),
        regret_bands=by_domain(float(band[0]), float(band[-1])),
        regret=regret,
        loss=float(curve.min()),
        curvature=float((curve[k - 1] - 2 * curve[k] + curve[k + 1]) / (grid[1] - grid[0]) ** 2),
        at_edge=bool(ratio < grid[0] + margin or ratio > grid[-1] - margin),
        **(_constrained(law, scale, grid, mixtures, constraint) if constraint else {}),
    )


def through(mixture: Array, domain: int, shares: Array) -> Array:
    """Return mixtures [points, K] in which one domain has these shares [points], the others keeping their proportions."""
    rest = np.delete(np.maximum(mixture, _LEAST), domain)
    return np.insert(np.outer(1 - shares, rest / rest.sum()), domain, shares, axis=1)


def minimum(grid: Array, curve: Array) -> float:
    """Return where the curve is lowest, refined by the parabola through the lowest point and its neighbours."""
    k = int(np.argmin(curve))
    if k in (0, len(grid) - 1):
        return float(grid[k])
    left, middle, right = curve[k - 1 : k + 2]
    bend = left - 2 * middle + right
    return float(grid[k] + (0.5 * (grid[1] - grid[0]) * (left - right) / bend if bend > 0 else 0.0))


def _constrained(law: Law, scale: Scale, grid: Array, mixtures: Array, constraint: Constraint) -> dict[str, Any]:
    """The critical mixture ratio of arXiv 2407.17467, with the smallest ratio tried as the base."""
    arguments = scale.arguments(mixtures)

    def last_allowed(general: Array) -> float:
        too_much = general > (1 + constraint.max_rise) * general[0]
        return float(grid[max(int(np.argmax(too_much)) - 1, 0)] if too_much.any() else grid[-1])

    drawn = [last_allowed(general) for general in law.drawn(*arguments) @ constraint.weights]
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    return {
        "constrained": last_allowed(law.predict(*arguments) @ constraint.weights),
        "constrained_interval": (float(low), float(high)),
    }


def _in_simplex(law: Law, weights: Array, scale: Scale, regret: float) -> Optimum:
    """Search all mixtures inside the shares that were tried."""
    table = law.table
    low, high = table.shares.min(0), table.shares.max(0)
    start = table.shares[np.argmin(objective_curve(law, weights, scale, table.shares))]

    def cost(x: Array) -> float:
        return float(objective_curve(law, weights, scale, x[None])[0])

    found = minimize(
        cost,
        start,
        method="SLSQP",
        bounds=list(zip(np.maximum(low, _LEAST), high, strict=True)),
        constraints=[{"type": "eq", "fun": lambda x: x.sum() - 1}],
        options={"maxiter": 300, "ftol": 1e-9},
    )
    best = found.x if found.success and cost(found.x) < cost(start) else start
    best = best / best.sum()
    loss = cost(best)
    drawn = _descend(law, weights, scale, best, low, high)
    bands = {}
    for j, domain in enumerate(table.domains):
        grid = np.unique([*np.linspace(low[j], high[j], GRID_POINTS), best[j]])
        near = grid[objective_curve(law, weights, scale, through(best, j, grid)) - loss <= regret]
        bands[domain] = (float(near.min()), float(near.max()))
    ends = np.quantile(drawn, [0.025, 0.975], axis=0) if len(drawn) else np.full((2, len(best)), np.nan)
    return Optimum(
        scale=scale,
        shares={d: float(share) for d, share in zip(table.domains, best, strict=True)},
        intervals={d: (float(ends[0, j]), float(ends[1, j])) for j, d in enumerate(table.domains)},
        regret_bands=bands,
        regret=regret,
        loss=loss,
        curvature=float("nan"),
        at_edge=False,
    )


def _descend(law: Law, weights: Array, scale: Scale, start: Array, low: Array, high: Array) -> Array:
    """Return the best mixtures [families x draws, K] of the draws, by mirror descent on the simplex from ``start``."""
    found = []
    for family in law.families:
        draws = len(family.draws[0]) if family.draws else 0
        x = np.tile(np.maximum(start, 1e-4), (draws, 1))
        for step in range(_DESCENT_STEPS if draws else 0):
            params, tokens, effective = scale.arguments(x[:, None, :])
            n, d = np.log(params / family.n0), np.log(tokens / family.d0)
            slope = sum(w * family.family.pull(p, n, d, effective)[:, 0] for w, p in zip(weights, family.draws, strict=True))
            # A repeated token adds less than one to the effective share.
            slope = np.asarray(slope) * np.exp(
                -np.maximum(x * scale.tokens / np.asarray(scale.unique) - 1, 0) / REPETITION_DECAY
            )
            slope -= (slope * x).sum(1, keepdims=True)
            size = 0.5 / (1 + step / 30) / (np.abs(slope * x).sum(1, keepdims=True) + _LEAST)
            x = np.clip(x * np.exp(np.clip(-size * slope, -1, 1)), np.maximum(low, _LEAST), high)
            x /= x.sum(1, keepdims=True)
        found.append(x)
    return np.concatenate(found)
