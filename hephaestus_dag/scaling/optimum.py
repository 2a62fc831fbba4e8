"""The best agent ratio at every scale, and how well it is known: intervals, regret band and backtest.

The objective is the weighted sum of the domains' losses, ``J(r) = sum_i w_i L_i(N, D, x_i(r))``, where the agent ratio r
sets all shares. Intervals take the form of the law as true: they count noise and what the prior leaves open, not a wrong form,
which only the backtest can show.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hephaestus_dag.documents import DOMAINS
from hephaestus_dag.scaling.config import FitConfig
from hephaestus_dag.scaling.law import Array, DomainLaw, PowerLaw, effective_share, fit_power_laws
from hephaestus_dag.scaling.noise import Table, bootstrap, fit_domains, noise_covariance, residuals_of, seed_noise_of
from hephaestus_dag.scaling.runs import Run, usable_runs

GRID_POINTS = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A model size and token budget at which the best ratio is asked for."""

    params: float
    tokens: float
    unique: tuple[float, ...]
    is_target: bool = False

    @property
    def flops(self) -> float:
        """Training compute, 6 N D."""
        return 6 * self.params * self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The best ratio at one scale."""

    scale: Scale
    ratio: float
    interval: tuple[float, float]
    """95 % bootstrap interval of the ratio, inside the ratios that were tried."""
    regret_band: tuple[float, float]
    """Ratios that cost at most two standard deviations of one run's objective."""
    loss: float
    curvature: float
    """Second derivative of the objective at the ratio; positive at a true minimum."""
    at_edge: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """The largest scale left out of the fit and predicted from the others."""

    params: float
    mean_error: float
    """Mean absolute error of the objective over the runs left out, bits per byte."""
    ratio: float
    """Best ratio at that scale by all runs."""
    ratio_without: float
    """Best ratio at that scale by the other runs only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """Everything that the fit found."""

    domains: dict[str, DomainLaw]
    objective: dict[str, float]
    code_share_of_rest: float
    table: Table
    grid: Array
    """Agent ratios, ascending, over the range that was tried."""
    optima: list[Optimum]
    """One per scale of the runs, ascending; the target last."""
    sigma: float
    """Standard deviation of one run's objective."""
    seed_sigma: float | None
    """The same from repeated seeds alone; None without any."""
    num_replicates: int
    backtest: Backtest | None
    power_laws: list[PowerLaw]
    power_law_metric: str
    power_law_ratio: float | None
    """Best ratio at the target by the power laws per ratio, for comparison only."""
    bootstrap_draws: int

    @property
    def target(self) -> Optimum:
        """The optimum at the target."""
        return self.optima[-1]

    def curve(self, scale: Scale) -> Array:
        """Return the objective over ``grid``."""
        return objective_curve(self.domains, self.objective, scale, self.grid, self.code_share_of_rest)


def fit_law(runs: Sequence[Run], config: FitConfig, progress: Callable[[int, int], None] | None = None) -> Law:
    """Fit the law to the usable runs and find the best ratio at each of their scales and at the target.

    Raises:
        ValueError: the runs cannot carry a law; see :func:`~hephaestus_dag.scaling.runs.usable_runs`.
    """
    table = Table.of(usable_runs(runs))
    weights = {d: float(config.objective.get(d, 0)) for d in DOMAINS}
    vector = np.array(list(weights.values()))
    seed_noise, num_replicates = seed_noise_of(table)
    laws = fit_domains(table, seed_noise)
    covariance = noise_covariance(table, laws)
    grid = np.linspace(table.ratios.min(), table.ratios.max(), GRID_POINTS)
    scales = _scales(table, config)

    def curves(candidates: Mapping[str, DomainLaw]) -> Array:
        return np.stack([objective_curve(candidates, weights, s, grid, table.code_share_of_rest) for s in scales])

    best = curves(laws)
    drawn = np.empty((config.bootstrap_draws, len(scales)))
    for draw, candidates in enumerate(bootstrap(table, laws, covariance, config.bootstrap_draws, config.seed)):
        drawn[draw] = [minimum(grid, curve) for curve in curves(candidates)]
        if progress:
            progress(draw + 1, config.bootstrap_draws)
    sigma = float(np.sqrt(vector @ covariance @ vector))
    optima = [_optimum(s, grid, best[i], drawn[:, i], sigma) for i, s in enumerate(scales)]
    metric = "objective" if table.benchmark is None else "benchmark"
    power_laws = fit_power_laws(
        table.ratios, table.flops, table.losses @ vector if table.benchmark is None else table.benchmark
    )
    return Law(
        domains=laws,
        objective=weights,
        code_share_of_rest=table.code_share_of_rest,
        table=table,
        grid=grid,
        optima=optima,
        sigma=sigma,
        seed_sigma=float(np.sqrt(vector @ seed_noise @ vector)) if num_replicates else None,
        num_replicates=num_replicates,
        backtest=_backtest(table, laws, weights, seed_noise, grid),
        power_laws=power_laws,
        power_law_metric=metric,
        power_law_ratio=_power_law_ratio(power_laws, scales[-1].flops),
        bootstrap_draws=config.bootstrap_draws,
    )


def objective_curve(
    laws: Mapping[str, DomainLaw], weights: Mapping[str, float], scale: Scale, grid: Array, code_share_of_rest: float
) -> Array:
    """Return the objective at each agent ratio of ``grid``, bits per byte."""
    code = (1 - grid) * code_share_of_rest
    shares = np.stack([grid, code, 1 - grid - code])
    tokens = np.asarray(scale.tokens)
    total = np.zeros_like(grid)
    for domain, share, unique in zip(DOMAINS, shares, scale.unique, strict=True):
        effective = effective_share(np.maximum(share, 0), tokens, np.asarray(unique))
        total += weights[domain] * laws[domain].predict(np.asarray(scale.params), tokens, effective)
    return total


def minimum(grid: Array, curve: Array) -> float:
    """Return where the curve is lowest, refined by the parabola through the lowest point and its neighbours."""
    k = int(np.argmin(curve))
    if k in (0, len(grid) - 1):
        return float(grid[k])
    left, middle, right = curve[k - 1 : k + 2]
    bend = left - 2 * middle + right
    step = grid[1] - grid[0]
    return float(grid[k] + (0.5 * step * (left - right) / bend if bend > 0 else 0.0))


def _scales(table: Table, config: FitConfig) -> list[Scale]:
    scales: list[Scale] = []
    for params, tokens in np.unique(np.column_stack([table.params, table.tokens]), axis=0):
        unique = table.unique[(table.params == params) & (table.tokens == tokens)].max(0)
        scales.append(Scale(params=float(params), tokens=float(tokens), unique=tuple(float(u) for u in unique)))
    if config.target is None:
        last = scales[-1]
        return [*scales, Scale(params=last.params, tokens=last.tokens, unique=last.unique, is_target=True)]
    available = config.target.unique_tokens or {}
    unique = tuple(float(available.get(d, np.inf)) for d in DOMAINS)
    return [*scales, Scale(params=config.target.params, tokens=config.target.tokens, unique=unique, is_target=True)]


def _optimum(scale: Scale, grid: Array, curve: Array, drawn: Array, sigma: float) -> Optimum:
    ratio = minimum(grid, curve)
    k = int(np.clip(np.argmin(curve), 1, len(grid) - 2))
    band = grid[curve - curve.min() <= 2 * sigma]
    low, high = np.quantile(drawn, [0.025, 0.975])
    margin = 0.01 * (grid[-1] - grid[0])
    return Optimum(
        scale=scale,
        ratio=ratio,
        interval=(float(low), float(high)),
        regret_band=(float(band[0]), float(band[-1])),
        loss=float(curve.min()),
        curvature=float((curve[k - 1] - 2 * curve[k] + curve[k + 1]) / (grid[1] - grid[0]) ** 2),
        at_edge=bool(ratio < grid[0] + margin or ratio > grid[-1] - margin),
    )


def _backtest(
    table: Table, laws: Mapping[str, DomainLaw], weights: Mapping[str, float], seed_noise: Array, grid: Array
) -> Backtest | None:
    largest = table.params.max()
    held_out, rest = table.where(table.params == largest), table.where(table.params < largest)
    if len(np.unique(rest.params)) < 2:
        return None
    without = fit_domains(rest, seed_noise)
    errors = residuals_of(held_out, without) @ np.array([weights[d] for d in DOMAINS])
    scale = Scale(
        params=float(largest), tokens=float(held_out.tokens.max()), unique=tuple(float(u) for u in held_out.unique.max(0))
    )
    split = table.code_share_of_rest
    return Backtest(
        params=float(largest),
        mean_error=float(np.abs(errors).mean()),
        ratio=minimum(grid, objective_curve(laws, weights, scale, grid, split)),
        ratio_without=minimum(grid, objective_curve(without, weights, scale, grid, split)),
    )


def _power_law_ratio(laws: Sequence[PowerLaw], flops: float) -> float | None:
    """Return the vertex of the parabola through the power laws at ``flops``, kept inside the ratios that were tried."""
    if len(laws) < 3:
        return None
    ratios = np.array([law.agent_ratio for law in laws])
    losses = np.array([float(law.predict(np.asarray(flops))) for law in laws])
    bend, slope, _ = np.polyfit(ratios, losses, 2)
    if bend <= 0:
        return float(ratios[np.argmin(losses)])
    return float(np.clip(-slope / (2 * bend), ratios.min(), ratios.max()))
