"""Draw what a mixture was asked to be, and what it is."""

import json
from pathlib import Path


def mixture_figure(mixture_folder: Path, path: Path) -> None:
    """Write a PNG: the shares asked and met as stacked bars, and beside them how often each domain is visited."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    head = json.loads((mixture_folder / "mixture.json").read_text())
    components = sorted(head["components"].items())
    figure = Figure(figsize=(8, 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    shares, epochs = figure.subplots(1, 2)
    bottom = [0.0, 0.0]
    for number, (domain, component) in enumerate(components):
        heights = [component["share"], component["sequences"] / head["num_sequences"]]
        bars = shares.bar(["asked", "met"], heights, bottom=bottom, color=f"C{number}", width=0.6)
        shares.bar_label(bars, [f"{domain} {height:.2%}" for height in heights], label_type="center", fontsize=8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    shares.set_ylabel("share of tokens")
    shares.set_title(f"{head['num_sequences']:,} sequences of {head['sequence_length']:,} tokens", fontsize=9)
    visits = [component["epochs"] for _, component in components]
    colours = [f"C{number}" for number in range(len(components))]
    epochs.bar_label(epochs.barh([domain for domain, _ in components], visits, color=colours), fmt="%.3g", fontsize=8)
    epochs.margins(x=0.15)
    epochs.set_xlabel("epochs over unique tokens")
    figure.savefig(path, metadata={"Software": None})
