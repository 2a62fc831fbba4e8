"""The families of laws: how one loss depends on model size N, training tokens D and the mixture x.

=============  ============================================================  =======================================
joint          ``E + A n^-alpha + B d^-beta g(x)``                            data and its mixture add to size
scaled         ``(E + A n^-alpha + B d^-beta) g(x)``                          the mixture acts on everything
exponential    ``E + A n^-alpha + B d^-beta exp(sum_j t_j x_j)``              data mixing law (arXiv 2403.16952)
=============  ============================================================  =======================================

with ``n = N/N0``, ``d = D/D0`` and ``g(x) = (sum_j T_j x_j^rho + epsilon)^-gamma``, where x_j are effective shares (repeated
tokens discounted). The first two join the Chinchilla law (arXiv 2203.15556) with the share term of D-CPT (arXiv 2406.01375).
T_j is what a token of domain j teaches about the loss (a loss's own domain: 1), so a domain may have a share and no loss, or
a loss no share. rho below 1 means that a little of many domains teaches more than much of one.

Every parameter has a prior, so that what runs cannot tell is not made up: priors decide between E and A when all runs have one
size, and T_j of domains that never move on their own. Parameters are logarithms, save t.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hephaestus_dag.scaling.table import Array

E, A, ALPHA, B, BETA, GAMMA, RHO, EPSILON, TRANSFER = range(9)
NAMES = ("E", "A", "alpha", "B", "beta", "gamma", "rho", "epsilon")
EXPONENT_T = 5  # where the slopes t of the exponential family begin
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A form of the law; its parameters are one vector."""

    name: str
    scaled: bool = False
    exponential: bool = False

    @property
    def formula(self) -> str:
        """The law in one line."""
        share = "exp(sum_j t_j x_j)" if self.exponential else "(sum_j T_j x_j^rho + epsilon)^-gamma"
        law = "E + A n^-alpha + B d^-beta"
        return f"({law}) {share}" if self.scaled else f"{law} {share}"

    def prior(self, losses: Array, num_domains: int, own: int | None, on_line: bool) -> tuple[Array, Array]:
        """Return mean and standard deviation of the parameters' prior.

        Args:
            losses: of the runs, for the size of E, A and B.
            num_domains: K.
            own: the domain that the loss is measured on, if it has a share.
            on_line: whether one share alone tells the mixtures apart.
        """
        low, middle = np.quantile(losses, [0.05, 0.5])
        head = [
            (np.log(0.6 * low), 0.5),  # E: most of the lowest loss does not yield to scale
            (np.log(0.15 * middle), 1.0),  # A and B: the rest, within a factor of three
            (np.log(0.35), 0.5),  # alpha and beta: the Chinchilla data refitted (arXiv 2404.10102)
            (np.log(0.25 * middle), 1.0),
            (np.log(0.37), 0.5),
        ]
        if self.exponential:
            # t: none, save that a domain lowers its own loss; data move it freely.
            tail = [(-1.0 if domain == own else 0.0, 2.0) for domain in range(num_domains)]
        else:
            # T: from nothing (0.0002) to over half of what the domain itself teaches, 1; about a third where none is its own.
            # On a line runs cannot tell it from epsilon, and repeated tokens must not bring in what nobody saw: nearly nothing.
            others = (-1.0, 1.5) if own is None else (-6.0, 2.0) if on_line else (-4.5, 2.0)
            tail = [
                (np.log(0.5), 0.5),  # gamma: a share matters about as much as tokens do, or a little more
                # rho: 0.7 is what predicts larger models in the public tables of three projects. Small models gain more from
                # diversity, so that many small runs would pull it too low. On a line it only bends the curve.
                (np.log(0.7), 0.25 if on_line else 1e-3),
                (np.log(0.02), 1.5),  # epsilon: a domain without tokens is learned as if it had 0.1 % to 40 %
                *((0.0, 1e-3) if domain == own else others for domain in range(num_domains)),
            ]
        mean, spread = np.array(head + tail).T
        return mean, spread

    def starts(self, mean: Array, spread: Array) -> Array:
        """Return the points [S, P] that the fit starts from: the prior's centre and places around it."""
        steps = np.zeros((5, len(mean)))
        for row, (alpha, beta, last) in enumerate(
            [(0.7, -0.7, 0.7), (-0.7, 0.7, -0.7), (0.7, 0.7, 0), (-0.7, -0.7, 0)], start=1
        ):
            steps[row, [ALPHA, BETA]] = alpha, beta
            if not self.exponential:
                steps[row, [GAMMA, EPSILON]] = last
        return mean + spread * steps

    def curve(self, p: Array, n: Array, d: Array, shares: Array) -> Array:
        """Return losses [..., rows] for parameters [..., P], log N/N0 and log D/D0 [rows] and effective shares [rows, K]."""
        return self._parts(p, n, d, shares)[0]

    def slopes(self, p: Array, n: Array, d: Array, shares: Array) -> tuple[Array, Array]:
        """Return losses [..., rows] and their derivatives [..., rows, P] by the parameters."""
        value, irreducible, size, data, moved, sums = self._parts(p, n, d, shares)
        by = np.empty((*value.shape, p.shape[-1]))
        by[..., E], by[..., A], by[..., B] = irreducible, size, data
        by[..., ALPHA] = -np.exp(p[..., ALPHA, None]) * n * size
        by[..., BETA] = -np.exp(p[..., BETA, None]) * d * data
        if self.exponential:
            by[..., EXPONENT_T:] = moved[..., None] * shares
            return value, by
        taught, reach = sums
        pull = -np.exp(p[..., GAMMA, None]) * moved
        logarithms = np.log(np.maximum(shares, _TINY))
        by[..., GAMMA] = pull * np.log(reach)
        by[..., RHO] = pull * np.exp(p[..., RHO, None]) * (taught * logarithms).sum(-1) / reach
        by[..., EPSILON] = pull * np.exp(p[..., EPSILON, None]) / reach
        by[..., TRANSFER:] = (pull / reach)[..., None] * taught
        return value, by

    def pull(self, p: Array, n: Array, d: Array, shares: Array) -> Array:
        """Return the derivatives [..., rows, K] of the losses by the effective shares."""
        _, _, _, _, moved, (taught, reach) = self._parts(p, n, d, shares)
        if self.exponential:
            return moved[..., None] * p[..., None, EXPONENT_T:]
        rise = np.exp(p[..., RHO, None, None]) * taught / np.maximum(shares, _TINY) / reach[..., None]
        return -np.exp(p[..., GAMMA, None, None]) * moved[..., None] * rise

    def _parts(self, p: Array, n: Array, d: Array, shares: Array) -> tuple[Any, ...]:
        """Return the loss, its three terms, the part that the mixture multiplies, and (what each domain teaches, their sum)."""
        size = np.exp(p[..., A, None] - np.exp(p[..., ALPHA, None]) * n)
        data = np.exp(p[..., B, None] - np.exp(p[..., BETA, None]) * d)
        irreducible = np.broadcast_to(np.exp(p[..., E, None]), size.shape)
        if self.exponential:
            taught, reach = shares, shares
            factor = np.exp(np.clip((p[..., None, EXPONENT_T:] * shares).sum(-1), -30, 30))
        else:
            rho = np.exp(p[..., RHO])[..., None, None]
            logarithms = np.log(np.maximum(shares, _TINY))
            taught = np.where(shares > 0, np.exp(rho * logarithms + p[..., None, TRANSFER:]), 0.0)
            reach = taught.sum(-1) + np.exp(p[..., EPSILON, None])
            factor = np.exp(-np.exp(p[..., GAMMA, None]) * np.log(reach))
        data = data * factor
        if self.scaled:
            irreducible, size = irreducible * factor, size * factor
        value = irreducible + size + data
        return value, irreducible, size, data, value if self.scaled else data, (taught, reach)

    def named(self, p: Array, domains: tuple[str, ...]) -> dict[str, float]:
        """Return the parameters by name, as they stand in the formula."""
        if self.exponential:
            slopes = {f"t[{domain}]": float(t) for domain, t in zip(domains, p[EXPONENT_T:], strict=True)}
            return {name: float(np.exp(v)) for name, v in zip(NAMES, p[:EXPONENT_T], strict=False)} | slopes
        taught = {f"T[{domain}]": float(np.exp(t)) for domain, t in zip(domains, p[TRANSFER:], strict=True)}
        return {name: float(np.exp(v)) for name, v in zip(NAMES, p[:TRANSFER], strict=True)} | taught


JOINT = Family(name="joint")
SCALED = Family(name="scaled", scaled=True)
EXPONENTIAL = Family(name="exponential", exponential=True)
