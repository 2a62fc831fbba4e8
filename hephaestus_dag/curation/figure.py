"""The waterfall of a curation as a picture."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hephaestus_dag.curation.pipeline import CurationCounts


def waterfall_figure(counts: CurationCounts) -> bytes:
    """Return a PNG: documents read, what each step removed, and what was kept. The same counts give the same bytes."""
    labels = ["read", *(count.step.replace("_", " ") for count in counts.steps), "kept"]
    lengths = [counts.read, *(count.removed for count in counts.steps), counts.kept]
    starts = [0, *(count.kept for count in counts.steps), 0]
    colours = ["#4c72b0", *["#c44e52"] * len(counts.steps), "#55a868"]
    figure = Figure(figsize=(7, 0.5 * len(labels) + 1), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.barh(labels, lengths, left=starts, color=colours)
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        share = f" ({length / counts.read:.2%})" if counts.read else ""
        sign = "" if row in (0, len(labels) - 1) else "−"
        axes.annotate(f"{sign}{length:,}{share}", (start + length, row), (4, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(counts.read, 1))
    axes.set_xlabel("documents")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
