"""Plan a mixture: which window of which stream is the i-th training sequence.

The shares hold at every prefix of the mixture, not only at its end: after any number of sequences each domain is
less than one sequence away from its share.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.mixture.config import MixtureConfig
from hephaestus_dag.mixture.store import MixtureError, TokenStore

ROW = np.dtype([("stream", "<u2"), ("offset", "<i8")])


@dataclass(frozen=True, slots=True)
class _Source:
    """One training stream that belongs to a component."""

    name: str
    store: int
    component: str
    unique: int
    """Windows that do not overlap."""
    dtype: str
    masked: bool


def apportion(weights: Sequence[int], steps: int) -> np.ndarray:
    """Return which of several weighted parts takes each step, uint16 of shape [steps].

    At every prefix k the count of part i differs from ``k * weights[i] / sum(weights)`` by less than one. This is the
    optimal rule of Tijdeman, "The chairman assignment problem" (1980), in exact integers: among the parts that may
    take the step already, the one whose next turn is due first takes it. The pattern has the period ``sum(weights)``.
    """
    divisor = math.gcd(*weights)
    weights = [weight // divisor for weight in weights]
    parts, period = len(weights), sum(weights)
    if parts == 1:
        return np.zeros(steps, np.uint16)
    scale = 2 * parts - 2
    pattern = np.empty(min(period, steps), np.uint16)
    counts = [0] * parts
    release = [-(-period // (scale * weight)) for weight in weights]
    due = [Fraction(scale - 1, weight) for weight in weights]
    # Fractions are exact but slow: each is compared as an integer over the common denominator when that stays small.
    common = math.lcm(*weights)
    deadline = [int(d * common) for d in due]
    stride = [scale * common // weight for weight in weights]
    indices = range(parts)
    for step in range(len(pattern)):
        chosen, earliest = -1, 0
        for i in indices:
            if release[i] <= step + 1 and (chosen < 0 or deadline[i] < earliest):
                chosen, earliest = i, deadline[i]
        pattern[step] = chosen
        counts[chosen] += 1
        deadline[chosen] += stride[chosen]
        release[chosen] = -(-period * (1 + scale * counts[chosen]) // (scale * weights[chosen]))
    return np.resize(pattern, steps)
