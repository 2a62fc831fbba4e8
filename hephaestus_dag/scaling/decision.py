"""Whether a fitted law supports a ratio: every gate that fails says why, and which cells would help."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hephaestus_dag.documents import DOMAINS
from hephaestus_dag.scaling.config import FitConfig
from hephaestus_dag.scaling.optimum import Law

LAW_FILE = "law.json"
MAX_BACKTEST_ERROR = 2.0  # in standard deviations of one run
MAX_BACKTEST_SHIFT = 0.05
EPOCHS_NEARLY_FREE = 4.0  # up to about four epochs, repeated tokens are worth nearly as much as fresh ones (arXiv 2305.16264)


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on a law."""

    status: Literal["supported", "no supported optimum"]
    agent_ratio: float | None
    """The best ratio at the target; None unless supported."""
    reasons: list[str]
    """Why it is not supported, and what to do; empty if it is."""


def decide(law: Law, config: FitConfig) -> Decision:
    """Pass the law through every gate; all must hold."""
    gates = (_converged, _enough_runs, _interior, _narrow, _backtested, _repetition)
    reasons = [reason for gate in gates for reason in gate(law, config)]
    if reasons:
        return Decision("no supported optimum", None, reasons)
    return Decision("supported", law.target.ratio, [])


def chosen_ratio(folder: Path, fallback: float | None) -> tuple[float, str]:
    """Return the ratio to train with and why: the supported one of a fitted law, else the fallback that the recipe names.

    Args:
        folder: where the law was written.
        fallback: the recipe's ``scaling_law.fallback_agent_ratio``.

    Raises:
        ValueError: no optimum is supported and the recipe names no fallback.
    """
    decision = Decision(**json.loads((folder / LAW_FILE).read_text(encoding="utf-8"))["decision"])
    if decision.agent_ratio is not None:
        return decision.agent_ratio, "fitted by the scaling law"
    if fallback is not None:
        return fallback, "the recipe's fallback, since the scaling law supports no optimum"
    raise ValueError(
        "the agent ratio is 'fitted' but the scaling law supports no optimum: "
        + "; ".join(decision.reasons)
        + ". Add those cells, or set scaling_law.fallback_agent_ratio, or give the agent ratio as a number"
    )


def _converged(law: Law, config: FitConfig) -> list[str]:
    failed = [d for d, fitted in law.domains.items() if not fitted.converged]
    return [f"the fit of the {' and '.join(failed)} loss did not converge: look for broken runs in the table"] if failed else []


def _enough_runs(law: Law, config: FitConfig) -> list[str]:
    reasons: list[str] = []
    runs = len(law.table.params)
    if runs < config.min_runs:
        shape = f"{len(np.unique(law.table.params))} sizes x {len(np.unique(law.table.ratios))} ratios"
        reasons.append(f"{runs} finished runs ({shape}), {config.min_runs} wanted: add {config.min_runs - runs} cells")
    if law.num_replicates < config.min_replicates:
        missing = config.min_replicates - law.num_replicates
        reasons.append(
            f"{law.num_replicates} repeated seeds, {config.min_replicates} wanted to measure seed noise: repeat {missing} "
            f"cell(s) with other seeds, cheapest at {law.table.params.min():.3g} parameters and ratio {_nearest(law):.2f}"
        )
    return reasons


def _interior(law: Law, config: FitConfig) -> list[str]:
    best, low, high = law.target, float(law.grid[0]), float(law.grid[-1])
    if best.regret_band == (low, high):
        return [
            (
                f"from ratio {low:.2f} to {high:.2f} the objective moves by less than two sigma of a run, {2 * law.sigma:.4f}: "
                "the runs cannot tell ratios apart; train them longer, or add larger sizes"
            )
        ]
    if best.at_edge:
        edge, beyond = (low, low / 2) if best.ratio - low < high - best.ratio else (high, (1 + high) / 2)
        return [
            (
                f"the lowest objective is at the edge of the ratios tried ({edge:.2f}), the true minimum may lie outside: "
                f"add cells at ratio {beyond:.2f} at every size"
            )
        ]
    if best.curvature <= 0:
        return ["the objective has no minimum in the ratio (its curvature is not positive): add ratios further apart"]
    touched = [edge for edge, end in zip((low, high), best.interval, strict=True) if abs(edge - end) < 1e-3]
    return [
        f"the interval of the ratio reaches the edge of the ratios tried ({edge:.2f}): add cells at ratio "
        f"{edge / 2 if edge == low else (1 + edge) / 2:.2f} at every size"
        for edge in touched
    ]


def _narrow(law: Law, config: FitConfig) -> list[str]:
    width = law.target.interval[1] - law.target.interval[0]
    if width <= config.max_interval_width:
        return []
    runs = len(law.table.params)
    # The width shrinks with the square root of the number of runs.
    more = math.ceil(runs * ((width / config.max_interval_width) ** 2 - 1))
    return [
        (
            f"the 95 % interval {law.target.interval[0]:.2f} to {law.target.interval[1]:.2f} is {width:.2f} wide, at most "
            f"{config.max_interval_width:.2f} allowed: add about {more} cells around ratio {_nearest(law):.2f} or a larger size"
        )
    ]


def _backtested(law: Law, config: FitConfig) -> list[str]:
    if law.backtest is None:
        return ["too few sizes to leave the largest out and predict it: add cells at a third size"]
    reasons: list[str] = []
    noise = law.sigma if law.seed_sigma is None else law.seed_sigma
    size = f"{law.backtest.params:.3g}"
    if law.backtest.mean_error > MAX_BACKTEST_ERROR * noise:
        reasons.append(
            f"from the smaller sizes the {size}-parameter runs are predicted {law.backtest.mean_error:.4f} bits per byte off, "
            f"more than {MAX_BACKTEST_ERROR:g} x the noise {noise:.4f}: add cells between the two largest sizes or above them"
        )
    shift = abs(law.backtest.ratio - law.backtest.ratio_without)
    if shift > MAX_BACKTEST_SHIFT:
        reasons.append(
            f"without the {size}-parameter runs the best ratio there moves by {shift:.2f}, at most {MAX_BACKTEST_SHIFT:.2f} "
            f"allowed: add seeds at ratios {law.backtest.ratio_without:.2f} and {law.backtest.ratio:.2f}"
        )
    return reasons


def _repetition(law: Law, config: FitConfig) -> list[str]:
    reasons: list[str] = []
    ratio, scale = law.target.ratio, law.target.scale
    code = (1 - ratio) * law.code_share_of_rest
    for i, (domain, share) in enumerate(zip(DOMAINS, (ratio, code, 1 - ratio - code), strict=True)):
        wanted = share * scale.tokens / scale.unique[i]
        seen = float((law.table.shares[:, i] * law.table.tokens / law.table.unique[:, i]).max())
        if wanted > EPOCHS_NEARLY_FREE and wanted > 1.5 * seen:
            reasons.append(
                f"the target repeats its {domain} data {wanted:.1f} times and the proxies at most {max(seen, 1):.1f} times: "
                f"run the sweep on a sample of the {domain} data small enough to be repeated as often"
            )
    return reasons


def _nearest(law: Law) -> float:
    return float(law.table.ratios[np.argmin(np.abs(law.table.ratios - law.target.ratio))])
