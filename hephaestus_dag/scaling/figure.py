"""Pictures of a study of the ratio: the valley per scale, the paper's loss over compute, the best ratio, residuals."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hephaestus_dag.scaling.optimum import Optimum, line, objective_curve
from hephaestus_dag.scaling.residuals import residuals
from hephaestus_dag.scaling.study import Study
from hephaestus_dag.scaling.table import Array

PAPER_RATIO = 0.36

# Okabe and Ito's palette, told apart by readers of any colour vision.
CURVE, POINT, BEST, PAPER = "#0072B2", "#000000", "#D55E00", "#009E73"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")
MARKERS = "osD^vP*X<>"


def ratio_figure(found: Study) -> Figure:
    """The objective against the ratio, one panel per scale and one for the target.

    Each panel has its own loss axis: the valley is far shallower than the distance between scales.
    """
    optima = found.optima
    columns = min(3 if len(optima) <= 6 else 4, len(optima))
    rows = -(-len(optima) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.7 * rows + 0.7), layout="constrained")
    axes = np.atleast_1d(np.asarray(figure.subplots(rows, columns, sharex=True))).ravel()
    for axis, optimum in zip(axes, optima, strict=False):
        _ratio_panel(axis, found, optimum)
    for axis in axes[len(optima) :]:
        axis.set_visible(False)
    for axis in axes[max(len(optima) - columns, 0) : len(optima)]:
        axis.set_xlabel(f"{found.axis} ratio (share of training tokens)")
        axis.tick_params(labelbottom=True)
    for axis in axes[: len(optima) : columns]:
        axis.set_ylabel("objective")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    return figure


def _ratio_panel(axis: Axes, found: Study, optimum: Optimum) -> None:
    scale, law, name = optimum.scale, found.law, found.axis or ""
    grid, mixtures = line(law) or (np.empty(0), np.empty(0))
    ratios, objective = measured(found)
    rows = (law.table.params == scale.params) & (law.table.tokens == scale.tokens) & (not scale.is_target)
    for family in law.families:
        each = family.predict(*scale.arguments(mixtures)) @ found.weights
        axis.plot(
            grid, each, color=CURVE, lw=0.7, alpha=0.5, ls=":", label="each family" if family is law.families[0] else None
        )
    axis.plot(grid, objective_curve(law, found.weights, scale, mixtures), color=CURVE, label="law")
    axis.axvspan(*optimum.regret_bands[name], color=CURVE, alpha=0.1, lw=0, label="within 2 sigma of a run")
    axis.plot(ratios[rows], objective[rows], "o", color=POINT, ms=4, label="runs")
    (low, high), ratio = optimum.intervals[name], optimum.shares[name]
    spread = [[max(ratio - low, 0)], [max(high - ratio, 0)]]
    axis.errorbar(
        ratio, optimum.loss, xerr=spread, fmt="D", color=BEST, ms=4, capsize=5, zorder=3, label="optimum, 95 % interval"
    )
    if optimum.constrained is not None:
        axis.axvline(optimum.constrained, color=BEST, ls=":", lw=1.2, label="most that general losses allow")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    text = f"best {ratio:.2f}   [{low:.2f}, {high:.2f}]"
    axis.text(0.5, 0.95, text, transform=axis.transAxes, ha="center", va="top", color=BEST, fontsize=8, bbox=box)
    if name == "agent":
        axis.axvline(PAPER_RATIO, color=PAPER, ls="--", lw=1.2, label="the paper's 36 %")
    target = "target: " if scale.is_target else ""
    axis.set_title(f"{target}{short(scale.params)} parameters, {short(scale.tokens)} tokens", fontsize=9)
    axis.grid(alpha=0.25)
    axis.margins(x=0.03, y=0.12)
    axis.ticklabel_format(axis="y", useOffset=False)


def flops_figure(found: Study) -> Figure:
    """The objective against training compute, one power law per ratio: the paper's picture."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.subplots()
    flops = found.law.table.flops
    ratios, objective = measured(found)
    tried = np.unique(ratios)
    laws = {fitted.agent_ratio: fitted for fitted in found.power_laws}
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.88, len(tried)))
    span = np.geomspace(flops.min(), flops.max(), 100)
    for i, (ratio, colour) in enumerate(zip(tried, colours, strict=True)):
        rows = ratios == ratio
        label = f"{ratio:.0%}"
        if fitted := laws.get(float(ratio)):
            axis.plot(span, fitted.predict(span), color=colour, lw=1.3)
            label += f"   exponent {fitted.alpha:.2f}"
        axis.plot(flops[rows], objective[rows], MARKERS[i % len(MARKERS)], color=colour, ms=5, label=label)
    axis.set_xscale("log")
    axis.set_xlabel("training compute (FLOPs)")
    axis.set_ylabel("objective")
    axis.legend(title=f"{found.axis} ratio", fontsize=8, title_fontsize=8, frameon=False)
    axis.grid(alpha=0.25, which="both")
    return figure


def optimum_figure(found: Study) -> Figure:
    """The best ratio against compute, with its interval and the band of ratios that cost little."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    name = found.axis or ""
    optima = sorted(found.optima, key=lambda optimum: optimum.scale.flops)
    flops = np.array([optimum.scale.flops for optimum in optima])
    bands = np.array([optimum.regret_bands[name] for optimum in optima])
    axis.fill_between(flops, bands[:, 0], bands[:, 1], color=CURVE, alpha=0.12, lw=0, label="costs less than 2 sigma of a run")
    for kind, marker, label in ((False, "o", "scales of the runs"), (True, "D", "target")):
        chosen = [optimum for optimum in optima if optimum.scale.is_target is kind]
        ratios = np.array([optimum.shares[name] for optimum in chosen])
        ends = np.array([optimum.intervals[name] for optimum in chosen])
        spread = np.maximum([ratios - ends[:, 0], ends[:, 1] - ratios], 0)
        colour = BEST if kind else CURVE
        at = [optimum.scale.flops for optimum in chosen]
        axis.errorbar(at, ratios, yerr=spread, fmt=marker, color=colour, ms=5, capsize=4, label=f"{label}, 95 % interval")
    if name == "agent":
        axis.axhline(PAPER_RATIO, color=PAPER, ls="--", lw=1.2, label="the paper's 36 %")
    axis.set_xscale("log")
    axis.set_ylim(0, 1)
    axis.set_xlabel("training compute (FLOPs)")
    axis.set_ylabel(f"best {name} ratio")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    axis.grid(alpha=0.25)
    return figure


def residual_figure(found: Study) -> Figure:
    """Measured minus predicted losses in units of one run's noise, against compute and ratio (off a line: prediction)."""
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    law, table = found.law, found.law.table
    off, predicted = residuals(law), law.predict(table.params, table.tokens, table.effective)
    for i, name in enumerate(table.names):
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "ls": "", "ms": 4, "alpha": 0.8}
        left.plot(predicted[:, i] if found.axis is None else table.ratios, off[:, i], label=name, **style)
        right.plot(table.flops, off[:, i], label=name, **style)
    right.set_xscale("log")
    left.set_xlabel("predicted loss" if found.axis is None else f"{found.axis} ratio")
    right.set_xlabel("training compute (FLOPs)")
    left.set_ylabel("residual (sigma of a run)")
    for axis in (left, right):
        axis.axhline(0, color="black", lw=0.8)
        axis.axhspan(-2, 2, color="black", alpha=0.06, lw=0)
        axis.grid(alpha=0.25)
    right.legend(fontsize=8, frameon=False)
    return figure


def measured(found: Study) -> tuple[Array, Array]:
    """Return ratio and objective of each run, [n] and [n]."""
    table = found.law.table
    return table.ratios, table.losses[:, found.weights > 0] @ found.weights[found.weights > 0]


def short(value: float) -> str:
    """Return a count in few characters, as 650M."""
    units: Sequence[tuple[float, str]] = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
    return next((f"{value / size:.3g}{unit}" for size, unit in units if value >= size), f"{value:g}")
