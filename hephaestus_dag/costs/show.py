"""The estimate as text for a person: aligned tables of at most 100 columns, and headed lists below them."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape

from hephaestus_dag.costs.amount import NOTHING, Amount, total
from hephaestus_dag.costs.book import Cost
from hephaestus_dag.costs.estimate import GROUPS, PAPER, PAPER_COST, Estimate, assumptions
from hephaestus_dag.costs.standing import Standing

COLUMNS = ("asset", "run", "documents", "tokens", "FLOP", "{}-h", "disk")
MEMORY_COLUMNS = ("job", "weights", "gradients", "optimiser", "activations", "other", "sum", "of", "")
FEW = 3
"""Assets, or changed fields, that a line names; the rest is counted."""
WIDTH = 100
CELLS = "proxy_runs/"
Row = tuple[str, ...]


def number(amount: Amount, unit: str = "") -> str:
    """Return an amount in at most four digits: ``~4.2e+09``, ``≤1,200``, ``–`` for nothing, ``?`` for unknown."""
    value = amount.value
    if value is None:
        return "?"
    if value == 0:
        return "–"
    if unit == "B":
        return amount.kind + size(value)
    if unit == "FLOP":
        return f"{amount.kind}{value:.1e}".replace("e+", "e")
    if unit == "s":
        return f"{amount.kind}{value:,.0f} s" if value >= 10 else f"{amount.kind}{value:.1g} s"
    if unit == "h":
        return f"{amount.kind}{value:,.0f}" if value >= 10 else amount.kind + (f"{value:.2g}" if value >= 0.01 else "<0.01")
    for limit, unit_of, letter in ((1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e5, 1e3, "K")):
        if value >= limit:
            return f"{amount.kind}{value / unit_of:,.4g}{letter}"
    return f"{amount.kind}{value:,.0f}"


def size(num_bytes: float) -> str:
    """Return bytes in words."""
    for limit, letter in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= limit:
            return f"{num_bytes / limit:.3g} {letter}"
    return f"{num_bytes:.0f} B"


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
    work = cost.inference + cost.training if found.to_do(cost.key) else NOTHING
    standing = found.standings.get(cost.key)
    return _cells(found, cost.key, standing.action if standing else "", cost, work), "; ".join(remarks)


def _cells_row(found: Estimate, cells: list[Cost]) -> tuple[Row, str]:
    """Return one row for all cells of the sweep: amounts of all, work of those that are to be done."""
    tokens, disk = (total([getattr(cell, name) for cell in cells])[0] for name in ("tokens", "disk"))
    work = total([cell.inference + cell.training for cell in cells if found.to_do(cell.key)])[0]
    stand = [found.standings[cell.key] for cell in cells if cell.key in found.standings]
    actions = Counter(standing.action for standing in stand)
    first = next((standing for standing in stand if standing.action != "reuse"), None)
    several = [f"{count} {action}" for action, count in actions.items()] if len(actions) > 1 else []
    key = f"{CELLS}* ({len(cells)} cells)"
    return (
        _cells(
            found, key, "some" if several else next(iter(actions), ""), Cost(key=key, group="", tokens=tokens, disk=disk), work
        ),
        "; ".join([*several, *_why(first)]),
    )


def _cells(found: Estimate, key: str, action: str, cost: Cost, work: Amount) -> Row:
    hours = found.hours(work)
    return (
        *(key, action, number(cost.documents), number(cost.tokens), number(work, "FLOP"), number(hours, "h")),
        number(cost.disk, "B"),
    )


def _why(standing: Standing | None) -> list[str]:
    """Return why an asset is built again, in a few words."""
    if standing is None or standing.action != "rebuild":
        return []
    return [few(standing.reasons)] if standing.reasons else [f"follows {few(list(standing.causes))}"]


def few(names: Sequence[str], most: int = FEW) -> str:
    """Return some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def change_lines(found: Estimate) -> list[str]:
    """Return each field that changed, with the assets in which it did and how many others follow."""
    roots: dict[str, set[str]] = {}
    followers: dict[str, set[str]] = {}
    for key, standing in found.standings.items():
        for reason in standing.reasons if standing.action == "rebuild" else ():
            roots.setdefault(reason, set()).add(key)
        for root, reasons in standing.causes.items():
            for reason in reasons:
                roots.setdefault(reason, set()).add(root)
                followers.setdefault(reason, set()).add(key)
    lines = []
    for reason, changed in roots.items():
        after = len(followers.get(reason, set()) - changed)
        lines.append(f"{reason}: {few(sorted(changed))}" + (f"; {after} more follow" if after else ""))
    return lines


def summary(found: Estimate) -> str:
    """Return how many assets a run reuses and builds."""
    actions = Counter(standing.action for standing in found.standings.values())
    words = {
        "reuse": "are there and will be reused",
        "rebuild": "will be built again",
        "build": "will be built for the first time",
        "unknown": "cannot be known before their inputs are here",
    }
    parts = [f"{actions[action]} {text}" for action, text in words.items() if actions[action]]
    return f"{len(found.costs)} assets" + (f": {', '.join(parts)}" if parts else "")


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


def closing_lines(found: Estimate) -> list[str]:
    """Return totals, the time of the main variant, and the paper's cost for the paper's recipe."""
    inference, left_out = found.sum_of("inference")
    training, no_training = found.sum_of("training")
    disk, no_disk = found.sum_of("disk")
    lines = [
        f"inference: {_priced(found, inference)}{_without(left_out)}",
        f"training: {_priced(found, training)}{_without(no_training)}",
        f"disk: {number(disk, 'B')}{_without(no_disk)}; a training job's checkpoints, while it runs: "
        + number(found.scratch, "B"),
    ]
    stages = found.stage_jobs()
    for stage, job in stages.items():
        wall, gpus = found.wall_hours(job), found.recipe.execution.launcher.for_batch(job.config.global_batch_sequences)
        lines.append(
            f"{found.main_variant}, Stage {'I' * stage}: {number(job.steps)} steps, {number(job.tokens)} tokens, "
            f"{_priced(found, job.training)}: {_days(wall)} on {gpus.num_processes} {found.device.name}"
        )
    if found.recipe.name == PAPER:
        both = NOTHING
        for stage in (1, 2):
            both = both + stages[stage].training if stage in stages else both
        lines += [PAPER_COST, f"The estimate for Stages I and II beside it: {_priced(found, both)}."]
    return lines


def _priced(found: Estimate, flops: Amount) -> str:
    return f"{number(flops, 'FLOP')} FLOP = {number(found.hours(flops), 'h')} {found.device.kind}-hours"


def _without(count: int) -> str:
    return f" (without {count} that cannot be known yet)" if count else ""


def _days(hours: Amount) -> str:
    if hours.value is None:
        return "?"
    return f"{hours.kind}{hours.value / 24:.1f} days" if hours.value >= 48 else f"{number(hours, 'h')} hours"


def unknown_lines(found: Estimate) -> list[str]:
    """Return why an amount is ``?``: one line for each reason, with the assets that it concerns."""
    reasons: dict[str, list[str]] = {}
    for cost in found.costs.values():
        for amount in (cost.documents, cost.tokens, cost.inference, cost.training, cost.disk):
            if amount.value is None and cost.key not in reasons.setdefault(amount.reason, []):
                reasons[amount.reason].append(cost.key)
    return [f"{reason} ({few(keys, 4)})" for reason, keys in reasons.items()]


def annotation_lines(found: Estimate) -> list[str]:
    """Return what each asset asks a language model, in tokens and money."""
    lines = []
    for cost in found.costs.values():
        if asked := cost.answers:
            local = not asked.money.value and not asked.money.reason
            money = "a local model: no money" if local else f"money: {_money(asked.money)}"
            words = f"{number(asked.questions)} questions, {number(asked.read)} tokens read, {number(asked.written)} written"
            lines.append(f"{cost.key}: {words}; {money}" + ("" if found.to_do(cost.key) else " (reused: not asked again)"))
    return lines


def _money(amount: Amount) -> str:
    return f"? ({amount.reason})" if amount.value is None else f"{amount.kind}{amount.value:,.4g}"


def sections(found: Estimate) -> list[tuple[str, list[str]]]:
    """Return the headed lists below the tables."""
    return [
        ("What changed since the last run", change_lines(found)),
        ("To do", closing_lines(found)),
        ("Questions to language models", annotation_lines(found)),
        ("Missing inputs", _missing_lines(found) or ["none"]),
        ("Fetched from the Hugging Face hub when first needed; access is not checked here", found.fetched),
        ("Too few documents", [f"{cost.key}: {cost.shortage}" for cost in found.costs.values() if cost.shortage]),
        ("Not known before the run", unknown_lines(found)),
        ("Assumptions", assumptions(found)),
    ]


def _missing_lines(found: Estimate) -> list[str]:
    return [line for each in found.missing for line in (str(each), *([f"    {each.hint}"] if each.hint else []))]


def print_estimate(found: Estimate, console: Console) -> None:
    """Print everything."""
    console.print(escape(f"{found.recipe.name}: {found.recipe.description}\n{summary(found)}\n"))
    columns = tuple(column.format(found.device.kind) for column in COLUMNS)
    print_table(console, columns, list(cost_rows(found)), left=2)
    memory = [(row, "") for row in memory_rows(found)]
    of = "this machine" if found.device.kind == "CPU" else f"one {found.device.name}"
    console.print(f"\n[bold]Memory of {of}, an estimate[/bold]")
    print_table(console, MEMORY_COLUMNS, [("", memory)])
    for head, lines in sections(found):
        if lines:
            console.print(f"\n[bold]{head}[/bold]")
            for line in lines:
                console.print(f"  {escape(line)}")


def print_table(console: Console, columns: Row, blocks: list[tuple[str, list[tuple[Row, str]]]], left: int = 1) -> None:
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
            for part in textwrap.wrap(remark, WIDTH, initial_indent="    ", subsequent_indent="      "):
                console.print(f"[dim]{escape(part)}[/dim]")
