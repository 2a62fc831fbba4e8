"""Whether a study supports a ratio: every gate that fails says why, and which cells would help."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hephaestus_dag.scaling.config import FitConfig
from hephaestus_dag.scaling.optimum import Optimum, objective_curve
from hephaestus_dag.scaling.study import Study

LAW_FILE = "law.json"
SUPPORTED, REFUSED = "supported", "no supported optimum"
MAX_BACKTEST_ERROR = 2.0  # in standard deviations of one run
MAX_BACKTEST_SHIFT = 0.05
MIN_RANK_CORRELATION = 0.8  # of unseen mixtures, where there are too few sizes to leave one out
EPOCHS_NEARLY_FREE = 4.0  # up to about four epochs, repeated tokens are worth nearly as much as fresh ones (arXiv 2305.16264)


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on a study."""

    status: Literal["supported", "no supported optimum"]
    agent_ratio: float | None
    """The best share of the varied domain at the target; None unless supported, and where mixtures do not lie on a line."""
    reasons: list[str]
    """Why it is not supported, and what to do; empty if it is."""


def decide(found: Study, config: FitConfig) -> Decision:
    """Pass the study through every gate; all must hold."""
    gates = (_converged, _enough_runs, _sizes, _interior, _narrow, _backtested, _repetition)
    reasons = [reason for gate in gates for reason in gate(found, config)]
    if reasons:
        return Decision(REFUSED, None, reasons)
    return Decision(SUPPORTED, best_ratio(found, config), [])


def best_ratio(found: Study, config: FitConfig) -> float | None:
    """Return the best share of the varied domain at the target, supported or not; None where mixtures do not lie on a line."""
    if found.axis is None:
        return None
    return found.target.constrained if config.best == "constrained" else found.target.shares[found.axis]


def best_interval(found: Study, config: FitConfig) -> tuple[float, float]:
    """Return the 95 % interval of the best ratio, or, where mixtures do not lie on a line, of the least known best share."""
    if found.axis is None:
        return max(found.target.intervals.values(), key=lambda ends: ends[1] - ends[0])
    if config.best == "constrained" and found.target.constrained_interval:
        return found.target.constrained_interval
    return found.target.intervals[found.axis]


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


def _converged(found: Study, config: FitConfig) -> list[str]:
    failed = {
        name
        for family in found.law.families
        for name, loss in zip(found.law.table.names, family.losses, strict=True)
        if not loss.converged and found.objective[name]
    }
    return (
        [f"the fit of loss {' and '.join(sorted(failed))} did not converge: look for broken runs in the table"]
        if failed
        else []
    )


def _enough_runs(found: Study, config: FitConfig) -> list[str]:
    reasons: list[str] = []
    table = found.law.table
    runs = len(table.params)
    if runs < config.min_runs:
        shape = f"{len(np.unique(table.params))} sizes x {len(np.unique(np.round(table.shares, 4), axis=0))} mixtures"
        reasons.append(f"{runs} finished runs ({shape}), {config.min_runs} wanted: add {config.min_runs - runs} cells")
    repeated = table.repeated_runs
    if repeated < config.min_replicates:
        missing = config.min_replicates - repeated
        where = f"cheapest at {table.params.min():.3g} parameters" + (
            f" and ratio {near:.2f}" if (near := _nearest(found)) is not None else ""
        )
        reasons.append(
            f"{repeated} repeated seeds, {config.min_replicates} wanted to measure seed noise: repeat {missing} "
            f"cell(s) with other seeds, {where}"
        )
    return reasons


def _sizes(found: Study, config: FitConfig) -> list[str]:
    if not found.law.one_scale:
        return []
    return [
        (
            f"all runs have one scale ({found.law.table.params[0]:.3g} parameters): losses at another cannot be told, only the "
            "order of mixtures; add at least one other model size, better two"
        )
    ]


def _interior(found: Study, config: FitConfig) -> list[str]:
    best, axis = found.target, found.law.table.axis
    if axis is None or found.axis is None:
        return _inside(found, config)
    tried = found.law.table.shares[:, axis]
    low, high, ratio = float(tried.min()), float(tried.max()), best.shares[found.axis]
    if config.best == "constrained":
        return _bounded(best, low, high)
    if np.allclose(best.regret_bands[found.axis], (low, high), atol=1e-9):
        return [
            (
                f"from ratio {low:.2f} to {high:.2f} the objective moves by less than two sigma of a run, {best.regret:.3g}: "
                "the runs cannot tell ratios apart; train them longer, or add larger sizes"
            )
        ]
    if best.at_edge:
        edge, beyond = (low, low / 2) if ratio - low < high - ratio else (high, (1 + high) / 2)
        return [
            (
                f"the lowest objective is at the edge of the ratios tried ({edge:.2f}), the true minimum may lie outside: "
                f"add cells at ratio {beyond:.2f} at every size"
            )
        ]
    if best.curvature <= 0:
        return ["the objective has no minimum in the ratio (its curvature is not positive): add ratios further apart"]
    touched = [edge for edge, end in zip((low, high), best.intervals[found.axis], strict=True) if abs(edge - end) < 1e-3]
    return [
        f"the interval of the ratio reaches the edge of the ratios tried ({edge:.2f}): add cells at ratio "
        f"{edge / 2 if edge == low else (1 + edge) / 2:.2f} at every size"
        for edge in touched
    ]


def _bounded(best: Optimum, low: float, high: float) -> list[str]:
    """Whether the bound on the general loss is met between the ratios tried."""
    ends, margin = best.constrained_interval or (low, high), 0.01 * (high - low)
    reasons = []
    if ends[1] > high - margin:
        reasons.append(
            f"the general loss may allow more than the largest ratio tried ({high:.2f}): add cells at ratio "
            f"{(1 + high) / 2:.2f} at every size, or lower general_loss.max_rise"
        )
    if ends[0] < low + margin:
        reasons.append(
            f"the general loss may rise too much just above the smallest ratio tried ({low:.2f}), from which the rise counts: "
            f"add cells at ratio {low / 2:.2f} at every size, or raise general_loss.max_rise"
        )
    return reasons


def _inside(found: Study, config: FitConfig) -> list[str]:
    """The same where mixtures do not lie on a line: no best share may be the most or, save near 0, the least that was tried."""
    reasons = []
    if config.best == "constrained":
        reasons.append("best: constrained needs runs in which one share varies and the others keep their proportions")
    law, best = found.law, found.target
    gain = float(objective_curve(law, found.weights, best.scale, law.table.shares).max()) - best.loss
    if gain <= best.regret:
        return [
            *reasons,
            (
                f"from the worst mixture tried to the best one the objective moves by {gain:.3g}, within two sigma of a run, "
                f"{best.regret:.3g}: the runs cannot tell mixtures apart; train them longer, or add larger sizes"
            ),
        ]
    for domain, tried in zip(found.law.table.domains, found.law.table.shares.T, strict=True):
        low, high, share = float(tried.min()), float(tried.max()), found.target.shares[domain]
        margin = 0.01 * (high - low)
        if low < high < 1 and share > high - margin:
            reasons.append(f"the best share of {domain} is the most that was tried ({high:.2f}): add cells with more")
        elif high > low > margin and share < low + margin:
            reasons.append(f"the best share of {domain} is the least that was tried ({low:.2f}): add cells with less")
    return reasons


def _narrow(found: Study, config: FitConfig) -> list[str]:
    low, high = best_interval(found, config)
    width = high - low
    if width <= config.max_interval_width:
        return []
    # The width shrinks with the square root of the number of runs.
    more = math.ceil(len(found.law.table.params) * ((width / config.max_interval_width) ** 2 - 1))
    where = f"around ratio {near:.2f}" if (near := _nearest(found)) is not None else "near the best mixture"
    return [
        (
            f"the 95 % interval {low:.2f} to {high:.2f} is {width:.2f} wide, at most "
            f"{config.max_interval_width:.2f} allowed: add about {more} cells {where} or a larger size"
        )
    ]


def _backtested(found: Study, config: FitConfig) -> list[str]:
    test = found.backtest
    if test is None or not test.extrapolates:
        reasons = [
            "too few sizes with every loss of the objective to leave the largest out and predict it: add cells at a third size"
        ]
        if test and not test.rank_correlation >= MIN_RANK_CORRELATION:
            reasons.append(
                f"of {test.left_out}, the order is predicted with a rank correlation of {test.rank_correlation:.2f}, "
                f"{MIN_RANK_CORRELATION:g} wanted: add cells at other mixtures"
            )
        return reasons
    reasons = []
    noise = found.sigma if found.seed_sigma is None else found.seed_sigma
    if test.mean_error > MAX_BACKTEST_ERROR * noise:
        reasons.append(
            f"from the smaller sizes {test.left_out} are predicted {test.mean_error:.3g} off, more than "
            f"{MAX_BACKTEST_ERROR:g} x the noise {noise:.3g}: add cells between the two largest sizes or above them"
        )
    if test.ratio is not None and test.ratio_without is not None:
        shift = abs(test.ratio - test.ratio_without)
        if shift > MAX_BACKTEST_SHIFT:
            reasons.append(
                f"without {test.left_out} the best ratio there moves by {shift:.2f}, at most {MAX_BACKTEST_SHIFT:.2f} "
                f"allowed: add seeds at ratios {test.ratio_without:.2f} and {test.ratio:.2f}"
            )
    return reasons


def _repetition(found: Study, config: FitConfig) -> list[str]:
    reasons: list[str] = []
    table, scale = found.law.table, found.target.scale
    for i, domain in enumerate(table.domains):
        wanted = found.target.shares[domain] * scale.tokens / scale.unique[i]
        seen = float((table.shares[:, i] * table.tokens / table.unique[:, i]).max())
        if wanted > EPOCHS_NEARLY_FREE and wanted > 1.5 * seen:
            reasons.append(
                f"the target repeats its {domain} data {wanted:.1f} times and the proxies at most {max(seen, 1):.1f} times: "
                f"run the sweep on a sample of the {domain} data small enough to be repeated as often"
            )
    return reasons


def _nearest(found: Study) -> float | None:
    """Return the ratio tried that lies nearest to the best one."""
    axis = found.law.table.axis
    if axis is None or found.axis is None:
        return None
    tried = found.law.table.shares[:, axis]
    return float(tried[np.argmin(np.abs(tried - found.target.shares[found.axis]))])
