"""The law of all losses: every family fitted to every loss, with bootstrap draws.

A draw adds noise to what a family predicts and fits again: even draws add Gaussian noise, odd ones resample the runs'
residuals, always for all losses of a run at once, since a run that is lucky in one is lucky in others. Each draw also moves
the centre of the prior, so that what only the prior decides is not mistaken for knowledge. Draws of all families together
count noise, what the runs leave open, and how far the forms disagree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hephaestus_dag.scaling.families import EXPONENTIAL, JOINT, SCALED, Family
from hephaestus_dag.scaling.fitting import FittedLoss, fit_loss, points_of, refit
from hephaestus_dag.scaling.table import Array, Table, seed_noise

FAMILIES = (JOINT, SCALED, EXPONENTIAL)
MAX_SCATTER = 1.25  # of the best family's; a form that misses the runs by more has nothing to say about others
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedFamily:
    """One family fitted to M losses."""

    family: Family
    losses: tuple[FittedLoss, ...]
    draws: tuple[Array, ...]
    """Per loss: parameters [draws, P]."""
    n0: float
    """Reference size N0, in parameters."""
    d0: float
    """Reference tokens D0."""

    def predict(self, params: Array, tokens: Array, shares: Array) -> Array:
        """Return losses [rows, M] at sizes [rows], tokens [rows] and effective shares [rows, K]."""
        n, d = np.log(params / self.n0), np.log(tokens / self.d0)
        return np.stack([self.family.curve(loss.p, n, d, shares) for loss in self.losses], axis=-1)

    def drawn(self, params: Array, tokens: Array, shares: Array) -> Array:
        """Return losses [draws, rows, M], one set for each bootstrap draw."""
        if not self.draws:
            return np.empty((0, shares.shape[-2], len(self.losses)))
        n, d = np.log(params / self.n0), np.log(tokens / self.d0)
        return np.stack([self.family.curve(p, n, d, shares) for p in self.draws], axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """The fitted families over one table of runs."""

    table: Table
    families: tuple[FittedFamily, ...]
    """Those whose form fits the runs; the law is their mean."""
    scatter: dict[str, float]
    """By family, fitted or left out: what one run scatters around it, in units of the best family's."""
    covariance: Array
    """Of one run's losses around the law, [M, M]."""
    seed_covariance: Array
    """Of one run's losses between seeds, [M, M]."""
    repeats: int
    """Repeated seeds that the latter was measured with."""

    @property
    def one_scale(self) -> bool:
        """Whether all runs have one size: then levels at another size are the prior's, not the runs'."""
        return len(np.unique(self.table.params)) == 1

    def predict(self, params: Array, tokens: Array, shares: Array) -> Array:
        """Return losses [rows, M], the mean of the families; shares are effective shares."""
        return np.mean([family.predict(params, tokens, shares) for family in self.families], axis=0)

    def drawn(self, params: Array, tokens: Array, shares: Array) -> Array:
        """Return losses [families x draws, rows, M]."""
        return np.concatenate([family.drawn(params, tokens, shares) for family in self.families])


def fit_law(
    table: Table, draws: int = 200, seed: int = 0, families: Sequence[Family] = FAMILIES, progress: Progress | None = None
) -> Law:
    """Fit every family to every loss of the table, and again to ``draws`` bootstrap samples (0: none)."""
    noise, repeats = seed_noise(table)
    if len(np.unique(table.params)) == 1:
        # With one size the scaled law is the joint one without its constants, and says nothing of its own.
        families = [family for family in families if not family.scaled] or families
    n0, d0 = (float(np.exp(np.log(values).mean())) for values in (table.params, table.tokens))
    rng = np.random.default_rng(seed)
    fitted: list[FittedFamily] = []
    residuals: list[Array] = []
    for number, family in enumerate(families):
        losses, rest = [], np.full_like(table.losses, np.nan)
        for i, name in enumerate(table.names):
            own = table.domains.index(name) if name in table.domains else None
            points, rows = points_of(table, i, n0, d0)
            loss = fit_loss(family, points, own, float(np.sqrt(noise[i, i])), table.axis is not None)
            rest[rows, i] = points.losses - family.curve(loss.p, points.n, points.d, points.shares)
            losses.append(loss)
            if progress:
                progress(number * len(table.names) + i + 1, len(families) * len(table.names))
        sampled = _bootstrap(table, losses, rest, n0, d0, draws, rng) if draws else []
        fitted.append(FittedFamily(family=family, losses=tuple(losses), draws=tuple(sampled), n0=n0, d0=d0))
        residuals.append(rest)
    sigmas = np.array([[loss.sigma for loss in family.losses] for family in fitted])
    scatter = np.exp(np.log(sigmas).mean(1))
    scatter /= scatter.min()
    best = int(scatter.argmin())
    return Law(
        table=table,
        families=tuple(family for family, times in zip(fitted, scatter, strict=True) if times <= MAX_SCATTER),
        scatter={family.family.name: float(times) for family, times in zip(fitted, scatter, strict=True)},
        covariance=_correlation(residuals[best] / table.discount[:, None]) * np.outer(sigmas[best], sigmas[best]),
        seed_covariance=noise,
        repeats=repeats,
    )


def _correlation(residuals: Array) -> Array:
    """Return the correlation [M, M] of residuals [n, M]; rows where one was not measured do not count for it."""
    z = np.nan_to_num(residuals / (np.sqrt(np.nanmean(residuals**2, axis=0)) + 1e-12))
    measured = np.isfinite(residuals).astype(float)
    correlation = z.T @ z / np.maximum(measured.T @ measured, 1)
    # Where losses were measured in different runs the matrix may not be one of correlations: the nearest simple one is.
    values, vectors = np.linalg.eigh(correlation)
    correlation = (vectors * np.maximum(values, 1e-9)) @ vectors.T
    scale = np.sqrt(np.diag(correlation))
    return correlation / np.outer(scale, scale)


def _bootstrap(
    table: Table, losses: Sequence[FittedLoss], residuals: Array, n0: float, d0: float, draws: int, rng: np.random.Generator
) -> list[Array]:
    """Return for each loss the parameters [draws, P] fitted to the prediction plus fresh noise."""
    rows, discount = len(table.params), table.discount[:, None]
    standard = residuals / discount
    standard = np.nan_to_num((standard - np.nanmean(standard, axis=0)) / (np.nanstd(standard, axis=0) + 1e-12))
    correlation = _correlation(residuals / discount)
    gaussian = rng.multivariate_normal(np.zeros(len(losses)), correlation, size=(draws, rows), method="eigh")
    resampled = standard[rng.integers(rows, size=(draws, rows))]
    noise = np.where((np.arange(draws) % 2 == 0)[:, None, None], gaussian, resampled)
    sampled = []
    for i, loss in enumerate(losses):
        points, measured = points_of(table, i, n0, d0)
        predicted = points.losses - residuals[measured, i]
        fresh = predicted + loss.sigma * points.discount * noise[:, measured, i]
        means = loss.p + loss.spread * rng.standard_normal((draws, len(loss.p)))
        sampled.append(refit(loss, points, fresh, means))
    return sampled
