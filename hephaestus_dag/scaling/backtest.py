"""How well the law predicts runs that it has not seen: the largest size, or, with fewer than three sizes, unseen mixtures."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import spearmanr

from hephaestus_dag.scaling.law import Law, fit_law
from hephaestus_dag.scaling.optimum import Scale, best_mixture
from hephaestus_dag.scaling.table import Array, Table

FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What was left out, and how far off its prediction is."""

    left_out: str
    """In words."""
    extrapolates: bool
    """Whether a larger size than all others was predicted."""
    rows: int
    mean_error: float
    """Mean absolute error of the objective over the rows left out."""
    rank_correlation: float
    """Spearman's, between predicted and measured objective."""
    regret: float
    """What the mixture predicted best among those left out costs above the truly best of them."""
    ratio: float | None
    """Best ratio at the largest scale by all runs; None where mixtures do not lie on a line."""
    ratio_without: float | None
    """The same by the runs that were kept."""


def backtest(law: Law, weights: Array) -> Backtest | None:
    """Leave the largest size out and predict it; with fewer than three sizes, leave each fifth of the mixtures out in turn.

    Returns None when too few runs with every loss of the objective are left to fit.
    """
    counts = weights > 0
    table = law.table.where(np.all(np.isfinite(law.table.losses[:, counts]), axis=1))
    # Other losses may be missing in all the runs that are kept.
    names = tuple(name for name, counted in zip(table.names, counts, strict=True) if counted)
    table = replace(table, names=names, losses=table.losses[:, counts])
    if not len(table.params):
        return None
    sizes = np.unique(table.params)
    if len(sizes) >= 3:
        return _largest_left_out(law, table, weights)
    weights = weights[counts]
    _, mixture = np.unique(np.round(table.shares, 6), axis=0, return_inverse=True)
    mixture = mixture.reshape(-1)
    order = np.random.default_rng(0).permutation(mixture.max() + 1)
    if len(order) < FOLDS:
        return None
    predicted = np.empty(len(table.params))
    for fold in range(FOLDS):
        out = order[mixture] % FOLDS == fold
        predicted[out] = _predict(fit_law(table.where(~out), 0), table.where(out)) @ weights
    largest = table.params == sizes[-1]
    last = np.flatnonzero(largest & (table.tokens >= 0.999 * table.tokens[largest].max()))
    return _compare(
        f"each fifth of the {len(order)} mixtures in turn", False, predicted[last], table.where(last), weights, None, None
    )


def _largest_left_out(law: Law, table: Table, weights: Array) -> Backtest | None:
    largest = table.params.max()
    rest, out = table.where(table.params < largest), table.where(table.params == largest)
    if len(rest.params) < 4:
        return None
    without = fit_law(rest, 0)
    ratio = ratio_without = None
    if table.axis is not None:
        scale = Scale(params=float(largest), tokens=float(out.tokens.max()), unique=tuple(out.unique.max(0).tolist()))
        axis = table.domains[table.axis]
        ratio = best_mixture(law, weights, scale).shares[axis]
        # The ratios sought are those of all runs, also where the largest size tried fewer.
        ratio_without = best_mixture(replace(without, table=law.table), weights[weights > 0], scale).shares[axis]
    name = f"the {len(out.params)} runs of {largest:.3g} parameters"
    weights = weights[weights > 0]
    return _compare(name, True, _predict(without, out) @ weights, out, weights, ratio, ratio_without)


def _predict(law: Law, table: Table) -> Array:
    return law.predict(table.params, table.tokens, table.effective)


def _compare(
    name: str,
    extrapolates: bool,
    predicted: Array,
    out: Table,
    weights: Array,
    ratio: float | None,
    ratio_without: float | None,
) -> Backtest:
    measured = out.losses @ weights
    last = out.tokens >= 0.999 * out.tokens.max()
    chosen = measured[last][np.argmin(predicted[last])]
    return Backtest(
        left_out=name,
        extrapolates=extrapolates,
        rows=len(measured),
        mean_error=float(np.abs(predicted - measured).mean()),
        rank_correlation=rank_correlation(predicted, measured),
        regret=float(chosen - measured[last].min()),
        ratio=ratio,
        ratio_without=ratio_without,
    )


def rank_correlation(predicted: Array, measured: Array) -> float:
    """Return Spearman's rank correlation, NaN where either never varies."""
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(measured) == 0:
        return float("nan")
    return float(np.asarray(spearmanr(predicted, measured).statistic))  # pyright: ignore[reportAttributeAccessIssue]
