"""What a model has read of conversations, kept from one round to the next, so that it reads only what was said since.

A round is one call of the decoder. Keys and values are kept from the moment when a prompt is seen that goes on where one of
the round before ended, and until a round in which none does.
"""

from bisect import bisect
from collections.abc import Sequence

import numpy as np
from transformers.cache_utils import Cache

from hephaestus_dag.evaluation.key_values import first_positions, size_of
from hephaestus_dag.evaluation.shared_prefixes import Tokens, common_length

MOST_BYTES = 2 << 30
"""Keys and values that are kept: 90,000 tokens of SmolLM2-135M in bfloat16. What finds no room is read again."""
LEAST_TOKENS = 256
"""Tokens that keys and values have to save to be worth a pass of their own."""


class KeptRounds:
    """The prompts of the last round, and the keys and values of what was read in it."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.going_on = False
        """Whether a prompt of this round goes on from one of the last."""
        self._asked: list[bytes] = []
        self._kept: dict[bytes, Cache] = {}
        self._waiting: dict[int, tuple[int, Cache]] = {}
        self._bytes = 0

    def begin(self, prompts: Sequence[Tokens]) -> dict[int, int]:
        """Begin a round; return, for the prompts of which something was read before, by number, how many tokens were."""
        rows = [_key(prompt) for prompt in prompts]
        self.going_on = any(length == len(asked) < len(row) for row in rows for asked, length in _nearest(row, self._asked))
        read, self._waiting = sorted(self._kept), {}
        for number, row in enumerate(rows):
            found = [(min(length, len(row) - 4) // 4, before) for before, length in _nearest(row, read)]
            tokens, before = max(found, default=(0, b""))
            if tokens >= LEAST_TOKENS:
                self._waiting[number] = (tokens, self._kept[before])
        self._asked, self._kept = sorted(rows), {}
        self._bytes = sum(size_of(cache) for _, cache in self._waiting.values())
        return {number: tokens for number, (tokens, _) in self._waiting.items()}

    def take(self, number: int) -> Cache | None:
        """Return the keys and values of a prompt's tokens that were read before; None where there are none."""
        if number not in self._waiting:
            return None
        tokens, cache = self._waiting.pop(number)
        self._bytes -= size_of(cache)
        return first_positions(cache, tokens)

    def keep(self, tokens: Sequence[int], cache: Cache) -> None:
        """Keep the keys and values of tokens, [1 row], for the next round, if there is room."""
        if self._bytes + size_of(cache) <= self.most_bytes:
            self._kept[_key(tokens)] = cache
            self._bytes += size_of(cache)


def _key(tokens: Tokens) -> bytes:
    """Return tokens as bytes, four each, in whose order those that begin alike are neighbours."""
    return np.asarray(tokens, dtype=">u4").tobytes()


def _nearest(row: bytes, others: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Return of the others, which are sorted, the two neighbours of a row, and how many bytes each shares at the beginning."""
    place = bisect(others, row)
    near = others[max(0, place - 1) : place + 1]
    return [(other, 4 * common_length(np.frombuffer(row, ">u4"), np.frombuffer(other, ">u4"))) for other in near]
