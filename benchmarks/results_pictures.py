"""The pictures of the page: scores with their intervals, and held-out loss along the stages."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from results_runs import HEADLINE, Results

from hephaestus_dag.evaluation.report.pictures import draw_scores
from hephaestus_dag.evaluation.report.published import NAMES

SHOWN = (HEADLINE, "BFCL AST live", "BFCL irrelevance", "BFCL relevance", "BFCL multi-turn")
"""Of BFCL; of other benchmarks what stands in the tables."""


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw the pictures into a folder and return their files; without training there is no picture of stages."""
    shown = [*SHOWN, *results.groups(*(key for key in NAMES if key != "bfcl"))]
    columns = sorted(
        (each for each in results.report["columns"] if each["group"] in shown), key=lambda each: shown.index(each["group"])
    )
    scores, stages = folder / "results-scores.png", folder / "results-stages.png"
    draw_scores({**results.report, "columns": columns}, scores)
    stages.unlink(missing_ok=True)
    return [scores, stages] if _draw_stages(results, stages) else [scores]


def _draw_stages(results: Results, path: Path) -> bool:
    """Draw a panel for each held-out domain; a line is a run."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    runs = [run for run in results.runs if run.stages]
    domains = sorted({domain for run in runs for stage in run.stages for domain in stage["heldout"]})
    if not domains:
        return False
    figure, axes = plt.subplots(1, len(domains), figsize=(3.7 * len(domains), 3.6), layout="constrained", squeeze=False)
    for axis, domain in zip(axes[0], domains, strict=True):
        for run in runs:
            tokens, losses = [0.0], [run.stages[0]["heldout_before"].get(domain)]
            for stage in run.stages:
                tokens.append(tokens[-1] + stage["tokens"] / 1e6)
                losses.append(stage["heldout"].get(domain))
            points: list[tuple[float, dict[str, Any]]] = [(at, loss) for at, loss in zip(tokens, losses, strict=True) if loss]
            axis.plot([at for at, _ in points], [loss["bits_per_byte"] for _, loss in points], marker="o", ms=3, label=run.name)
        axis.set_title(f"held-out {domain}", fontsize=10)
        axis.set_xlabel("million tokens")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e6e9ec")
    axes[0][0].set_ylabel("bits per byte")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
    return True
