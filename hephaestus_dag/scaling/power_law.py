"""The paper's view of a sweep: at each agent ratio, on its own, a power law of loss over training compute.

It is drawn and reported for comparison. It takes no part in the optimum: extrapolating each ratio on its own multiplies the
noise of the runs by how far the target lies from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar, nnls

from hephaestus_dag.scaling.table import Array


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


def power_law_ratio(laws: Sequence[PowerLaw], flops: float) -> float | None:
    """Return the vertex of the parabola through the power laws at ``flops``, kept inside the ratios that were tried."""
    if len(laws) < 3:
        return None
    ratios = np.array([law.agent_ratio for law in laws])
    losses = np.array([float(law.predict(np.asarray(flops))) for law in laws])
    bend, slope, _ = np.polyfit(ratios, losses, 2)
    if bend <= 0:
        return float(ratios[np.argmin(losses)])
    return float(np.clip(-slope / (2 * bend), ratios.min(), ratios.max()))
