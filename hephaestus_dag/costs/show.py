"""The estimate as text for a person: aligned tables, and headed lists below them, as wide as the terminal and 100 columns."""

import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape

from hephaestus_dag.costs.amount import NOTHING, Amount, total
from hephaestus_dag.costs.book import Cost
from hephaestus_dag.costs.estimate import GROUPS, Estimate
from hephaestus_dag.costs.lists import sections, summary
from hephaestus_dag.costs.standing import Standing
from hephaestus_dag.costs.words import LEGEND, few, number, size

COLUMNS = ("asset", "run", "documents", "tokens", "FLOP", "time", "disk")
MEMORY_COLUMNS = ("job", "weights", "gradients", "optimiser", "activations", "other", "sum", "of", "")
WIDTH = 100
"""Columns at most."""
CELLS = "proxy_runs/"
Row = tuple[str, ...]


def cost_rows(found: Estimate) -> Iterator[tuple[str, list[tuple[Row, str]]]]:
    """Yield each group with its rows, each with a remark; the cells of the sweep are one row."""
    for group in GROUPS:
        costs = [cost for cost in found.costs.values() if cost.group == group]
        cells = [cost for cost in costs if cost.key.startswith(CELLS)]
        rows = [_cells_row(found, cells)] if cells else []
        yield group.replace("_", " "), rows + [_row(found, cost) for cost in costs if cost not in cells]


def _row(found: Estimate, cost: Cost) -> tuple[Row, str]:
    lacking = found.lacking.get(cost.key, [])
    remarks = [
        *([f"{len(lacking)} input{'s' * (len(lacking) > 1)} missing"] if lacking else _why(found.standings.get(cost.key))),
        *(["too few documents"] if cost.shortage else []),
    ]
    done = not found.to_do(cost.key)
    work, time = (NOTHING, NOTHING) if done else (cost.inference + cost.training, found.time(cost))
    standing = found.standings.get(cost.key)
    return _cells(cost.key, standing.action if standing else "", cost, work, time), "; ".join(remarks)


def _cells_row(found: Estimate, cells: list[Cost]) -> tuple[Row, str]:
    """Return one row for all cells of the sweep: amounts of all, work of those that are to be done."""
    tokens, disk = (total([getattr(cell, name) for cell in cells])[0] for name in ("tokens", "disk"))
    todo = [cell for cell in cells if found.to_do(cell.key)]
    work, time = total([cell.inference + cell.training for cell in todo])[0], total([found.time(cell) for cell in todo])[0]
    stand = [found.standings[cell.key] for cell in cells if cell.key in found.standings]
    actions = Counter(standing.action for standing in stand)
    first = next((standing for standing in stand if standing.action != "reuse"), None)
    several = [f"{count} {action}" for action, count in actions.items()] if len(actions) > 1 else []
    key = f"{CELLS}* ({len(cells)} cells)"
    action = "some" if several else next(iter(actions), "")
    row = _cells(key, action, Cost(key=key, group="", tokens=tokens, disk=disk), work, time)
    return row, "; ".join([*several, *_why(first)])


def _cells(key: str, action: str, cost: Cost, work: Amount, time: Amount) -> Row:
    amounts = (number(cost.documents), number(cost.tokens), number(work, "FLOP"), number(time, "h"), number(cost.disk, "B"))
    return key, action, *amounts


def _why(standing: Standing | None) -> list[str]:
    """Return why an asset is built again, in a few words, and since which artifact."""
    if standing is None or standing.action != "rebuild":
        return []
    if not standing.reasons:
        return [f"follows {few(list(standing.causes))}"]
    return [few(standing.reasons) + (f" since @{standing.compared.name}" if standing.compared else "")]


def memory_rows(found: Estimate) -> list[Row]:
    """Return one row for each sort of training job."""
    return [
        (
            memory.job + (f" on {memory.processes}" if memory.processes > 1 else ""),
            *(size(part) for part in (memory.weights, memory.gradients, memory.optimizer, memory.activations)),
            size(memory.loss + memory.buffers),
            size(memory.total),
            size(memory.limit),
            "fits" if memory.fits else "DOES NOT FIT",
        )
        for memory in found.memory
    ]


def print_estimate(found: Estimate, console: Console, warning: str = "") -> None:
    """Print everything; ``warning`` comes first."""
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    print_lines(console, [f"{found.recipe.name}: {found.recipe.description}", summary(found)], width, "")
    if warning:
        console.print()
        print_lines(console, [f"Cannot run here: {warning}"], width, "")
    console.print()
    print_table(console, COLUMNS, list(cost_rows(found)), left=2, width=width)
    console.print()
    print_lines(console, [LEGEND], width, "")
    memory = [(row, "") for row in memory_rows(found)]
    of = "this machine" if found.device.kind == "CPU" else f"one {found.device.name}"
    console.print(f"\n[bold]Memory of {of}, an estimate[/bold]")
    print_table(console, MEMORY_COLUMNS, [("", memory)])
    for head, lines in sections(found):
        if lines:
            console.print(f"\n[bold]{head}[/bold]")
            print_lines(console, lines, width)


def print_lines(console: Console, lines: list[str], width: int = WIDTH, indent: str = "  ") -> None:
    """Print lines, each broken between words where it is longer than ``width``; indented ones, to be copied, stay whole."""
    for line in lines:
        if line.startswith("    "):  # a command to copy, or a path
            console.print(f"{indent}{escape(line)}")
            continue
        found = textwrap.wrap(
            line, width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False
        )
        for part in found:
            console.print(escape(part))


def print_table(
    console: Console, columns: Row, blocks: list[tuple[str, list[tuple[Row, str]]]], left: int = 1, width: int = WIDTH
) -> None:
    """Print rows aligned, the first columns to the left and the others to the right, each with its remark in a line below."""
    rows = [columns, *(row for _, block in blocks for row, _ in block)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Row) -> str:
        cells = [cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        return escape("  ".join(cells).rstrip())

    console.print(line(columns))
    for head, block in blocks:
        if head and block:
            console.print(f"[bold]{head}[/bold]")
        for row, remark in block:
            console.print(line(row))
            for part in textwrap.wrap(remark, width, initial_indent="    ", subsequent_indent="      "):
                console.print(f"[dim]{escape(part)}[/dim]")
