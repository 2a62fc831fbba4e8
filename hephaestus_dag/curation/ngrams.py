"""Hashes all word n-grams of many texts at once, in a few passes of NumPy.

Words are runs of ``\\w`` in lower case, so case, punctuation and line breaks do not matter. With ``h[i]`` the hash of word
``i`` and an odd ``Q``, the n-gram at ``i`` hashes to ``sum(h[i+j] * Q**j for j < n)`` modulo 2**64, which is a difference of
two prefix sums times ``Q**-i``: every length costs two subtractions and a product per word. Words hash the same way from
their bytes.
"""

import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_BYTE_BASE, _WORD_BASE = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_MODULUS = 2**64

_IS_WORD_BYTE = np.array([chr(b).isalnum() or b == ord("_") if b < 128 else True for b in range(256)])
_IS_LETTER_BYTE = np.array([chr(b).isalpha() or b == ord("_") if b < 128 else True for b in range(256)])
_BYTE_VALUES = np.random.Generator(np.random.PCG64(2024)).integers(1, 2**63, 256, dtype=np.uint64)


def normalise(text: str) -> str:
    """Return text in lower case; with characters beyond ASCII also in NFKC, and with nothing but words and spaces."""
    if text.isascii():
        return text.lower()
    codes = np.frombuffer(unicodedata.normalize("NFKC", text).lower().encode("utf-32-le"), np.uint32)
    return np.where(_in_words()[codes], codes, np.uint32(ord(" "))).tobytes().decode("utf-32-le")


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts, one after the other."""

    buffer: bytes
    starts: np.ndarray
    """Byte in ``buffer`` where each word begins."""
    ends: np.ndarray
    owner: np.ndarray
    """Number of the text that each word belongs to."""
    prefix: np.ndarray
    """Prefix sums of word hashes times powers, one longer than the words."""
    letters: np.ndarray
    """Prefix counts of words that begin with a letter, one longer than the words."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Words":
        """Split and hash texts."""
        pieces = [normalise(text).encode() for text in texts]
        buffer = b"\n".join(pieces)
        content = np.frombuffer(buffer, np.uint8)
        inside = np.zeros(len(content) + 2, np.bool_)
        inside[1:-1] = _IS_WORD_BYTE[content]
        edges = np.flatnonzero(inside[1:] != inside[:-1])
        starts, ends = edges[::2], edges[1::2]
        text_ends = np.cumsum([len(piece) + 1 for piece in pieces]) if pieces else np.zeros(0, np.int64)
        sums = _prefix_sums(_BYTE_VALUES[content], _BYTE_BASE)
        hashes = _mixed((sums[ends] - sums[starts]) * _powers(_inverse(_BYTE_BASE), len(content))[starts])
        letters = np.concatenate([[0], np.cumsum(_IS_LETTER_BYTE[content[starts]])]) if len(starts) else np.zeros(1, np.int64)
        owner = np.searchsorted(text_ends, starts, side="right")
        return cls(buffer, starts, ends, owner, _prefix_sums(hashes, _WORD_BASE), letters)

    def n_grams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (of their first word) and hashes of all runs of ``n`` words that lie in one text."""
        count = len(self.owner) - n + 1
        if count <= 0:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)
        at = np.flatnonzero(self.owner[:count] == self.owner[n - 1 :])
        sums = self.prefix[at + n] - self.prefix[at]
        return at, _mixed(sums * _powers(_inverse(_WORD_BASE), len(self.owner))[at])

    def text(self, first: int, last: int) -> str:
        """Return the normalised text from one word to another, both included, on one line."""
        return " ".join(self.buffer[self.starts[first] : self.ends[last]].decode(errors="replace").split())


@lru_cache(maxsize=1)
def _in_words() -> np.ndarray:
    """Return which code points match ``\\w``."""
    return np.array([chr(code).isalnum() or code == ord("_") for code in range(sys.maxunicode + 1)])


def _inverse(base: int) -> int:
    return pow(base, -1, _MODULUS)


def _powers(base: int, count: int) -> np.ndarray:
    return _powers_table(base, max(count, 1).bit_length())[:count]


@lru_cache(maxsize=8)
def _powers_table(base: int, bits: int) -> np.ndarray:
    table = np.full(1 << bits, base, np.uint64)
    table[0] = 1
    return np.multiply.accumulate(table)


def _prefix_sums(values: np.ndarray, base: int) -> np.ndarray:
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(base, len(values)), out=sums[1:])
    return sums


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Spread the entropy over all bits (the low bits of a polynomial modulo a power of two depend on little)."""
    hashes = hashes ^ (hashes >> np.uint64(32))
    hashes = hashes * np.uint64(0xFF51AFD7ED558CCD)
    return hashes ^ (hashes >> np.uint64(29))
