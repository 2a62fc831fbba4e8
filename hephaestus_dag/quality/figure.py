"""Draw the held-out scores of the quality classifier."""

from pathlib import Path

import numpy as np


def score_figure(scores: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Write a PNG: histogram of the scores of both classes, and precision against recall."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = np.linspace(0, 1, 31).tolist()
    left.hist(scores[~labels], bins, color="#b8bcc4", label=f"negative ({(~labels).sum():,})")
    left.hist(scores[labels], bins, color="#2b6cb0", alpha=0.7, label=f"positive ({labels.sum():,})")
    left.set_xlabel("quality score")
    left.set_ylabel("held-out examples")
    left.legend(frameon=False)

    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    right.plot(hits / max(hits[-1], 1), hits / np.arange(1, len(scores) + 1), color="#2b6cb0")
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    figure.savefig(path, dpi=80, metadata={"Software": None})
