"""The course of a training run as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_POINTS = 2_000


def draw_loss(metrics: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Draw training loss, held-out loss per domain and learning rate over tokens, from the lines of metrics.jsonl.

    Skipped steps are crosses at the upper edge, rewinds are vertical lines. A tenth of a second, however long the run and
    whether or not it has ended.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [line for line in metrics if "tokens" in line]
    tokens_per_step = steps[0]["tokens"] // steps[0]["step"] if steps else 0
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()

    rates = axes.twinx()
    rates.plot(*_thinned([line["tokens"] for line in steps], [line["lr"] for line in steps]), color="C9", linewidth=0.7)
    rates.set_ylabel("learning rate", color="C9", fontsize=8)
    rates.tick_params(colors="C9", labelsize=7)
    rates.set_ylim(bottom=0)
    axes.set_zorder(rates.get_zorder() + 1)
    axes.patch.set_visible(False)

    updates = [line for line in steps if "skipped" not in line]
    tokens, loss = [line["tokens"] for line in updates], np.array([line["loss"] for line in updates])
    axes.plot(*_thinned(tokens, loss), color="0.8", linewidth=0.8)
    axes.plot(*_thinned(tokens, smooth(loss)), color="0.25", linewidth=1.4, label="training, smoothed")
    evaluations = [line for line in metrics if "heldout" in line]
    for domain in sorted(evaluations[0]["heldout"]) if evaluations else []:
        points = [(line["step"] * tokens_per_step, line["heldout"][domain]["loss"]) for line in evaluations]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1, label=f"held-out {domain}")

    if skipped := [line["tokens"] for line in steps if "skipped" in line]:
        height = [0.98] * len(skipped)
        axes.plot(skipped, height, "x", color="C3", markersize=4, transform=axes.get_xaxis_transform(), label="step skipped")
    for number, line in enumerate(line for line in metrics if "rewound_to" in line):
        label = None if number else "back to a checkpoint"
        axes.axvline(line["step"] * tokens_per_step, color="C3", linewidth=0.8, linestyle="--", label=label)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="training tokens", ylabel="nats per token", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Software": None})


def smooth(values: np.ndarray) -> np.ndarray:
    """Return the mean of each value and those before it, over a twentieth of all."""
    width = max(1, len(values) // 20)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _thinned(x: Sequence[float], y: Sequence[float] | np.ndarray) -> tuple[Sequence[float], Sequence[float] | np.ndarray]:
    every = max(1, len(x) // MAX_POINTS)
    return x[::every], y[::every]
