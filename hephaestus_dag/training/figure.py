"""The loss of a training run as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def draw_loss(metrics: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Draw training loss (raw and smoothed) and held-out loss per domain over tokens, from the lines of metrics.jsonl."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [line for line in metrics if "loss" in line]
    tokens_of = {0: 0} | {line["step"]: line["tokens"] for line in steps}
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    tokens, loss = [line["tokens"] for line in steps], np.array([line["loss"] for line in steps])
    axes.plot(tokens, loss, color="0.8", linewidth=0.8)
    axes.plot(tokens, smooth(loss), color="0.25", linewidth=1.4, label="training, smoothed")

    evaluations = [line for line in metrics if "heldout" in line]
    for domain in sorted(evaluations[0]["heldout"]) if evaluations else []:
        points = [(tokens_of[line["step"]], line["heldout"][domain]["loss"]) for line in evaluations]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1, label=f"held-out {domain}")
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
