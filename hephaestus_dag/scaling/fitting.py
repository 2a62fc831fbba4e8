"""Fitting one loss: the most probable parameters under Huber's loss, in units of one run's noise.

The sum of ``rho((predicted - measured) / sigma)`` and ``((p - mean) / spread)^2`` of the prior is minimised from several
starts. For each, the three scales (E, A, B), in which the law is linear, follow by non-negative least squares (variable
projection), so that the search begins in the valley; then all parameters move together, for all starts, or all draws of a
bootstrap, at once, and the best start is polished. sigma is at least the noise between seeds, more where runs scatter more
around the law.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares, nnls

from hephaestus_dag.scaling.families import A, B, E, Family
from hephaestus_dag.scaling.table import Array, Table

HUBER = 1.35
_HUBER_VARIANCE = 0.713  # of a standard normal variable clipped at HUBER
_RELATIVE_FLOOR = 1e-5  # tables without noise still need a positive sigma
_SIGMA_ROUNDS = 8
_DRAW_ROUNDS = 200  # where runs say little, a draw walks far along a narrow valley
_TOLERANCE = 1e-3  # of the cost, in squared standard deviations
_START_ROUNDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """The rows that one loss was measured in."""

    n: Array
    """log N/N0, [rows]"""
    d: Array
    """log D/D0, [rows]"""
    shares: Array
    """effective shares, [rows, K]"""
    losses: Array
    """[rows], or [draws, rows]"""
    discount: Array
    """standard deviation of each row in units of a run's noise, [rows]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLoss:
    """The law of one loss in one family."""

    family: Family
    p: Array
    mean: Array
    """Of the prior."""
    spread: Array
    """Of the prior."""
    sigma: float
    """Standard deviation of one run around the law."""
    freedom: float
    """Effective number of fitted parameters; what the prior decides counts for less than one."""
    converged: bool


def fit_loss(family: Family, points: Points, own: int | None, floor: float, on_line: bool = False) -> FittedLoss:
    """Fit one loss.

    Args:
        family: the form of the law.
        points: the measured rows.
        own: the domain that the loss is measured on, if it has a share.
        floor: standard deviation between seeds, or 0 where it is not known.
        on_line: whether one share alone tells the mixtures apart.
    """
    losses = points.losses
    mean, spread = family.prior(losses, points.shares.shape[1], own, on_line)
    floor = max(floor, _RELATIVE_FLOOR * float(losses.mean()))
    sigma = max(floor, 0.01 * float(losses.mean()))
    starts = np.stack([_projected(family, points, p) for p in family.starts(mean, spread)])
    fits = _minimise(family, points, starts, mean, spread, sigma, _START_ROUNDS)
    p, converged = fits[int(np.argmin(_cost(family, points, fits, mean, spread, sigma)))], False
    freedom = 0.0
    for _ in range(_SIGMA_ROUNDS):
        residuals = (losses - family.curve(p, points.n, points.d, points.shares)) / points.discount
        freedom = _freedom(family, points, p, spread, sigma)
        degrees = max(len(losses) - freedom, 1.0) * _HUBER_VARIANCE
        # Huber's proposal 2: the clip keeps an odd run from inflating the scale.
        clipped = np.clip(residuals, -HUBER * sigma, HUBER * sigma)
        previous, sigma = sigma, max(floor, float(np.sqrt((clipped**2).sum() / degrees)))
        p, converged = _polish(family, points, p, mean, spread, sigma)
        if abs(sigma - previous) < 0.02 * previous:
            break
    return FittedLoss(family=family, p=p, mean=mean, spread=spread, sigma=sigma, freedom=freedom, converged=converged)


def _projected(family: Family, points: Points, p: Array) -> Array:
    """Return the parameters with E, A and B as non-negative least squares has them, at the given exponents."""
    _, irreducible, size, data, _, _ = family._parts(p, points.n, points.d, points.shares)  # pyright: ignore[reportPrivateUsage]
    columns = np.column_stack([irreducible, size, data])
    factors, _ = nnls(columns / points.discount[:, None], points.losses / points.discount)
    p = p.copy()
    p[[E, A, B]] += np.log(np.maximum(factors, 1e-3))
    return p


def _minimise(family: Family, points: Points, p: Array, means: Array, spread: Array, sigma: float, rounds: int) -> Array:
    """Walk from all points [S, P] at once by Levenberg and Marquardt's steps, and return where the cost is lower [S, P]."""
    p, means = p.copy(), np.broadcast_to(means, p.shape)
    many = np.ndim(points.losses) > 1
    damping = np.full(len(p), 1e-3)
    converged = np.zeros(len(p), dtype=bool)
    index = np.arange(p.shape[-1])
    for _ in range(rounds):
        left = np.flatnonzero(~converged)
        if not len(left):
            break
        rows = replace(points, losses=points.losses[left]) if many else points
        cost = _cost(family, rows, p[left], means[left], spread, sigma)
        matrix, gradient = _normal(family, rows, p[left], means[left], spread, sigma)
        matrix[:, index, index] *= 1 + damping[left][:, None]
        step = np.linalg.solve(matrix, -gradient[..., None])[..., 0]
        trial = p[left] + np.clip(step, -1.0, 1.0)
        better = _cost(family, rows, trial, means[left], spread, sigma) < cost
        converged[left] = (-(gradient * step).sum(-1) < _TOLERANCE) & (damping[left] < 1)
        p[left[better]] = trial[better]
        damping[left] = np.where(better, damping[left] / 5, np.minimum(damping[left] * 8, 1e6))
    return p


def _polish(family: Family, points: Points, p: Array, mean: Array, spread: Array, sigma: float) -> tuple[Array, bool]:
    """Minimise the same cost from one point to the end, as SciPy does; and say whether it converged."""
    scale = sigma * points.discount

    def bent(p: Array) -> tuple[Array, Array, Array]:
        """Return residuals whose squares are Huber's cost, their slope by the plain ones, and those of the law."""
        value, by = family.slopes(p, points.n, points.d, points.shares)
        z = (value - points.losses) / scale
        size = np.maximum(np.abs(z), HUBER)
        root = np.sqrt(2 * HUBER * size - HUBER**2)
        far = np.abs(z) > HUBER
        return np.where(far, np.sign(z) * root, z), np.where(far, HUBER / root, 1.0), by / scale[:, None]

    def residuals(p: Array) -> Array:
        return np.concatenate([bent(p)[0], (p - mean) / spread])

    def jacobian(p: Array) -> Array:
        _, slope, by = bent(p)
        return np.vstack([by * slope[:, None], np.diag(1 / spread)])

    found = least_squares(residuals, p, jac=jacobian, method="lm", xtol=1e-9, ftol=1e-9, max_nfev=2000)  # pyright: ignore[reportArgumentType]
    return found.x, bool(found.status > 0)


def _cost(family: Family, points: Points, p: Array, mean: Array, spread: Array, sigma: float) -> Array:
    """Return Huber's cost plus the prior's, [...] for parameters [..., P]; mean may be [..., P] too."""
    z = np.abs(family.curve(p, points.n, points.d, points.shares) - points.losses) / (sigma * points.discount)
    huber = np.where(z <= HUBER, z**2, 2 * HUBER * z - HUBER**2)
    return huber.sum(-1) + (((p - mean) / spread) ** 2).sum(-1)


def _normal(family: Family, points: Points, p: Array, mean: Array, spread: Array, sigma: float) -> tuple[Array, Array]:
    """Return the Gauss-Newton matrix [..., P, P] and half the gradient [..., P] of the cost."""
    value, by = family.slopes(p, points.n, points.d, points.shares)
    scale = sigma * points.discount
    z = (value - points.losses) / scale
    weight = np.minimum(1, HUBER / np.maximum(np.abs(z), HUBER))
    by = by / scale[:, None]
    matrix = np.swapaxes(by * weight[..., None], -1, -2) @ by
    gradient = ((weight * z)[..., None, :] @ by)[..., 0, :]
    index = np.arange(p.shape[-1])
    matrix[..., index, index] += spread**-2
    return matrix, gradient + (p - mean) / spread**2


def _freedom(family: Family, points: Points, p: Array, spread: Array, sigma: float) -> float:
    matrix, _ = _normal(family, points, p, p, spread, sigma)
    return float(len(p) - np.trace(np.linalg.solve(matrix, np.diag(spread**-2))))


def refit(fitted: FittedLoss, points: Points, losses: Array, means: Array) -> Array:
    """Fit other losses of the same rows, starting from a fit, all at once.

    Args:
        fitted: the fit to start from; its sigma is kept.
        points: the rows.
        losses: [draws, rows].
        means: centres of the prior, [draws, P].

    Returns:
        parameters [draws, P].
    """
    starts = np.broadcast_to(fitted.p, means.shape)
    points = replace(points, losses=losses)
    return _minimise(fitted.family, points, starts, means, fitted.spread, fitted.sigma, _DRAW_ROUNDS)


def points_of(table: Table, loss: int, n0: float, d0: float) -> tuple[Points, Array]:
    """Return the rows in which a loss was measured, and which they are."""
    rows = np.isfinite(table.losses[:, loss])
    chosen = table.where(rows)
    points = Points(
        n=np.log(chosen.params / n0),
        d=np.log(chosen.tokens / d0),
        shares=chosen.effective,
        losses=chosen.losses[:, loss],
        discount=table.discount[rows],
    )
    return points, rows
