"""Divide a sequence of places among weighted parts so that the shares hold at every prefix, in exact integers."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def apportion(weights: Sequence[int], steps: int) -> np.ndarray:
    """Return which of several weighted parts takes each step, uint16 of shape [steps].

    At every prefix k the count of part i differs from ``k * weights[i] / sum(weights)`` by less than one. This is the
    optimal rule of Tijdeman, "The chairman assignment problem" (1980): among the parts that may
    take the step already, the one whose next turn is due first takes it. The pattern has the period ``sum(weights)``.
    """
    divisor = math.gcd(*weights)
    weights = [weight // divisor for weight in weights]
    parts, period = len(weights), sum(weights)
    if parts == 1:
        return np.zeros(steps, np.uint16)
    # A part's next turn (its n-th, from 0) may start at step period (1 + scale n) / (scale weight) and is due at
    # period (scale (n + 1) - 1) / (scale weight); `due` holds (scale (n + 1) - 1) / weight over the common denominator.
    scale, common = 2 * parts - 2, math.lcm(*weights)
    taken = [0] * parts
    start = [-(-period // (scale * weight)) for weight in weights]
    due = [(scale - 1) * (common // weight) for weight in weights]
    stride = [scale * (common // weight) for weight in weights]
    pattern = np.empty(min(period, steps), np.uint16)
    for step in range(1, len(pattern) + 1):
        chosen, earliest = -1, 0
        for part in range(parts):
            if start[part] <= step and (chosen < 0 or due[part] < earliest):
                chosen, earliest = part, due[part]
        pattern[step - 1] = chosen
        taken[chosen] += 1
        due[chosen] += stride[chosen]
        start[chosen] = -(-period * (1 + scale * taken[chosen]) // (scale * weights[chosen]))
    return np.resize(pattern, steps)


def share_out(places: np.ndarray, weights: Sequence[Fraction]) -> list[np.ndarray]:
    """Return the places that each of several weighted parts takes, in order: `apportion` over fractions."""
    denominator = math.lcm(*(weight.denominator for weight in weights))
    part_of = apportion([int(weight * denominator) for weight in weights], len(places))
    return [places[part_of == part] for part in range(len(weights))]


def visits(unique: int, count: int, seed: Sequence[int]) -> np.ndarray:
    """Return which window each of ``count`` visits to a stream takes, int64 of shape [count]: one permutation per epoch."""
    epochs = [np.random.default_rng([*seed, epoch]).permutation(unique) for epoch in range(-(-count // unique))]
    return np.concatenate(epochs)[:count] if epochs else np.empty(0, np.int64)
