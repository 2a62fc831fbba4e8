"""The report's pictures: bars with intervals for each benchmark, and a radar over all abilities."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from hephaestus_dag.evaluation.report.cells import find_column
from hephaestus_dag.evaluation.report.published import RADAR

FEWEST_AXES = 3
SMALL_PANEL = 4


def draw_scores(report: Mapping[str, Any], path: Path) -> None:
    """Draw one panel of bars with intervals for each benchmark and kind of number."""
    plt = _pyplot()
    panels: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
    for column in report["columns"]:
        panels.setdefault((column["benchmark"], column["decimals"]), []).append(column)
    names = report["variants"]
    figure, axes = _panels(plt, [len(columns) for columns in panels.values()])
    for axis, ((key, decimals), columns) in zip(axes, panels.items(), strict=True):
        factor, width = 100 if decimals is None else 1, 0.8 / len(names)
        for number, name in enumerate(names):
            groups = report["scores"][name].get(key, {}).get("groups", {})
            shown = [(x, groups[c["group"]]) for x, c in enumerate(columns) if c["group"] in groups]
            heights = factor * np.array([entry["score"] for _, entry in shown])
            ends = factor * np.array([[entry["low"], entry["high"]] for _, entry in shown]).reshape(-1, 2).T
            places = [x + (number - (len(names) - 1) / 2) * width for x, _ in shown]
            errors = np.clip([heights - ends[0], ends[1] - heights], 0, None)
            axis.bar(places, heights, width * 0.92, yerr=errors, capsize=2, label=name, error_kw={"linewidth": 0.9})
        axis.set_xlim(-0.6, max(len(columns), 2) - 0.4)  # few scores must not make giant bars
        axis.set_xticks(range(len(columns)), [fill(column["group"], 16) for column in columns], fontsize=8)
        metric = columns[0]["metric"]
        axis.set_ylabel(f"{metric}, %" if decimals is None else metric)
        direction = "higher is better" if columns[0]["higher_is_better"] else "lower is better"
        axis.set_title(direction, loc="right", fontsize=8, color="#57606a")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e6e9ec")
        axis.set_axisbelow(True)
    _finish(figure, axes, report, path)


def draw_radar(report: Mapping[str, Any], path: Path) -> dict[str, list[str]] | None:
    """Draw the abilities that most models were scored on, 0 to 100 %, as a radar, where there are at least three.

    Models that lack one of these are left out, for a line to the centre would say zero: returned with the abilities that they
    lack. None where nothing was drawn; three abilities must be above zero, or the lines enclose nothing.
    """
    found = {name: [find_column(report, name, column) for column in RADAR] for name in report["variants"]}
    common = [at for at in range(len(RADAR)) if 2 * sum(bool(row[at]) for row in found.values()) > len(found)]
    lacking = {name: [RADAR[at].title for at in common if not row[at]] for name, row in found.items()}
    left_out = {name: titles for name, titles in lacking.items() if titles}
    found = {name: row for name, row in found.items() if name not in left_out}
    # A score that stands in two columns has one axis.
    axes_at = {entry[0]: at for at in common for row in found.values() if (entry := row[at])}
    above_zero = {entry[0] for at in common for row in found.values() if (entry := row[at]) and entry[1]["score"] > 0}
    if len(above_zero) < FEWEST_AXES:
        return None
    plt = _pyplot()
    angles = np.linspace(0, 2 * np.pi, len(axes_at), endpoint=False)
    figure, axis = plt.subplots(figsize=(8, 6), subplot_kw={"projection": "polar"}, layout="constrained")
    for name, row in found.items():
        values = [100 * entry[1]["score"] for at in axes_at.values() if (entry := row[at])]
        axis.plot([*angles, angles[0]], [*values, values[0]], label=name, linewidth=1.8)
        axis.fill(angles, values, alpha=0.08)
    axis.set_xticks(angles, [fill(title, 14) for title in axes_at], fontsize=9)
    for label, angle in zip(axis.get_xticklabels(), angles, strict=True):
        label.set_horizontalalignment("center" if abs(np.cos(angle)) < 0.1 else "left" if np.cos(angle) > 0 else "right")
    axis.set_ylim(0, 100)
    axis.set_yticks([25, 50, 75, 100], ["25", "50", "75", "100 %"], fontsize=8, color="#57606a")
    _finish(figure, [axis], report, path)
    return left_out


def _panels(plt: Any, sizes: list[int]) -> tuple[Any, list[Any]]:
    """Return a figure with an axis for each panel, given their numbers of scores; two small ones share a row."""
    rows: list[list[int]] = []
    for size in sizes:
        if rows and len(rows[-1]) == 1 and rows[-1][0] <= SMALL_PANEL and size <= SMALL_PANEL:
            rows[-1].append(size)
        else:
            rows.append([size])
    figure = plt.figure(figsize=(11, 3.6 * max(len(rows), 1)), layout="constrained")
    grid = figure.add_gridspec(max(len(rows), 1), 2)
    places = [grid[at, side] if len(row) == 2 else grid[at, :] for at, row in enumerate(rows) for side in range(len(row))]
    return figure, [figure.add_subplot(place) for place in places]


def _finish(figure: Any, axes: list[Any], report: Mapping[str, Any], path: Path) -> None:
    handles, labels = axes[0].get_legend_handles_labels() if axes else ([], [])
    if handles:
        figure.legend(handles, [_literal(label) for label in labels], loc="outside upper center", ncols=4, fontsize=9)
    figure.supxlabel(_literal(report["notice"]), fontsize=8, color="#57606a")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    _pyplot().close(figure)


def _literal(text: str) -> str:
    """Return text in which a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    return plt
