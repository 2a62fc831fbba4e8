"""All domains fitted together with their noise: the runs as arrays, the scatter of one run, and bootstrap draws.

A bootstrap draw adds noise to what the law predicts and fits again: even draws add Gaussian noise, odd ones resample the
runs' residuals, always for all domains of a run at once, since a run that is lucky in one is lucky in others. Each draw also
moves the centre of the prior, so that what only the prior decides is not mistaken for knowledge.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hephaestus_dag.documents import DOMAINS
from hephaestus_dag.scaling.law import HUBER, PRIOR_SD, Array, DomainLaw, effective_share, fit_domain
from hephaestus_dag.scaling.runs import Run

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
        # Huber's proposal 2: the clip keeps an odd run from inflating the scale.
        previous, sigma = sigma, max(floor, float(np.sqrt((clipped**2).sum() / degrees)))
        if abs(sigma - previous) < 0.05 * previous:
            break
    return fit_domain(table.params, table.tokens, table.effective[:, index], losses, sigma)


def seed_noise_of(table: Table) -> tuple[Array, int]:
    """Return the covariance [3, 3] of the losses between seeds, pooled over repeated points, and the repeats' number."""
    _, group = np.unique(np.column_stack([table.params, table.tokens, table.ratios]), axis=0, return_inverse=True)
    group = group.reshape(-1)
    deviations = table.losses - np.stack([table.losses[group == g].mean(0) for g in group])
    repeats = len(group) - int(group.max() + 1)
    return (deviations.T @ deviations / repeats if repeats else np.zeros((3, 3))), repeats


def residuals_of(table: Table, laws: Mapping[str, DomainLaw]) -> Array:
    """Return measured minus predicted losses, [n, 3]."""
    predicted = [laws[d].predict(table.params, table.tokens, table.effective[:, i]) for i, d in enumerate(DOMAINS)]
    return table.losses - np.stack(predicted, axis=1)


def noise_covariance(table: Table, laws: Mapping[str, DomainLaw]) -> Array:
    """Return the covariance [3, 3] of one run's losses: each law's sigma, correlated as the residuals are."""
    residuals = residuals_of(table, laws)
    scale = np.sqrt((residuals**2).mean(0)) + 1e-12
    correlation = (residuals / scale).T @ (residuals / scale) / len(residuals)
    np.fill_diagonal(correlation, 1.0)
    sigma = np.array([laws[d].sigma for d in DOMAINS])
    return correlation * np.outer(sigma, sigma)


def bootstrap(
    table: Table, laws: Mapping[str, DomainLaw], covariance: Array, draws: int, seed: int
) -> Iterator[dict[str, DomainLaw]]:
    """Yield ``draws`` sets of laws, each fitted to the prediction plus fresh noise."""
    rng = np.random.default_rng(seed)
    residuals = residuals_of(table, laws)
    predicted = table.losses - residuals
    centred = residuals - residuals.mean(0)
    centred *= np.sqrt(np.diag(covariance)) / (centred.std(0) + 1e-12)
    for draw in range(draws):
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
