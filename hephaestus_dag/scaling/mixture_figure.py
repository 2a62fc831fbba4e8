"""Pictures of a study whose mixtures do not lie on a line: several shares are free, so there is no one ratio to draw over."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from hephaestus_dag.scaling.figure import BEST, CURVE, MARKERS, POINT, measured, short
from hephaestus_dag.scaling.optimum import GRID_POINTS, objective_curve, through
from hephaestus_dag.scaling.study import Study

COLUMNS = 4


def ratio_figure(found: Study) -> Figure:
    """The objective at the target against each domain's share, through the best mixture, the others keeping their proportions.

    Runs are not in it: theirs differ in every share at once.
    """
    table, best = found.law.table, found.target
    mixture = np.array(list(best.shares.values()))
    columns = min(COLUMNS, len(table.domains))
    rows = -(-len(table.domains) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows + 0.8), layout="constrained")
    axes = np.atleast_1d(np.asarray(figure.subplots(rows, columns, sharey=True))).ravel()
    for j, (axis, domain) in enumerate(zip(axes, table.domains, strict=False)):
        low, high = table.shares[:, j].min(), table.shares[:, j].max()
        grid = np.linspace(low, high, GRID_POINTS)
        curve = objective_curve(found.law, found.weights, best.scale, through(mixture, j, grid))
        axis.plot(grid, curve, color=CURVE, label="law")
        axis.axvspan(*best.regret_bands[domain], color=CURVE, alpha=0.1, lw=0, label="within 2 sigma of a run")
        share, ends = best.shares[domain], best.intervals[domain]
        spread = [[max(share - ends[0], 0)], [max(ends[1] - share, 0)]]
        axis.errorbar(share, best.loss, xerr=spread, fmt="D", color=BEST, ms=4, capsize=5, label="best, 95 % interval")
        axis.set_xlabel(f"share of {domain}")
        axis.grid(alpha=0.25)
        axis.ticklabel_format(axis="y", useOffset=False)
    for axis in axes[len(table.domains) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel("objective")
    handles, labels = axes[0].get_legend_handles_labels()
    title = f"{short(best.scale.params)} parameters, {short(best.scale.tokens)} tokens; the others keep their proportions"
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8, title=title)
    return figure


def flops_figure(found: Study) -> Figure:
    """The objective against training compute: the runs by size, and the law at the best mixture of each scale."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.subplots()
    table, (_, objective) = found.law.table, measured(found)
    sizes = np.unique(table.params)
    for i, (size, colour) in enumerate(zip(sizes, mpl.colormaps["viridis"](np.linspace(0, 0.88, len(sizes))), strict=True)):
        rows = table.params == size
        marker = MARKERS[i % len(MARKERS)]
        axis.plot(
            table.flops[rows], objective[rows], marker, color=colour, ms=4, alpha=0.7, label=f"runs of {short(size)} parameters"
        )
    optima = sorted(found.optima, key=lambda optimum: optimum.scale.flops)
    at = [optimum.scale.flops for optimum in optima]
    axis.plot(at, [optimum.loss for optimum in optima], "D-", color=BEST, ms=4, lw=1, label="law, at the best mixture")
    axis.set_xscale("log")
    axis.set_xlabel("training compute (FLOPs)")
    axis.set_ylabel("objective")
    axis.legend(fontsize=8, frameon=False)
    axis.grid(alpha=0.25, which="both")
    return figure


def optimum_figure(found: Study) -> Figure:
    """The best share of each domain against compute, with its interval."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axis = figure.subplots()
    optima = sorted(found.optima, key=lambda optimum: optimum.scale.flops)
    at = np.array([optimum.scale.flops for optimum in optima])
    domains = found.law.table.domains
    for i, (domain, colour) in enumerate(zip(domains, mpl.colormaps["tab20"](np.arange(len(domains))), strict=True)):
        best = np.array([optimum.shares[domain] for optimum in optima])
        ends = np.array([optimum.intervals[domain] for optimum in optima])
        spread = np.maximum([best - ends[:, 0], ends[:, 1] - best], 0)
        # A little apart, or the intervals of one scale hide each other.
        aside = at * 1.04 ** (i - (len(domains) - 1) / 2)
        axis.errorbar(
            aside, best, yerr=spread, fmt=f"{MARKERS[i % len(MARKERS)]}-", color=colour, ms=4, lw=1, capsize=3, label=domain
        )
    axis.axvline(found.target.scale.flops, color=POINT, ls=":", lw=1, label="target")
    axis.set_xscale("log")
    axis.set_ylim(-0.02, 1)
    axis.set_xlabel("training compute (FLOPs)")
    axis.set_ylabel("best share, 95 % interval")
    figure.legend(loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    axis.grid(alpha=0.25)
    return figure
