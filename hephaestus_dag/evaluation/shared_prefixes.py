"""Which sequences of tokens begin alike, so that what they share is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Tokens = Sequence[int] | np.ndarray
"""Token ids of a text."""

GROUP_COST = 512
"""Tokens that a group has to save to be worth its smaller batches."""


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Sequences, by number, whose first ``shared`` tokens are the same."""

    numbers: list[int]
    shared: int


def group_by_prefix(sequences: Sequence[Tokens]) -> list[PrefixGroup]:
    """Return groups that save the most tokens when each computes its shared prefix once; each number is in one of them.

    In lexicographic order, sequences that share a prefix are neighbours. Neighbours are joined, those with the longest common
    prefix first, wherever one group saves at least what its parts save: of the tree of common prefixes, the best cut.
    """
    rows = [np.asarray(sequence, dtype=">u4") for sequence in sequences]
    order = sorted(range(len(rows)), key=lambda number: rows[number].tobytes())
    common = [common_length(rows[one], rows[other]) for one, other in pairwise(order)]
    start, end, saved = list(range(len(order))), list(range(len(order))), [0] * len(order)
    groups = {place: (place, 0) for place in range(len(order))}  # first place: (last place, shared tokens)
    for place in sorted(range(len(common)), key=lambda place: -common[place]):
        first, last = start[place], end[place + 1]
        together = (last - first) * common[place] - GROUP_COST
        apart = saved[first] + saved[place + 1]
        if together > 0 and together >= apart:
            groups[first] = (last, common[place])
        start[last], end[first], saved[first] = first, last, max(together, apart)
    found, alone, place = [], [], 0
    while place < len(order):
        last, shared = groups[place]
        if shared:
            found.append(PrefixGroup(order[place : last + 1], shared))
        else:
            alone.append(order[place])
        place = last + 1
    return [*found, PrefixGroup(alone, 0)] if alone else found


def common_length(one: np.ndarray, other: np.ndarray) -> int:
    """Return how many tokens two sequences share at their beginning."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
