"""A small encoder for tests: every word has a direction that its hash decides, and a text is the sum of its words."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.retrieval.vectors import Vectors, open_vectors, write_vectors

DIMENSION = 24


class WordEncoder:
    """Words as directions. ``name`` and ``dimension`` make different encoders; queries may be told from pages by a prefix."""

    def __init__(self, name: str = "words", dimension: int = DIMENSION) -> None:
        self.identity: dict[str, Any] = {"model": name}
        self.dimension = dimension
        self.calls: list[tuple[bool, int]] = []

    def encode(
        self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None, query: bool = False
    ) -> np.ndarray:
        self.calls.append((query, len(texts)))
        vectors = np.stack([sum(map(self.direction, text.lower().split()), np.zeros(self.dimension)) for text in texts])
        if progress:
            progress(len(texts), len(texts))
        return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float32)

    def direction(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest())
        return np.random.default_rng(seed).normal(size=self.dimension)


def vectors_folder(folder: Path, vectors: np.ndarray, shards: int = 1, encoder: dict[str, Any] | None = None) -> Vectors:
    """Write rows as a folder of vectors whose ids are their row numbers."""
    names = [f"d{row:05d}" for row in range(len(vectors))]
    bounds = np.linspace(0, len(vectors), shards + 1, dtype=int)
    blocks = [(names[a:b], vectors[a:b]) for a, b in pairwise(bounds)]
    write_vectors(folder, blocks, encoder or {"model": "rows"}, vectors.shape[1])
    return open_vectors(folder)
