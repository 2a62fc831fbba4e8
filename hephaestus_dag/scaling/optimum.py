"""The best agent ratio at every scale, and how well it is known: intervals, regret band and backtest.

The objective is the weighted sum of the domains' losses, ``J(r) = sum_i w_i L_i(N, D, x_i(r))``, where the agent ratio r
sets all shares. Intervals come from a bootstrap around the fitted law: half the draws add Gaussian noise, half resample the
runs' residuals, always for all domains of a run at once, since a run that is lucky in one is lucky in others; each draw also
moves the centre of the prior, so that what only the prior decides is not mistaken for knowledge.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hephaestus_dag.documents import DOMAINS
from hephaestus_dag.scaling.config import FitConfig
from hephaestus_dag.scaling.law import (
    HUBER,
    PRIOR_SD,
    Array,
    DomainLaw,
    PowerLaw,
    effective_share,
    fit_domain,
    fit_power_laws,
)
from hephaestus_dag.scaling.runs import Run, usable_runs

GRID_POINTS = 401
_SIGMA_ROUNDS = 6
_HUBER_VARIANCE = 0.713  # of a standard normal variable clipped at HUBER
_RELATIVE_FLOOR = 1e-5  # noise-free tables still need a positive sigma


@dataclass(frozen=True, slots=True)
class Table:
    """The usable runs as arrays over [n] runs and [n, 3] domains."""

    params: Array
    tokens: Array
    flops: Array
    shares: Array
    effective: Array
    unique: Array
    losses: Array
    benchmark: Array | None

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Table":
        """Collect the runs; a missing unique token count means that nothing repeated."""
        tokens = np.array([run.tokens for run in runs])
        shares = np.array([[run.shares[d] for d in DOMAINS] for run in runs])
        unique = np.array([[run.unique.get(d) or np.inf for d in DOMAINS] for run in runs])
        benchmark = [run.loss_benchmark for run in runs if run.loss_benchmark is not None]
        return cls(
            params=np.array([run.params for run in runs]),
            tokens=tokens,
            flops=np.array([run.flops for run in runs]),
            shares=shares,
            effective=effective_share(shares, tokens[:, None], unique),
            unique=unique,
            losses=np.array([[run.losses[d] for d in DOMAINS] for run in runs]),
            benchmark=np.array(benchmark) if len(benchmark) == len(runs) else None,
        )

    def where(self, rows: Array) -> "Table":
        """Return the chosen rows."""
        return Table(
            *(getattr(self, name)[rows] for name in ("params", "tokens", "flops", "shares", "effective", "unique", "losses")),
            benchmark=None if self.benchmark is None else self.benchmark[rows],
        )

    @property
    def ratios(self) -> Array:
        """Agent ratios, [n], rounded so that equal ones compare equal."""
        return np.round(self.shares[:, 0], 4)

    @property
    def code_share_of_rest(self) -> float:
        """How the rest is split, averaged over the runs."""
        return float((self.shares[:, 1].sum()) / (1 - self.shares[:, 0]).sum())


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
    seed_noise, num_replicates = _seed_noise(table)
    laws = fit_domains(table, seed_noise)
    covariance = _covariance(table, laws)
    grid = np.linspace(table.ratios.min(), table.ratios.max(), GRID_POINTS)
    scales = _scales(table, config)

    def curves(candidates: Mapping[str, DomainLaw]) -> Array:
        return np.stack([objective_curve(candidates, weights, s, grid, table.code_share_of_rest) for s in scales])

    best = curves(laws)
    drawn = np.empty((config.bootstrap_draws, len(scales)))
    for draw, candidates in enumerate(_bootstrap(table, laws, covariance, config)):
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


def fit_domains(table: Table, seed_noise: Array) -> dict[str, DomainLaw]:
    """Fit each domain, weighing data and prior by the larger of seed noise and the scatter around the law itself."""
    return {d: _fit_with_noise(table, i, float(np.sqrt(seed_noise[i, i]))) for i, d in enumerate(DOMAINS)}


def _fit_with_noise(table: Table, index: int, floor: float) -> DomainLaw:
    losses = table.losses[:, index]
    floor = max(floor, _RELATIVE_FLOOR * float(losses.mean()))
    sigma = max(floor, 0.01 * float(losses.mean()))
    for _ in range(_SIGMA_ROUNDS):
        law = fit_domain(table.params, table.tokens, table.effective[:, index], losses, sigma)
        residuals = losses - law.predict(table.params, table.tokens, table.effective[:, index])
        clipped = np.clip(residuals, -HUBER * sigma, HUBER * sigma)
        degrees = max(len(losses) - law.freedom, 1.0) * _HUBER_VARIANCE
        # Huber's proposal 2, damped by nothing: the clip keeps an odd run from inflating the scale.
        previous, sigma = sigma, max(floor, float(np.sqrt((clipped**2).sum() / degrees)))
        if abs(sigma - previous) < 0.05 * previous:
            break
    return fit_domain(table.params, table.tokens, table.effective[:, index], losses, sigma)


def _seed_noise(table: Table) -> tuple[Array, int]:
    """Return the covariance [3, 3] of the losses between seeds, pooled over repeated points, and the repeats' number."""
    _, group = np.unique(np.column_stack([table.params, table.tokens, table.ratios]), axis=0, return_inverse=True)
    group = group.reshape(-1)
    deviations = table.losses - np.stack([table.losses[group == g].mean(0) for g in group])
    repeats = len(group) - int(group.max() + 1)
    return (deviations.T @ deviations / repeats if repeats else np.zeros((3, 3))), repeats


def _residuals(table: Table, laws: Mapping[str, DomainLaw]) -> Array:
    predicted = [laws[d].predict(table.params, table.tokens, table.effective[:, i]) for i, d in enumerate(DOMAINS)]
    return table.losses - np.stack(predicted, axis=1)


def _covariance(table: Table, laws: Mapping[str, DomainLaw]) -> Array:
    """Return the covariance [3, 3] of one run's losses: each law's sigma, correlated as the residuals are."""
    residuals = _residuals(table, laws)
    scale = np.sqrt((residuals**2).mean(0)) + 1e-12
    correlation = (residuals / scale).T @ (residuals / scale) / len(residuals)
    np.fill_diagonal(correlation, 1.0)
    sigma = np.array([laws[d].sigma for d in DOMAINS])
    return correlation * np.outer(sigma, sigma)


def _bootstrap(table: Table, laws: dict[str, DomainLaw], covariance: Array, config: FitConfig):
    rng = np.random.default_rng(config.seed)
    residuals = _residuals(table, laws)
    predicted = table.losses - residuals
    centred = residuals - residuals.mean(0)
    centred *= np.sqrt(np.diag(covariance)) / (centred.std(0) + 1e-12)
    for draw in range(config.bootstrap_draws):
        if draw % 2:
            noise = centred[rng.integers(len(centred), size=len(centred))]
        else:
            noise = rng.multivariate_normal(np.zeros(len(DOMAINS)), covariance, size=len(centred), method="eigh")
        losses = predicted + noise
        yield {
            d: fit_domain(
                table.params,
                table.tokens,
                table.effective[:, i],
                losses[:, i],
                laws[d].sigma,
                start=laws[d],
                prior_mean=laws[d].exponents + PRIOR_SD * rng.standard_normal(len(PRIOR_SD)),
            )
            for i, d in enumerate(DOMAINS)
        }


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
    errors = _residuals(held_out, without) @ np.array([weights[d] for d in DOMAINS])
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
