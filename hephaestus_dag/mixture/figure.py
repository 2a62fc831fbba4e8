"""Draw what a mixture was asked to be, and what it is."""

import json
from collections import defaultdict
from pathlib import Path


def mixture_figure(mixture_folder: Path, path: Path) -> None:
    """Write a PNG: the shares asked and met as stacked bars, and how often each component's and source's tokens are shown."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    head = json.loads((mixture_folder / "mixture.json").read_text())
    components = head["components"]
    colours = {name: f"C{number}" for number, name in enumerate(components)}
    bars = [(name, component["epochs"], colours[name]) for name, component in components.items()]
    bars += [(source, epochs, "0.7") for source, epochs in _epochs_by_source(head).items() if source not in components]
    figure = Figure(figsize=(9, max(3.2, 0.9 + 0.24 * len(bars))), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    shares, epochs = figure.subplots(1, 2)
    bottom = [0.0, 0.0]
    for name, component in components.items():
        heights = [component["share"], component["sequences"] / head["num_sequences"]]
        drawn = shares.bar(["asked", "met"], heights, bottom=bottom, color=colours[name], width=0.6)
        shares.bar_label(drawn, [f"{name} {height:.2%}" for height in heights], label_type="center", fontsize=8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    shares.set_ylabel("share of tokens")
    shares.set_title(f"{head['num_sequences']:,} sequences of {head['sequence_length']:,} tokens", fontsize=9)

    labels, values, shades = zip(*bars, strict=True)
    places = range(len(bars))
    epochs.bar_label(epochs.barh(places, values, color=shades), fmt="%.3g", fontsize=8)
    epochs.set_yticks(places, labels, fontsize=8)
    epochs.invert_yaxis()
    epochs.margins(x=0.15)
    epochs.set_xlabel("times that unique tokens are shown")
    epochs.set_title("components, and below them sources" if len(bars) > len(components) else "components", fontsize=9)
    figure.savefig(path, metadata={"Software": None})


def _epochs_by_source(head: dict) -> dict[str, float]:
    """Return how often each source is shown, over all stores; nothing where there is one source or none is named."""
    shown, unique = defaultdict[str, int](int), defaultdict[str, int](int)
    for source in head["sources"]:
        shown[source["source"]] += source["tokens"]
        unique[source["source"]] += source["unique_tokens"]
    found = {name: shown[name] / unique[name] for name in shown if name and unique[name]}
    return found if len(found) > 1 else {}
