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
from hephaestus_dag.scaling.table import Array, effective_share, usable

ONE_SCALE = (
    "all runs that the law was fitted to have one scale ({scale}): the order of mixtures is predicted, "
    "levels do not extrapolate to another scale; add runs at a second {lacking} for levels"
)


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
    note: str | None
    """Why levels do not extrapolate; None if they do."""
    law: Law

    @property
    def mean(self) -> Array:
        """The weighted mean of each row's predicted losses, [rows]."""
        return self.losses @ self.weights


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
    note = None
    if law.one_scale and not np.allclose(params, table.params[0], rtol=0.01):
        note = ONE_SCALE.format(scale=f"{table.params[0]:.3g} parameters", lacking="size")
    elif law.one_scale and np.ptp(table.tokens) == 0 and not np.allclose(tokens, table.tokens[0], rtol=0.01):
        scale = f"{table.params[0]:.3g} parameters, {table.tokens[0]:.3g} tokens"
        note = ONE_SCALE.format(scale=scale, lacking="token budget")
    return Prediction(
        runs=list(test),
        names=table.names,
        losses=losses,
        low=losses - spread,
        high=losses + spread,
        weights=weights,
        note=note,
        law=law,
    )


def scores(found: Prediction) -> dict[str, Any]:
    """Return how good a prediction was: by loss and for their mean; empty where no losses are known.

    ``mean_absolute_error`` is None where levels do not extrapolate. ``regret`` is what the mixture predicted best costs above
    the truly best one, among the runs of the largest size with most tokens, in units of the losses.
    """
    measured = np.array([[run.losses.get(name, np.nan) for name in found.names] for run in found.runs])
    by_loss = {}
    for i, name in enumerate(found.names):
        rows = np.isfinite(measured[:, i])
        if rows.any():
            by_loss[name] = _score(found.losses[rows, i], measured[rows, i], found.note is None)
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
        scale = np.array([(run.params, run.tokens) for run in found.runs])[rows]
        largest = (scale == max(map(tuple, scale.tolist()))).all(1)
        chosen = int(np.argmin(predicted[largest]))
        result["mean"] = _score(predicted, true, found.note is None) | {
            "regret": float(true[largest][chosen] - true[largest].min()),
            "chosen_row": int(np.flatnonzero(rows)[np.flatnonzero(largest)[chosen]]) + 1,
        }
    return result


def _score(predicted: Array, measured: Array, levels: bool) -> dict[str, Any]:
    correlation = rank_correlation(predicted, measured)
    return {
        "rows": len(measured),
        "mean_absolute_error": float(np.abs(predicted - measured).mean()) if levels else None,
        "rank_correlation": correlation if np.isfinite(correlation) else None,
    }
