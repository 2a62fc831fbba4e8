"""Documents as sets of hashed word n-grams (shingles): their MinHash bands, and their exact Jaccard similarity.

Bands find pairs that are probably alike: two documents of Jaccard similarity J agree in one band of r rows with probability
J**r (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO

import numpy as np
import rensa

from hephaestus_dag.curation.ngrams import Words

# The arrays of one chunk stay in the processor's cache.
_CHARACTERS_AT_ONCE = 100_000
_SEED = 42
_MULTIPLIERS = np.random.Generator(np.random.PCG64(5)).integers(1, 2**63, 64, dtype=np.uint64) | np.uint64(1)


@dataclass(frozen=True, slots=True)
class Shingles:
    """The hashed n-grams of several texts, one text after the other, with repetitions."""

    hashes: np.ndarray
    """uint64."""
    offsets: np.ndarray
    """uint64, one longer than the texts: text ``i`` has ``hashes[offsets[i] : offsets[i + 1]]``."""

    @classmethod
    def of(cls, texts: Sequence[str], n_gram: int) -> "Shingles":
        """Shingle texts; one with fewer than ``n_gram`` words has no shingles."""
        words = Words.of(texts)
        at, hashes = words.n_grams(n_gram)
        return cls(hashes, np.searchsorted(words.owner[at], np.arange(len(texts) + 1)).astype(np.uint64))

    def sets(self) -> Iterator[np.ndarray]:
        """Yield the different hashes of each text, ascending."""
        for first, last in pairwise(self.offsets.tolist()):
            hashes = np.sort(self.hashes[first:last])
            yield hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])] if last > first else hashes

    def bands(self, num_bands: int, rows: int) -> np.ndarray:
        """Return 64-bit hashes of MinHash bands, of shape (texts, num_bands); those of a text without shingles mean nothing.

        Two texts of similarity J have an equal band with probability ``1 - (1 - J**rows)**num_bands``.
        """
        make = rensa.RMinHash.digest_matrix_from_flat_token_hashes  # pyright: ignore[reportAttributeAccessIssue]
        matrix = make(self.hashes, self.offsets, num_bands * rows, _SEED)
        minima = np.array(matrix.to_rows(), np.uint64).reshape(-1, num_bands, rows)
        return (minima * _MULTIPLIERS[:rows]).sum(axis=2, dtype=np.uint64)


def chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield runs of texts, none empty, that are best shingled together."""
    first = size = 0
    for last, text in enumerate(texts, 1):
        size += len(text)
        if size >= _CHARACTERS_AT_ONCE or last == len(texts):
            yield texts[first:last]
            first, size = last, 0


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Jaccard similarity of two sets, each ascending and not empty."""
    both = np.concatenate([first, second])
    both.sort()
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared)


class ShingleFile:
    """Sets of shingles by row number, kept in a file so that memory does not grow with the texts."""

    def __init__(self, file: IO[bytes], num_rows: int) -> None:
        self.sizes = np.zeros(num_rows, np.int32)
        """Hashes in each row's set; 0: the row was never put."""
        self._starts = np.zeros(num_rows, np.int64)
        self._end = 0
        self._file = file

    def put(self, row: int, hashes: np.ndarray) -> None:
        """Keep the set of a row; flush the file before the first `get`."""
        self._file.write(hashes.tobytes())
        self._starts[row], self.sizes[row] = self._end, len(hashes)
        self._end += hashes.nbytes

    def get(self, row: int) -> np.ndarray:
        """Return the set of a row."""
        return np.frombuffer(os.pread(self._file.fileno(), 8 * int(self.sizes[row]), int(self._starts[row])), np.uint64)
