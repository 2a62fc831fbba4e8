"""Two figures of the law: the objective over the ratio at each scale, and the loss over compute at each ratio."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from hephaestus_dag.documents import DOMAINS
from hephaestus_dag.scaling.optimum import Law, Optimum

PAPER_RATIO = 0.36

# Okabe and Ito's palette, told apart by readers of any colour vision.
_CURVE, _POINT, _BEST, _PAPER = "#0072B2", "#000000", "#D55E00", "#009E73"
_MARKERS = "osD^vP*X<>"


def ratio_figure(law: Law, path: Path) -> None:
    """Draw the objective against the agent ratio, one panel per scale and one for the target.

    Each panel has its own loss axis: the valley is far shallower than the distance between scales.
    """
    optima = law.optima
    columns = min(3, len(optima))
    rows = -(-len(optima) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.7 * rows + 0.7), layout="constrained")
    axes = np.atleast_1d(np.asarray(figure.subplots(rows, columns, sharex=True))).ravel()
    for axis, optimum in zip(axes, optima, strict=False):
        _ratio_panel(axis, law, optimum)
    for axis in axes[len(optima) :]:
        axis.set_visible(False)
    for axis in axes[max(len(optima) - columns, 0) : len(optima)]:
        axis.set_xlabel("agent ratio (share of training tokens)")
        axis.tick_params(labelbottom=True)
    for axis in axes[: len(optima) : columns]:
        axis.set_ylabel("objective (bits per byte)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    _save(figure, path)


def _ratio_panel(axis: Axes, law: Law, optimum: Optimum) -> None:
    scale, table = optimum.scale, law.table
    weights = np.array([law.objective[d] for d in DOMAINS])
    rows = (table.params == scale.params) & (table.tokens == scale.tokens) & (not scale.is_target)
    axis.plot(law.grid, law.curve(scale), color=_CURVE, label="fitted law")
    axis.axvspan(*optimum.regret_band, color=_CURVE, alpha=0.1, lw=0, label="within 2 sigma of a run")
    axis.plot(table.ratios[rows], table.losses[rows] @ weights, "o", color=_POINT, ms=4, label="runs")
    low, high = optimum.interval
    spread = [[max(optimum.ratio - low, 0)], [max(high - optimum.ratio, 0)]]
    axis.errorbar(
        optimum.ratio,
        optimum.loss,
        xerr=spread,
        fmt="D",
        color=_BEST,
        ms=4,
        capsize=5,
        zorder=3,
        label="optimum, 95 % interval",
    )
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    text = f"best {optimum.ratio:.2f}   [{low:.2f}, {high:.2f}]"
    axis.text(0.5, 0.95, text, transform=axis.transAxes, ha="center", va="top", color=_BEST, fontsize=8, bbox=box)
    axis.axvline(PAPER_RATIO, color=_PAPER, ls="--", lw=1.2, label="the paper's 36 %")
    name = "target: " if scale.is_target else ""
    axis.set_title(f"{name}{_short(scale.params)} parameters, {_short(scale.tokens)} tokens", fontsize=9)
    axis.grid(alpha=0.25)
    axis.margins(x=0.03, y=0.12)
    axis.ticklabel_format(axis="y", useOffset=False)


def flops_figure(law: Law, path: Path) -> None:
    """Draw the loss against training compute, one power law per agent ratio: the paper's picture."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.subplots()
    table = law.table
    weights = np.array([law.objective[d] for d in DOMAINS])
    losses = table.losses @ weights if table.benchmark is None else table.benchmark
    ratios = np.unique(table.ratios)
    laws = {fitted.agent_ratio: fitted for fitted in law.power_laws}
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.88, len(ratios)))
    span = np.geomspace(table.flops.min(), table.flops.max(), 100)
    for i, (ratio, colour) in enumerate(zip(ratios, colours, strict=True)):
        rows = table.ratios == ratio
        label = f"{ratio:.0%}"
        if fitted := laws.get(float(ratio)):
            axis.plot(span, fitted.predict(span), color=colour, lw=1.3)
            label += f"   exponent {fitted.alpha:.2f}"
        axis.plot(table.flops[rows], losses[rows], _MARKERS[i % len(_MARKERS)], color=colour, ms=5, label=label)
    axis.set_xscale("log")
    axis.set_xlabel("training compute (FLOPs)")
    name = "agent benchmark loss" if law.power_law_metric == "benchmark" else "objective"
    axis.set_ylabel(f"{name} (bits per byte)")
    axis.legend(title="agent ratio", fontsize=8, title_fontsize=8, frameon=False)
    axis.grid(alpha=0.25, which="both")
    _save(figure, path)


def _short(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG with a palette: a third of the size, and its bytes depend on the picture alone."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
