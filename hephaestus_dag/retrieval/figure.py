"""Draw seed, retrieved and other web documents in two dimensions."""

from pathlib import Path

import numpy as np

POINTS_PER_GROUP = 1_500


def projection_figure(
    seed_vectors: np.ndarray, web_vectors: np.ndarray, retrieved: np.ndarray, path: Path, seed: int = 0
) -> dict[str, float]:
    """Write a PNG with the first two principal components of the drawn points.

    ``retrieved`` is a boolean per web vector. At most 1,500 points of each group are drawn, chosen by ``seed``.
    Returns the share of variance that each axis carries.
    """
    from matplotlib.figure import Figure

    generator = np.random.default_rng(seed)
    groups = {
        "other web": (sample(web_vectors, np.flatnonzero(~retrieved), generator), "#b8bcc4"),
        "retrieved": (sample(web_vectors, np.flatnonzero(retrieved), generator), "#d9822b"),
        "seed": (sample(seed_vectors, np.arange(len(seed_vectors)), generator), "#2b6cb0"),
    }
    points = np.concatenate([vectors for vectors, _ in groups.values()])
    centre = points.mean(axis=0)
    _, strengths, axes = np.linalg.svd(points - centre, full_matrices=False)
    shares = strengths**2 / max(float((strengths**2).sum()), 1e-12)

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    plot = figure.subplots()
    for name, (vectors, color) in groups.items():
        x, y = ((vectors - centre) @ axes[:2].T).T
        plot.scatter(x, y, s=5, color=color, alpha=0.6, linewidths=0, label=f"{name} ({len(vectors):,})")
    plot.set_xlabel(f"first principal component ({shares[0]:.0%} of variance)")
    plot.set_ylabel(f"second ({shares[1]:.0%})")
    plot.legend(frameon=False, markerscale=3)
    figure.savefig(path, dpi=80, metadata={"Software": None})
    return {"first": float(shares[0]), "second": float(shares[1])}


def sample(vectors: np.ndarray, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the vectors of at most ``POINTS_PER_GROUP`` of the rows, in their order."""
    if len(rows) > POINTS_PER_GROUP:
        rows = np.sort(generator.choice(rows, POINTS_PER_GROUP, replace=False))
    return vectors[rows]
