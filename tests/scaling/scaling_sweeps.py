"""Simulated sweeps whose true best ratio is known."""

from functools import cache

import numpy as np
import pytest

from hephaestus_dag.cli.scaling import command
from hephaestus_dag.documents import DOMAINS
from hephaestus_dag.scaling.config import FitConfig, Target
from hephaestus_dag.scaling.runs import Run
from hephaestus_dag.scaling.study import Study, study

SIZES = (45e6, 135e6, 350e6, 650e6)
RATIOS = (0.17, 0.30, 0.43, 0.57, 0.70, 0.84)
REPLICATES = ((0, 1), (0, 2), (0, 3), (0, 4))
WEIGHTS = {"agent": 0.5, "code": 0.25, "text": 0.25}

# E, A, B, alpha, beta, gamma, epsilon of each domain, with N0 = 1e8 and D0 = 2e9; exponents away from the prior's centre.
TRUTH = {
    "agent": (0.9, 0.4, 0.8, 0.45, 0.45, 0.30, 0.03),
    "code": (1.0, 0.4, 0.7, 0.28, 0.30, 0.50, 0.12),
    "text": (1.1, 0.4, 0.7, 0.33, 0.28, 0.35, 0.08),
}
TARGET = Target(params=8e9, tokens=160e9, unique_tokens=None)


def shares_at(ratio: float) -> dict[str, float]:
    return {"agent": ratio, "code": (1 - ratio) / 2, "text": (1 - ratio) / 2}


def true_loss(domain: str, params: float, tokens: float, share: float) -> float:
    e, a, b, alpha, beta, gamma, epsilon = TRUTH[domain]
    return e + a * (params / 1e8) ** -alpha + b * (tokens / 2e9) ** -beta * (share + epsilon) ** -gamma


def true_best(params: float, tokens: float) -> float:
    grid = np.linspace(0.01, 0.99, 981)
    objective = [sum(w * true_loss(d, params, tokens, shares_at(r)[d]) for d, w in WEIGHTS.items()) for r in grid]
    return float(grid[np.argmin(objective)])


def simulate(noise: float, seed: int, ratios: tuple[float, ...] = RATIOS, replicates: bool = True) -> list[Run]:
    rng = np.random.default_rng(seed)
    points = [(n, r, 0) for n in SIZES for r in ratios]
    if replicates:
        points += [(SIZES[i], ratios[j % len(ratios)], 1) for i, j in REPLICATES]
    runs = []
    for params, ratio, run_seed in points:
        tokens, shares = 20 * params, shares_at(ratio)
        losses = {d: true_loss(d, params, tokens, shares[d]) + noise * rng.standard_normal() for d in DOMAINS}
        runs.append(
            Run(
                cell=f"{params / 1e6:g}M-a{100 * ratio:g}-s{run_seed}",
                params=params,
                tokens=tokens,
                flops=6 * params * tokens,
                shares=shares,
                losses=losses,
                seed=run_seed,
            )
        )
    return runs


@cache
def clear_study() -> Study:
    """The study of a sweep that answers the question."""
    return study(simulate(0.003, seed=0), fit_config())


def fit_config(**changes: object) -> FitConfig:
    values = {"objective": WEIGHTS, "target": TARGET, "bootstrap_draws": 200, "max_interval_width": 0.2}
    return FitConfig.model_validate(values | changes)


def scaling(*arguments: str) -> int:
    """Run ``hephaestus scaling`` and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        command.main([*arguments], "hephaestus scaling")
    assert isinstance(ended.value.code, int)
    return ended.value.code
