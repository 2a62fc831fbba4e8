"""A parabola of the objective over the ratio at each scale, as a second opinion beside the laws.

Each scale has its own parabola; the vertices, weighed by how well each is known, lie on a line over the logarithm of compute
whose slope a prior of ``MOVES`` per e-fold holds back. It needs no law of size and tokens to be true, and for the same reason
it knows nothing of repetition or of compute far from the runs: it is reported, and takes no part in the optimum.
"""

import numpy as np

from hephaestus_dag.scaling.table import Array

MOVES = 0.02


def quadratic_ratio(ratios: Array, flops: Array, objective: Array, sigma: float, at: float) -> float | None:
    """Return the best ratio at ``at`` FLOPs by the vertices of the scales; None where no scale has a minimum.

    Args:
        ratios: the varied share of each run, [n].
        flops: training compute of each run, [n].
        objective: [n].
        sigma: standard deviation of one run's objective.
        at: training compute that the ratio is asked for.
    """
    vertices: list[tuple[float, float, float]] = []  # log compute, ratio, its standard deviation
    for scale in np.unique(np.round(np.log(flops), 3)):
        rows = np.abs(np.log(flops) - scale) < 0.01
        if len(np.unique(ratios[rows])) < 3:
            continue
        columns = np.vander(ratios[rows], 3)
        bend, slope, _ = np.linalg.lstsq(columns, objective[rows], rcond=None)[0]
        if bend <= 0:
            continue
        covariance = sigma**2 * np.linalg.inv(columns.T @ columns)
        gradient = np.array([slope / (2 * bend**2), -1 / (2 * bend), 0.0])
        vertices.append((float(scale), float(-slope / (2 * bend)), float(np.sqrt(gradient @ covariance @ gradient))))
    if not vertices:
        return None
    compute, found, spread = np.array(vertices).T
    centre = compute.mean()
    design = np.column_stack([np.ones_like(compute), compute - centre]) / np.maximum(spread, 1e-6)[:, None]
    held = np.vstack([design, [0.0, 1 / MOVES]])
    level, drift = np.linalg.lstsq(held, np.append(found / np.maximum(spread, 1e-6), 0.0), rcond=None)[0]
    ratio = level + drift * (np.log(at) - centre)
    return float(np.clip(ratio, ratios.min(), ratios.max()))
