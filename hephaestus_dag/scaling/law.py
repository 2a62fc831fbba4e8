"""The law of one domain's loss, and how it is fitted.

``L(N, D, x) = E + A (N/N0)^-alpha + B (D/D0)^-beta (x~ + epsilon)^-gamma``

N are non-embedding parameters, D training tokens, x the domain's share of them, x~ that share after repeated tokens are
discounted, and epsilon what the other domains contribute. The form joins the Chinchilla law (arXiv 2203.15556) with the
share term of D-CPT (arXiv 2406.01375).

The fit is a variable projection: (E, A, B) follow by non-negative least squares for any exponents, so that only the four
exponents are searched, which is far better conditioned than searching all seven. A prior on the exponents (MAP) decides
what few runs cannot, above all when D is proportional to N. Huber's loss bounds the pull of an odd run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares, minimize_scalar, nnls

Array = np.ndarray

# Prior of log(alpha, beta, gamma, epsilon): centre and standard deviation. The centres of alpha and beta are those of the
# Chinchilla data refitted (arXiv 2404.10102); gamma = beta would mean that only a domain's own tokens count.
PRIOR_MEAN = np.log([0.35, 0.37, 0.35, 0.05])
PRIOR_SD = np.array([0.5, 0.5, 0.8, 1.0])
HUBER = 1.35
# Decay of the value of repeated tokens, in epochs (arXiv 2305.16264).
REPETITION_DECAY = 15.4

_STARTS = PRIOR_MEAN + PRIOR_SD * np.array(
    [[0, 0, 0, 0], [1, 1, 1, 0], [-1, -1, -1, 0], [1, -1, 0, 1], [-1, 1, 0, -1], [0, 0, 1.5, 1.5], [0, 0, -1.5, -1.5]]
)
_MAX_DEVIATION = 6.0
_IRLS_ROUNDS = 8


def effective_share(share: Array, tokens: Array, unique: Array) -> Array:
    """Return the share that fresh tokens of equal worth would have.

    Args:
        share: the domain's share of the training tokens.
        tokens: training tokens.
        unique: distinct tokens of the domain; infinity where nothing repeats.
    """
    epochs_beyond = np.maximum(share * tokens / unique - 1, 0)
    repeated = REPETITION_DECAY * (1 - np.exp(-epochs_beyond / REPETITION_DECAY))
    return np.where(epochs_beyond > 0, unique / tokens * (1 + repeated), share)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainLaw:
    """A fitted law; losses in bits per byte."""

    irreducible: float
    """E: the loss of an infinite model on infinite data."""
    size_scale: float
    """A: what model size costs at N0."""
    data_scale: float
    """B: what data costs at D0 and share 1 - epsilon."""
    alpha: float
    beta: float
    gamma: float
    epsilon: float
    sigma: float
    """Standard deviation of one run around the law."""
    freedom: float
    """Effective number of fitted parameters; what the prior decides counts for less than one."""
    converged: bool
    reference_params: float
    """N0."""
    reference_tokens: float
    """D0."""

    @property
    def exponents(self) -> Array:
        """log(alpha, beta, gamma, epsilon)."""
        return np.log([self.alpha, self.beta, self.gamma, self.epsilon])

    def predict(self, params: Array, tokens: Array, share: Array) -> Array:
        """Return the loss; the arguments broadcast, ``share`` is an effective share."""
        size = (params / self.reference_params) ** -self.alpha
        data = (tokens / self.reference_tokens) ** -self.beta * (share + self.epsilon) ** -self.gamma
        return self.irreducible + self.size_scale * size + self.data_scale * data


@dataclass(frozen=True, slots=True)
class _Projection:
    """The weighted residuals as a function of the four exponents, (E, A, B) projected out."""

    log_params: Array
    log_tokens: Array
    share: Array
    losses: Array
    sigma: float
    weight: Array
    prior_mean: Array

    def design(self, t: Array) -> tuple[Array, Array]:
        """Return the columns [n, 3] that E, A and B multiply, and the exponents inside their range."""
        t = np.clip(t, PRIOR_MEAN - _MAX_DEVIATION * PRIOR_SD, PRIOR_MEAN + _MAX_DEVIATION * PRIOR_SD)
        alpha, beta, gamma, epsilon = exponents = np.exp(t)
        size = np.exp(-alpha * self.log_params)
        data = np.exp(-beta * self.log_tokens - gamma * np.log(self.share + epsilon))
        return np.column_stack([np.ones_like(size), size, data]), exponents

    def solve(self, t: Array) -> tuple[Array, Array, Array]:
        columns, exponents = self.design(t)
        scale = self.weight / self.sigma
        coefficients, _ = nnls(columns * scale[:, None], self.losses * scale)
        return columns, coefficients, exponents

    def residuals(self, t: Array) -> Array:
        columns, coefficients, _ = self.solve(t)
        data = (columns @ coefficients - self.losses) * self.weight / self.sigma
        return np.concatenate([data, (t - self.prior_mean) / PRIOR_SD])

    def jacobian(self, t: Array) -> Array:
        """Kaufman's approximation: the derivative at fixed coefficients, less what the coefficients would absorb."""
        columns, coefficients, exponents = self.solve(t)
        scale = (self.weight / self.sigma)[:, None]
        basis, _ = np.linalg.qr(columns[:, coefficients > 0] * scale)
        slope = self._slope(columns, coefficients, exponents) * scale
        return np.vstack([slope - basis @ (basis.T @ slope), np.diag(1 / PRIOR_SD)])

    def _slope(self, columns: Array, coefficients: Array, exponents: Array) -> Array:
        alpha, beta, gamma, epsilon = exponents
        size, data = columns[:, 1] * coefficients[1], columns[:, 2] * coefficients[2]
        reach = self.share + epsilon
        return np.column_stack(
            [
                -alpha * self.log_params * size,
                -beta * self.log_tokens * data,
                -gamma * np.log(reach) * data,
                -gamma * epsilon / reach * data,
            ]
        )

    def cost(self, t: Array) -> float:
        """The Huber cost plus the prior, which starts are compared by."""
        columns, coefficients, _ = self.solve(t)
        z = np.abs(columns @ coefficients - self.losses) / self.sigma
        huber = np.where(z <= HUBER, z**2, 2 * HUBER * z - HUBER**2)
        return float(huber.sum() + (((t - self.prior_mean) / PRIOR_SD) ** 2).sum())


def fit_domain(
    params: Array,
    tokens: Array,
    share: Array,
    losses: Array,
    sigma: float,
    *,
    start: DomainLaw | None = None,
    prior_mean: Array = PRIOR_MEAN,
) -> DomainLaw:
    """Fit the law of one domain.

    Args:
        params: non-embedding parameters, [n].
        tokens: training tokens, [n].
        share: effective share of the domain, [n].
        losses: held-out losses in bits per byte, [n].
        sigma: standard deviation of one loss; it weighs the data against the prior.
        start: a law to start from, for speed; without it several starts are tried.
        prior_mean: centre of the prior on log(alpha, beta, gamma, epsilon).
    """
    n0 = start.reference_params if start else float(np.exp(np.log(params).mean()))
    d0 = start.reference_tokens if start else float(np.exp(np.log(tokens).mean()))
    log_params, log_tokens = np.log(params / n0), np.log(tokens / d0)
    starts = _STARTS if start is None else start.exponents[None]
    problem = _Projection(log_params, log_tokens, share, losses, sigma, np.ones_like(losses), prior_mean)
    # A bootstrap draw asks for a ratio to two digits, not for exponents to seven.
    tolerance = 1e-7 if start is None else 1e-3
    fits = [_iterate(problem, t, tolerance) for t in starts]
    problem, t, converged = min(fits, key=lambda fit: fit[0].cost(fit[1]))
    _, coefficients, exponents = problem.solve(t)
    jacobian = problem.jacobian(t)
    leverage = np.linalg.solve(jacobian.T @ jacobian, jacobian[: len(losses)].T)
    freedom = float((coefficients > 0).sum() + np.trace(jacobian[: len(losses)] @ leverage))
    e, a, b = (float(c) for c in coefficients)
    alpha, beta, gamma, epsilon = (float(v) for v in exponents)
    return DomainLaw(
        irreducible=e,
        size_scale=a,
        data_scale=b,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        epsilon=epsilon,
        sigma=sigma,
        freedom=freedom,
        converged=converged,
        reference_params=n0,
        reference_tokens=d0,
    )


def _iterate(problem: _Projection, t: Array, tolerance: float) -> tuple[_Projection, Array, bool]:
    """Minimise by iteratively reweighted least squares, each round a variable projection."""
    converged = False
    for _ in range(_IRLS_ROUNDS):
        found = least_squares(problem.residuals, t, jac=problem.jacobian, method="lm", xtol=tolerance, ftol=tolerance)  # pyright: ignore[reportArgumentType]
        t, converged = found.x, bool(found.status > 0)
        columns, coefficients, _ = problem.solve(t)
        z = np.abs(columns @ coefficients - problem.losses) / problem.sigma
        weight = np.sqrt(np.minimum(1, HUBER / np.maximum(z, HUBER)))
        change = float(np.abs(weight - problem.weight).max())
        problem = replace(problem, weight=weight)
        if change < np.sqrt(tolerance):
            break
    return problem, t, converged


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """The paper's picture: at one agent ratio, ``loss = E + A (C/C0)^-alpha`` over training compute C in FLOPs."""

    agent_ratio: float
    irreducible: float
    scale: float
    alpha: float
    reference_flops: float

    def predict(self, flops: Array) -> Array:
        """Return the loss at this much compute."""
        return self.irreducible + self.scale * (flops / self.reference_flops) ** -self.alpha


def fit_power_laws(ratios: Array, flops: Array, losses: Array) -> list[PowerLaw]:
    """Fit one power law per agent ratio, each on its own; ratios seen at fewer than three scales are left out."""
    reference = float(np.exp(np.log(flops).mean()))
    laws: list[PowerLaw] = []
    for ratio in np.unique(ratios):
        rows = ratios == ratio
        if len(np.unique(flops[rows])) < 3:
            continue
        laws.append(_fit_power_law(float(ratio), flops[rows], losses[rows], reference))
    return laws


def _fit_power_law(ratio: float, flops: Array, losses: Array, reference: float) -> PowerLaw:
    def project(log_alpha: float) -> tuple[float, Sequence[float]]:
        columns = np.column_stack([np.ones_like(flops), (flops / reference) ** -np.exp(log_alpha)])
        coefficients, error = nnls(columns, losses)
        return float(error), [float(c) for c in coefficients]

    # The error over alpha may have two valleys: a scan finds the right one, Brent's method its floor.
    scan = np.linspace(np.log(0.02), np.log(2.0), 41)
    best = int(np.argmin([project(a)[0] for a in scan]))
    bounds = (float(scan[max(best - 1, 0)]), float(scan[min(best + 1, 40)]))
    log_alpha = float(minimize_scalar(lambda a: project(a)[0], bounds=bounds, method="bounded").x)  # pyright: ignore
    irreducible, scale = project(log_alpha)[1]
    return PowerLaw(
        agent_ratio=ratio, irreducible=irreducible, scale=scale, alpha=float(np.exp(log_alpha)), reference_flops=reference
    )
