"""Predict the losses of runs from the runs of another table, and score the prediction where their losses are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from hephaestus_dag.scaling.backtest import rank_correlation
from hephaestus_dag.scaling.law import Law, Progress, fit_law
from hephaestus_dag.scaling.runs import Run
from hephaestus_dag.scaling.study import loss_weights
from hephaestus_dag.scaling.table import Array, Table, effective_share, usable

ONE_SCALE = (
    "all runs that the law was fitted to have one scale ({scale}): the order of mixtures is predicted, "
    "levels do not extrapolate to another scale, where {off} of {rows} rows lie; add runs at a second {lacking} for levels"
)
ONE_PATH = (
    "in the runs that the law was fitted to, {path}: what tokens do alone is the prior's, not theirs, and the levels of "
    "{off} of {rows} rows lean on it; add runs of one size with a second token budget"
)
_SAME = 0.01  # in the logarithm: sizes or token budgets that differ by less are one
_NEAR = 0.05  # and from the line of the runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predicted losses of [rows] runs, M losses."""

    runs: list[Run]
    names: tuple[str, ...]
    losses: Array
    """[rows, M]"""
    low: Array
    """[rows, M]: 95 % of new runs lie between low and high, their own noise included."""
    high: Array
    weights: Array
    """[M], of the mean."""
    levels: Array
    """[rows]: whether the level is predicted, not the order alone."""
    note: str | None
    """Why levels do not extrapolate to some rows; None if they do to all."""
    caution: str | None
    """What the levels lean on beside the runs; None if on nothing."""
    law: Law

    @property
    def mean(self) -> Array:
        """The weighted mean of each row's predicted losses, [rows]."""
        return self.losses @ self.weights

    @property
    def scales(self) -> Array:
        """A number for each row's size and token budget, [rows], ascending: only rows of one scale compete."""
        size, budget = (_steps([getattr(run, name) for run in self.runs]) for name in ("params", "tokens"))
        return np.unique(np.column_stack([size, budget]), axis=0, return_inverse=True)[1].reshape(-1)

    @property
    def ranks(self) -> Array:
        """The rank of each row among the rows of its scale, [rows]; 1 is best."""
        ranks = np.empty(len(self.runs), dtype=int)
        for scale in np.unique(self.scales):
            rows = self.scales == scale
            ranks[rows] = np.argsort(np.argsort(self.mean[rows], kind="stable")) + 1
        return ranks


def predict(
    train: Sequence[Run],
    test: Sequence[Run],
    objective: dict[str, float] | None = None,
    draws: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> Prediction:
    """Fit the law to some runs and predict others.

    Args:
        train: runs with losses.
        test: runs whose losses are predicted; their own losses, if any, are not looked at.
        objective: weights of the mean; None: all losses alike.
        draws: bootstrap draws of each family behind the intervals.
        seed: of the bootstrap.
        progress: called with (losses fitted, losses to fit).

    Raises:
        ValueError: the training runs cannot carry a law, or the test runs have other domains.
    """
    table = usable(train)
    known, asked = set(table.domains), {d for run in test for d, share in run.shares.items() if share > 0}
    if unknown := sorted(asked - known):
        raise ValueError(
            f"the runs to predict have a share of {', '.join(unknown)}, which no training run has; "
            f"the training table has {', '.join(table.domains)}"
        )
    weights = np.full(len(table.names), 1 / len(table.names))
    if objective:
        weights = loss_weights(table, objective, "objective")
    law = fit_law(table, draws, seed, progress=progress)
    params, tokens = (np.array([getattr(run, name) for run in test]) for name in ("params", "tokens"))
    shares = np.array([[run.shares.get(d, 0.0) for d in table.domains] for run in test])
    unique = np.array([[run.unique.get(d) or np.inf for d in table.domains] for run in test])
    effective = effective_share(shares, tokens[:, None], unique)
    drawn = law.drawn(params, tokens, effective)
    sigma = np.sqrt(np.diag(law.covariance))
    fitted = law.families[0].losses
    degrees = np.isfinite(table.losses).sum(0) - np.array([loss.freedom for loss in fitted])
    width = student.ppf(0.975, np.maximum(degrees, 1.0))
    spread = width * np.sqrt(drawn.var(0) + sigma**2) if len(drawn) else np.full((len(test), len(table.names)), np.nan)
    losses = law.predict(params, tokens, effective)
    levels, note, caution = _levels(table, params, tokens)
    return Prediction(
        runs=list(test),
        names=table.names,
        losses=losses,
        low=losses - spread,
        high=losses + spread,
        weights=weights,
        levels=levels,
        note=note,
        caution=caution,
        law=law,
    )


def _levels(table: Table, params: Array, tokens: Array) -> tuple[Array, str | None, str | None]:
    """Return for which rows a level is predicted [rows], why not for the others, and what the levels lean on."""
    n, d = np.log(table.params), np.log(table.tokens)
    other_size, other_budget = np.abs(np.log(params) - n[0]) > _SAME, np.abs(np.log(tokens) - d[0]) > _SAME
    one_size, one_budget = np.ptp(n) < _SAME, np.ptp(d) < _SAME
    if one_size:
        off = other_size | (other_budget & one_budget)
        scale, lacking = f"{table.params[0]:.3g} parameters", "size"
        if not other_size.any():
            scale, lacking = f"{scale}, {table.tokens[0]:.3g} tokens", "token budget"
        note = ONE_SCALE.format(scale=scale, lacking=lacking, off=off.sum(), rows=len(off))
        return ~off, note if off.any() else None, None
    everywhere = np.ones(len(params), dtype=bool)
    centre = np.array([n.mean(), d.mean()])
    across = np.linalg.svd(np.column_stack([n, d]) - centre, full_matrices=False)[2][1]
    off = np.abs((np.column_stack([np.log(params), np.log(tokens)]) - centre) @ across) > _NEAR
    if np.abs((np.column_stack([n, d]) - centre) @ across).max() > _NEAR or not off.any():
        return everywhere, None, None
    path = f"all have one token budget ({table.tokens[0]:.3g})" if one_budget else "tokens grow in step with size"
    return everywhere, None, ONE_PATH.format(path=path, off=off.sum(), rows=len(off))


def _steps(values: Sequence[float]) -> Array:
    """Number values in ascending order; neighbours that are one size or budget share a number."""
    logs = np.log(values)
    order = np.argsort(logs, kind="stable")
    steps = np.empty(len(logs), dtype=int)
    steps[order] = np.cumsum(np.diff(logs[order], prepend=logs[order[:1]]) > _SAME)
    return steps


def scores(found: Prediction) -> dict[str, Any]:
    """Return how good a prediction was: by loss and for their mean; empty where no losses are known.

    ``mean_absolute_error`` counts the rows whose level is predicted, None without any. ``rank_correlation`` is over all rows,
    ``rank_correlation_within_scales`` its mean over the scales (size and token budget) of the rows, each counting by its
    rows: a larger scale has lower losses whatever its mixture. ``regret`` is what the mixture predicted best costs above the
    truly best one, among the runs of the largest size with most tokens, in units of the losses.
    """
    scales = found.scales
    measured = np.array([[run.losses.get(name, np.nan) for name in found.names] for run in found.runs])
    by_loss = {}
    for i, name in enumerate(found.names):
        rows = np.isfinite(measured[:, i])
        if rows.any():
            by_loss[name] = _score(found.losses[rows, i], measured[rows, i], found.levels[rows], scales[rows])
    if not by_loss:
        return {}
    present = np.array([name in by_loss for name in found.names])
    weights = np.where(present, found.weights, 0.0)
    result: dict[str, Any] = {"by_loss": by_loss}
    if weights.sum() <= 0:
        return result
    weights = weights / weights.sum()
    rows = np.isfinite(measured[:, weights > 0]).all(1)
    if rows.any():
        true, predicted = np.nan_to_num(measured[rows]) @ weights, found.losses[rows] @ weights
        largest = scales[rows] == scales[rows].max()
        chosen = int(np.argmin(predicted[largest]))
        result["mean"] = _score(predicted, true, found.levels[rows], scales[rows]) | {
            "regret": float(true[largest][chosen] - true[largest].min()),
            "chosen_row": int(np.flatnonzero(rows)[np.flatnonzero(largest)[chosen]]) + 1,
        }
    return result


def _score(predicted: Array, measured: Array, levels: Array, scales: Array) -> dict[str, Any]:
    correlation = rank_correlation(predicted, measured)
    each = [
        (rank_correlation(predicted[rows], measured[rows]), rows.sum()) for rows in (scales == one for one in np.unique(scales))
    ]
    each = [(one, count) for one, count in each if np.isfinite(one)]
    within = float(sum(one * count for one, count in each) / sum(count for _, count in each)) if each else None
    return {
        "rows": len(measured),
        "mean_absolute_error": float(np.abs(predicted - measured)[levels].mean()) if levels.any() else None,
        "rank_correlation": correlation if np.isfinite(correlation) else None,
        "rank_correlation_within_scales": within,
    }
