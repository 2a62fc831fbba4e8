"""Planned and actual amounts as aligned tables."""

from collections.abc import Mapping

from rich.console import Console

from hephaestus_dag.costs.actual import Pair, sums
from hephaestus_dag.costs.amount import Amount
from hephaestus_dag.costs.estimate import Estimate
from hephaestus_dag.costs.show import Row, print_table
from hephaestus_dag.costs.words import number, time_of

UNITS = {"documents": "", "tokens": "", "disk": "B", "time": "h"}
TABLES = (("documents", "tokens"), ("disk", "time"))
WORDS = ("planned", "actual", "ratio")


def print_actual(planned: Estimate, compared: Mapping[str, Mapping[str, Pair]], console: Console) -> None:
    """Print two tables: documents and tokens, then disk and time, each planned, actual, and actual over planned."""
    if not compared:
        console.print(f"nothing of {planned.recipe.name} has been built in this store yet")
        return
    for names in TABLES:
        columns = ("asset", *(f"{name} {word}" if word == WORDS[0] else word for name in names for word in WORDS))
        blocks: dict[str, list[tuple[Row, str]]] = {}
        for key, pairs in compared.items():
            row = (key, *(cell for name in names for cell in _cells(pairs[name], UNITS[name])))
            blocks.setdefault(planned.costs[key].group.replace("_", " "), []).append((row, ""))
        total = {name: sums(pairs[name] for pairs in compared.values()) for name in names}
        row = ("where both are known", *(cell for name in names for cell in _cells(total[name], UNITS[name])))
        print_table(console, columns, [*blocks.items(), ("all", [(row, "")])])
        console.print()
    hours = sum(pairs["time"].actual or 0 for pairs in compared.values())
    console.print(
        f"{len(compared)} of {len(planned.costs)} assets are built, in {time_of(hours)} one after the other.\n"
        f"ratio: actual / planned. Time is planned from FLOP alone, on {planned.device.name}: {planned.device.peak_in_words} "
        f"at {planned.utilisation:.0%} utilisation;\nreading, curating and starting processes are not in them."
    )


def _cells(pair: Pair, unit: str) -> Row:
    ratio = "" if pair.ratio is None else f"{pair.ratio:.2f}" if pair.ratio < 100 else f"{pair.ratio:,.0f}"
    return number(pair.planned, unit), "–" if pair.actual is None else number(Amount(float(pair.actual)), unit), ratio
