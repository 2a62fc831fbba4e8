"""What a score means: the scores of random pairs of query and web page.

An encoder's scores have a scale of their own (a cosine of .4 is much for one and little for another). Most random pairs have
nothing to do with each other, so their distribution says how much a score is worth: a threshold at its 99 % quantile means
"nearer than 99 % of random pairs", for cosine and dot product alike.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hephaestus_dag.retrieval.vectors import Vectors

RANDOM_PAIRS = 100_000
PAIRS_PER_READ = 8_192
FILE = "calibration.json"
# Quantiles that are stored: every .001, and every .00001 from .99 on, where the matches lie.
LEVELS = np.unique(np.concatenate([np.arange(0, 991) / 1_000, np.arange(99_000, 100_001) / 100_000]))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The distribution of the scores of random pairs."""

    pairs: int
    """Random pairs that were scored."""
    mean: float
    quantile: float
    """The share of random pairs that a match must exceed."""
    threshold: float
    """The score at that quantile: a float32 value. A match scores above it."""
    scores: np.ndarray
    """float32: the quantiles at ``LEVELS``."""

    def percentile(self, scores: np.ndarray) -> np.ndarray:
        """Return the share of random pairs that score below each score, between 0 and 1; float32, of the same shape."""
        return np.interp(scores, self.scores, LEVELS).astype(np.float32)

    def write(self, folder: Path) -> None:
        """Write ``calibration.json``."""
        content = {
            "pairs": self.pairs,
            "mean": self.mean,
            "quantile": self.quantile,
            "threshold": self.threshold,
            "levels": LEVELS.tolist(),
            "scores": self.scores.astype(float).tolist(),
        }
        (folder / FILE).write_text(json.dumps(content) + "\n")


def open_calibration(folder: Path) -> Calibration:
    """Return the calibration of a folder of retrieved documents."""
    content = json.loads((folder / FILE).read_text())
    scores = np.asarray(content["scores"], dtype=np.float32)
    if content["levels"] != LEVELS.tolist() or len(scores) != len(LEVELS):
        raise ValueError(f"{folder / FILE} holds other quantiles than this version reads: retrieve again")
    return Calibration(content["pairs"], content["mean"], content["quantile"], content["threshold"], scores)


def calibrate(queries: np.ndarray, pages: Vectors, quantile: float, seed: int = 0) -> Calibration:
    """Score random pairs of queries (Q, d) and pages: 100,000 drawn by ``seed``, or all when there are no more.

    Raises ValueError when there are no pages.
    """
    if not len(pages):
        raise ValueError(f"{pages.folder} has no vectors: the web corpus is empty, so there is nothing to retrieve from")
    scores = np.sort(np.concatenate(list(pair_scores(queries, pages, seed))))
    stored = np.quantile(scores, LEVELS).astype(np.float32)
    threshold = float(np.float32(np.quantile(scores, quantile)))
    return Calibration(len(scores), float(scores.mean(dtype=np.float64)), quantile, threshold, stored)


def pair_scores(queries: np.ndarray, pages: Vectors, seed: int) -> Iterator[np.ndarray]:
    """Yield scores of random pairs; pages are read in the order they lie on disk."""
    if len(queries) * len(pages) <= RANDOM_PAIRS:
        yield from ((block @ queries.T).ravel() for _, block in pages.blocks())
        return
    generator = np.random.default_rng(seed)
    query = generator.integers(len(queries), size=RANDOM_PAIRS)
    row = np.sort(generator.integers(len(pages), size=RANDOM_PAIRS))
    for start in range(0, RANDOM_PAIRS, PAIRS_PER_READ):
        part = slice(start, start + PAIRS_PER_READ)
        yield np.einsum("ij,ij->i", queries[query[part]], pages.take(row[part]))
