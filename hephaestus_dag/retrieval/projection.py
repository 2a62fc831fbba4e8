"""Where retrieved pages lie between the seed corpus and general text: the paper's picture, and the figure behind it."""

from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.retrieval.vectors import Vectors

MOST_POINTS, FEWEST_POINTS = 1_500, 200
MEASURED_PAGES = 1_500
MEASURED_CANDIDATES = 10_000
NEAREST = 5
BOOTSTRAP_DRAWS = 1_000
CANDIDATES_PER_BLOCK = 2_048
COLORS = {"other web": "#b8bcc4", "general text": "#6b9e78", "retrieved": "#d9822b", "seed": "#2b6cb0"}


def projection_figure(
    candidates: Vectors, pages: Vectors, retrieved: np.ndarray, general: Vectors, path: Path, seed: int = 0
) -> dict[str, float]:
    """Write a PNG with the first two principal components of seed, retrieved, other web and general documents.

    ``retrieved`` holds ascending rows of ``pages``. As many points are drawn of each group as the smallest has, between 200
    and 1,500, so that no group decides the axes by its size; a smaller group is drawn whole.
    Returns the share of variance that each axis carries.
    """
    from matplotlib.figure import Figure

    sizes = [len(pages) - len(retrieved), len(general), len(retrieved), len(candidates)]
    number = int(np.clip(min(size for size in sizes if size), FEWEST_POINTS, MOST_POINTS))
    generator = np.random.default_rng(seed)
    groups = {
        "other web": pages.take(draw_others(len(pages), retrieved, number, generator)),
        "general text": general.take(draw(len(general), number, generator)),
        "retrieved": pages.take(retrieved[draw(len(retrieved), number, generator)]),
        "seed": candidates.take(draw(len(candidates), number, generator)),
    }
    points = np.concatenate(list(groups.values()))
    centre = points.mean(axis=0)
    _, strengths, axes = np.linalg.svd(points - centre, full_matrices=False)
    shares = strengths**2 / max(float((strengths**2).sum()), 1e-12)
    shares = np.append(shares, 0.0)  # a single axis, where there is but one point

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    plot = figure.subplots()
    for name, vectors in groups.items():
        if len(vectors):
            x, y = (*((vectors - centre) @ axes[:2].T).T, np.zeros(len(vectors)))[:2]
            plot.scatter(x, y, s=5, color=COLORS[name], alpha=0.6, linewidths=0, label=f"{name} ({len(vectors):,})")
    plot.set_xlabel(f"first principal component ({shares[0]:.0%} of variance)")
    plot.set_ylabel(f"second ({shares[1]:.0%})")
    plot.legend(frameon=False, markerscale=3)
    figure.savefig(path, dpi=80, metadata={"Software": None})
    return {"first": float(shares[0]), "second": float(shares[1])}


def distances(
    candidates: Vectors, pages: Vectors, retrieved: np.ndarray, general: Vectors, seed: int = 0
) -> dict[str, float | int | None]:
    """Return how near retrieved pages, the rest of the web and general text lie to the seed corpus.

    The nearness of a document is its mean cosine with the 5 nearest of at most 10,000 candidates; so it means the same for
    encoders that do not normalise. A group's figure is the mean over at most 1,500 of its documents. ``difference`` is
    retrieved minus general, between ``difference_low`` and ``difference_high`` (95 % bootstrap interval over documents).

    Keys: retrieved, rest, general (None for an empty group), difference and its bounds (None when either group is empty),
    and the numbers of documents: retrieved_documents, rest_documents, general_documents, candidates.
    """
    generator = np.random.default_rng(seed)
    near = candidates.take(draw(len(candidates), MEASURED_CANDIDATES, generator))
    groups = {
        "retrieved": pages.take(retrieved[draw(len(retrieved), MEASURED_PAGES, generator)]),
        "rest": pages.take(draw_others(len(pages), retrieved, MEASURED_PAGES, generator)),
        "general": general.take(draw(len(general), MEASURED_PAGES, generator)),
    }
    nearness = {name: nearness_to(vectors, near) for name, vectors in groups.items()}
    figures: dict[str, Any] = {name: float(values.mean()) if len(values) else None for name, values in nearness.items()}
    figures |= {f"{name}_documents": len(values) for name, values in nearness.items()}
    figures |= {"candidates": len(near), "difference": None, "difference_low": None, "difference_high": None}
    if len(nearness["retrieved"]) and len(nearness["general"]):
        figures["difference"] = figures["retrieved"] - figures["general"]
        draws = bootstrap_means(nearness["retrieved"], generator) - bootstrap_means(nearness["general"], generator)
        figures["difference_low"], figures["difference_high"] = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    return figures


def nearness_to(vectors: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return for each vector its mean cosine with the nearest candidates, shape (len(vectors),)."""
    number = min(NEAREST, len(candidates))
    best = np.full((len(vectors), number), -np.inf, dtype=np.float32)
    vectors, candidates = unit(vectors), unit(candidates)
    for start in range(0, len(candidates), CANDIDATES_PER_BLOCK):
        scores = np.concatenate([best, vectors @ candidates[start : start + CANDIDATES_PER_BLOCK].T], axis=1)
        best = np.partition(scores, -number, axis=1)[:, -number:]
    return best.mean(axis=1, dtype=np.float64)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors scaled to length 1; a zero vector stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def bootstrap_means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return means of resamples with replacement."""
    return values[generator.integers(len(values), size=(BOOTSTRAP_DRAWS, len(values)))].mean(axis=1)


def draw(size: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return ``count`` rows of ``size`` (all, when there are no more), ascending."""
    return np.sort(generator.choice(size, count, replace=False)) if size > count else np.arange(size)


def draw_others(size: int, taken: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return ``count`` rows of ``size`` that are not in ``taken`` (ascending), without listing them all."""
    ranks = draw(size - len(taken), count, generator)
    # Before the i-th taken row lie taken[i] - i others, so the other of rank r stands behind all taken rows with no more.
    return ranks + np.searchsorted(taken - np.arange(len(taken)), ranks, side="right")
