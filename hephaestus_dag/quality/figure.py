"""Draw what the quality classifier does on held-out examples."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hephaestus_dag.quality.measures import curve, reliability

BLUE, GREY = "#2b6cb0", "#b8bcc4"
OTHERS = ("#c05621", "#2f855a")


def quality_figure(
    scores: np.ndarray, labels: np.ndarray, name: str, ways: Mapping[str, np.ndarray], truth: np.ndarray, path: Path
) -> None:
    """Write a PNG of three panels: scores of both classes, precision against recall, and reliability.

    The first shows ``scores`` and ``labels`` of all examples. The others show the part ``name`` of them, whose labels are
    ``truth``; ``ways`` maps ways of scoring to their scores of that part, the classifier first.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for panel in (left, middle, right):
        panel.spines[["top", "right"]].set_visible(False)
    bins = np.linspace(0, 1, 31).tolist()
    left.hist(scores[~labels], bins, color=GREY, label=f"negative ({(~labels).sum():,})")
    left.hist(scores[labels], bins, color=BLUE, alpha=0.7, label=f"positive ({labels.sum():,})")
    left.set(title="All held-out examples", xlabel="quality score", ylabel="examples", xlim=(0, 1))
    left.legend(frameon=False)

    for (way, values), color in zip(ways.items(), (BLUE, *OTHERS), strict=False):
        ranked = curve(values, truth)
        recall, precision = np.append(0, ranked.recall), np.append(ranked.precision[0], ranked.precision)
        label = f"{way} ({float(ranked.average_precision):.2f})"
        middle.step(recall, precision, where="pre", color=color, linewidth=2 if color == BLUE else 1.2, label=label)
    middle.axhline(truth.mean(), color=GREY, linestyle="--", label=f"keep everything ({truth.mean():.2f})")
    middle.set(title=f"Held-out {name}: average precision", xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    middle.legend(frameon=False, fontsize="small")

    rows = reliability(next(iter(ways.values())), truth)
    means, shares, sizes = ([row[column] for row in rows] for column in ("mean_score", "positive_share", "examples"))
    right.plot([0, 1], [0, 1], color=GREY, linestyle="--")
    right.plot(means, shares, color=BLUE, linewidth=1)
    right.scatter(means, shares, s=20 + 300 * np.array(sizes) / sum(sizes), color=BLUE, alpha=0.7, linewidths=0)
    right.set(title=f"Held-out {name}: reliability", xlabel="quality score", ylabel="share of positives")
    right.set(xlim=(0, 1.02), ylim=(-0.02, 1.02))
    figure.savefig(path, dpi=80, metadata={"Software": None})
