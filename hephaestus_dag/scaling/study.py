"""From runs to an answer: the law, the best mixture at each scale and at the target, and the test on what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hephaestus_dag.scaling.backtest import Backtest, backtest
from hephaestus_dag.scaling.config import FitConfig
from hephaestus_dag.scaling.law import Law, Progress, fit_law
from hephaestus_dag.scaling.optimum import Constraint, Optimum, Scale, best_mixture
from hephaestus_dag.scaling.power_law import PowerLaw, fit_power_laws, power_law_ratio
from hephaestus_dag.scaling.quadratic import quadratic_ratio
from hephaestus_dag.scaling.runs import Run
from hephaestus_dag.scaling.table import Array, Table, usable

MAX_SCALES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Everything that was found."""

    law: Law
    objective: dict[str, float]
    weights: Array
    """The objective as a vector over the losses, [M]."""
    optima: list[Optimum]
    """One per scale of the runs, ascending in compute; the target last."""
    backtest: Backtest | None
    power_laws: list[PowerLaw]
    """One per ratio, where the runs lie on a line."""
    power_law_ratio: float | None
    """Best ratio at the target by these, for comparison only."""
    quadratic_ratio: float | None
    """Best ratio at the target by a parabola per scale, for comparison only."""

    @property
    def target(self) -> Optimum:
        """The optimum at the target."""
        return self.optima[-1]

    @property
    def sigma(self) -> float:
        """Standard deviation of one run's objective around the law."""
        return float(np.sqrt(self.weights @ self.law.covariance @ self.weights))

    @property
    def seed_sigma(self) -> float | None:
        """The same between seeds; None without repeated seeds."""
        return float(np.sqrt(self.weights @ self.law.seed_covariance @ self.weights)) if self.law.repeats else None

    @property
    def axis(self) -> str | None:
        """The domain whose share was varied; None where the mixtures do not lie on a line."""
        axis = self.law.table.axis
        return None if axis is None else self.law.table.domains[axis]


def study(runs: Sequence[Run], config: FitConfig, progress: Progress | None = None) -> Study:
    """Fit the law to the usable runs and find the best mixture at each of their scales and at the target.

    Raises:
        ValueError: the runs cannot carry a law, or the objective names a loss that they lack.
    """
    table = usable(runs)
    weights = loss_weights(table, config.objective, "objective")
    constraint = None
    if config.general_loss:
        general = loss_weights(table, config.general_loss.weights, "general_loss.weights")
        constraint = Constraint(weights=general, max_rise=config.general_loss.max_rise)
    law = fit_law(table, config.bootstrap_draws, config.seed, progress=progress)
    optima = [best_mixture(law, weights, scale, constraint) for scale in _scales(table, config)]
    sigma = float(np.sqrt(weights @ law.covariance @ weights))
    laws, quadratic, flops = [], None, optima[-1].scale.flops
    measured = np.isfinite(table.losses[:, weights > 0]).all(1)
    if table.axis is not None and measured.any():
        ratios, objective = table.ratios, np.nan_to_num(table.losses) @ weights
        laws = fit_power_laws(ratios[measured], table.flops[measured], objective[measured])
        quadratic = quadratic_ratio(ratios[measured], table.flops[measured], objective[measured], sigma, flops)
    return Study(
        law=law,
        objective={name: float(weight) for name, weight in zip(table.names, weights, strict=True)},
        weights=weights,
        optima=optima,
        backtest=backtest(law, weights),
        power_laws=laws,
        power_law_ratio=power_law_ratio(laws, flops),
        quadratic_ratio=quadratic,
    )


def loss_weights(table: Table, weights: Mapping[str, float], field: str) -> Array:
    """Return weights as a vector over the table's losses. Raises ValueError when one is not among them."""
    if unknown := sorted(set(weights) - set(table.names)):
        raise ValueError(
            f"{field}: the runs have no loss {' or '.join(unknown)}; choose from {', '.join(table.names)}, or add the column"
            f" loss_{unknown[0]}"
        )
    return np.array([float(weights.get(name, 0.0)) for name in table.names])


def _scales(table: Table, config: FitConfig) -> list[Scale]:
    """Return the scales of the runs, ascending in compute, and the target; of many checkpoints, each size's last."""
    points = np.unique(np.column_stack([table.params, table.tokens]), axis=0)
    if len(points) > MAX_SCALES:
        points = np.array([[size, table.tokens[table.params == size].max()] for size in np.unique(table.params)])
    scales = []
    for params, tokens in sorted(points.tolist(), key=lambda point: point[0] * point[1]):
        unique = table.unique[(table.params == params) & (table.tokens == tokens)].max(0)
        scales.append(Scale(params=params, tokens=tokens, unique=tuple(unique.tolist())))
    if config.target is None:
        last = max(scales, key=lambda scale: (scale.params, scale.tokens))
        return [*scales, Scale(params=last.params, tokens=last.tokens, unique=last.unique, is_target=True)]
    given = config.target.unique_tokens or {}
    if unknown := sorted(set(given) - set(table.domains)):
        raise ValueError(f"target.unique_tokens: no domain {unknown[0]}; the runs have {', '.join(table.domains)}")
    unique = tuple(float(given.get(d, np.inf)) for d in table.domains)
    return [*scales, Scale(params=config.target.params, tokens=config.target.tokens, unique=unique, is_target=True)]
