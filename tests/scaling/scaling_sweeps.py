"""Simulated sweeps whose true best ratio is known."""

from functools import cache

import numpy as np

from hephaestus_dag.documents import DOMAINS
from hephaestus_dag.scaling.config import FitConfig, LadderRung, LearningRateRule, Replicate, SweepConfig, Target
from hephaestus_dag.scaling.optimum import Law, fit_law
from hephaestus_dag.scaling.runs import Run

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
def clear_law() -> Law:
    """The law of a sweep that answers the question."""
    return fit_law(simulate(0.003, seed=0), fit_config())


def fit_config(**changes: object) -> FitConfig:
    values = {"objective": WEIGHTS, "target": TARGET, "bootstrap_draws": 200, "max_interval_width": 0.2}
    return FitConfig.model_validate(values | changes)


def sweep_config(**changes: object) -> SweepConfig:
    values: dict[str, object] = {
        "ladder": [rung("0.1M", 64), rung("0.2M", 96), rung("0.4M", 128)],
        "agent_ratios": [0.17, 0.36, 0.6, 0.84],
        "code_share_of_rest": 0.5,
        "tokens_per_parameter": 20,
        "tokens_per_cell": None,
        "replicates": [Replicate(rung="0.1M", agent_ratio=0.36, seeds=[1, 2])],
        "learning_rate": LearningRateRule(reference_rate=0.00235, reference_params=108e6, exponent=-1 / 3, maximum=0.01),
        "seed": 0,
    }
    return SweepConfig.model_validate(values | changes)


def rung(name: str, width: int, layers: int = 2) -> LadderRung:
    return LadderRung(name=name, hidden_size=width, layers=layers, heads=4, kv_heads=2, intermediate_size=3 * width)
