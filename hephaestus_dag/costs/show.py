"""The estimate as text, as tables for a terminal, and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hephaestus_dag.costs.amount import NOTHING, Amount, total
from hephaestus_dag.costs.book import Cost
from hephaestus_dag.costs.estimate import GROUPS, PAPER, PAPER_COST, Estimate, assumptions

COLUMNS = ("asset", "documents", "tokens", "inference FLOP", "GPU-h", "training FLOP", "GPU-h", "disk", "remarks")
MEMORY_COLUMNS = ("job", "GPUs", "weights", "gradients", "optimiser", "activations", "loss", "buffers", "sum", "of", "")
TABLE_WIDTH = 120
Rows = list[tuple[str, ...]]


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
        return f"{amount.kind}{value:.2e}"
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


def cost_rows(found: Estimate) -> Iterator[tuple[str, Rows]]:
    """Yield each group with its rows; the cells of the sweep are one row."""
    for group in GROUPS:
        costs = [cost for cost in found.costs.values() if cost.group == group]
        cells = [cost for cost in costs if cost.key.startswith("proxy_runs/")]
        shown = (
            [_summed(cells, f"proxy_runs/* ({len(cells)} cells)"), *(c for c in costs if c not in cells)] if cells else costs
        )
        yield group.replace("_", " "), [_row(found, cost) for cost in shown]


def _summed(cells: list[Cost], key: str) -> Cost:
    tokens, inference, training, disk = (
        total([getattr(cell, name) for cell in cells])[0] for name in ("tokens", "inference", "training", "disk")
    )
    measured = sum(cell.measured for cell in cells)
    note = f"{measured} of them measured" if measured else ""
    return Cost(key=key, group=cells[0].group, tokens=tokens, inference=inference, training=training, disk=disk, note=note)


def _row(found: Estimate, cost: Cost) -> tuple[str, ...]:
    lacking = found.lacking.get(cost.key, [])
    remarks = [
        *([f"{len(lacking)} input{'s' * (len(lacking) > 1)} missing"] if lacking else []),
        *(["too few documents"] if cost.shortage else []),
        *(["measured"] if cost.measured else []),
        *([cost.note] if cost.note else []),
    ]
    return (
        cost.key,
        number(cost.documents),
        number(cost.tokens),
        number(cost.inference, "FLOP"),
        number(found.hours(cost.inference), "h"),
        number(cost.training, "FLOP"),
        number(found.hours(cost.training), "h"),
        number(cost.disk, "B"),
        "; ".join(remarks),
    )


def memory_rows(found: Estimate) -> Rows:
    """Return one row for each sort of training job."""
    return [
        (
            memory.job,
            str(memory.processes),
            *(size(part) for part in (memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.loss)),
            size(memory.buffers),
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
            f"{_priced(found, job.training)}: {_days(wall)} on {gpus.num_processes} {found.gpu.name}"
        )
    if found.recipe.name == PAPER:
        both = NOTHING
        for stage in (1, 2):
            both = both + stages[stage].training if stage in stages else both
        lines += [PAPER_COST, f"The estimate for Stages I and II beside it: {_priced(found, both)}."]
    return lines


def _priced(found: Estimate, flops: Amount) -> str:
    return f"{number(flops, 'FLOP')} FLOP = {number(found.hours(flops), 'h')} GPU-hours"


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
    return [f"{reason} ({_few(keys)})" for reason, keys in reasons.items()]


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def sections(found: Estimate) -> list[tuple[str, list[str]]]:
    """Return the headed lists below the tables."""
    return [
        ("Total", closing_lines(found)),
        ("Missing inputs", _missing_lines(found) or ["none"]),
        ("Fetched from the Hugging Face hub when first needed; access is not checked here", found.fetched),
        ("Too few documents", [f"{cost.key}: {cost.shortage}" for cost in found.costs.values() if cost.shortage]),
        ("Not known before the run", unknown_lines(found)),
        ("Assumptions", assumptions(found)),
    ]


def _missing_lines(found: Estimate) -> list[str]:
    return [line for each in found.missing for line in (str(each), *([f"    {each.hint}"] if each.hint else []))]


def print_estimate(found: Estimate, console: Console) -> None:
    """Print tables on a terminal that is wide enough, aligned text anywhere else."""
    title = f"{found.recipe.name}: {found.recipe.description}"
    memory_title = f"Memory of one {found.gpu.name}, an estimate"
    if not console.is_terminal or console.width < TABLE_WIDTH:
        print(title)
        blocks = [(group, rows) for group, rows in cost_rows(found)]
        print(_aligned(COLUMNS, blocks))
        print(f"\n{memory_title}\n{_aligned(MEMORY_COLUMNS, [('', memory_rows(found))])}")
        for head, lines in sections(found):
            if lines:
                print("\n".join(["", head, *(f"  {line}" for line in lines)]))
        return
    table = _table(title, COLUMNS)
    for group, rows in cost_rows(found):
        table.add_row(f"[bold]{group}[/bold]")
        for row in rows:
            table.add_row(f"  {escape(row[0])}", *map(escape, row[1:]))
    console.print(table)
    memory = _table(memory_title, MEMORY_COLUMNS)
    for row in memory_rows(found):
        memory.add_row(*row[:-1], f"[{'green' if row[-1] == 'fits' else 'bold red'}]{row[-1]}[/]")
    console.print(memory)
    for head, lines in sections(found):
        if lines:
            console.print(f"\n[bold]{head}[/bold]")
            for line in lines:
                console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        last = number == len(columns) - 1
        table.add_column(column, justify="left" if last or not number else "right", no_wrap=not last)
    return table


def _aligned(columns: tuple[str, ...], blocks: list[tuple[str, Rows]]) -> str:
    widths = [max(len(row[i]) for _, rows in blocks for row in [columns, *rows]) for i in range(len(columns))]

    def line(row: tuple[str, ...]) -> str:
        last = len(row) - 1
        cells = [c.ljust(w) if i in (0, last) else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return "  ".join(cells).rstrip()

    lines = [line(columns)]
    for head, rows in blocks:
        lines += [f"[{head}]"] if head else []
        lines += [line(row) for row in rows]
    return "\n".join(lines)


def as_json(found: Estimate) -> dict[str, Any]:
    """Return the whole estimate as JSON values; an amount is its value, how well it is known, and why it is not."""

    def amount(value: Amount) -> dict[str, Any]:
        return {name: each for name, each in asdict(value).items() if name == "value" or each}

    names = ("documents", "tokens", "inference", "training", "disk", "scratch")
    return {
        "recipe": found.recipe.name,
        "gpu": found.gpu.name,
        "peak_flops": found.gpu.peak,
        "utilisation": found.utilisation,
        "assets": [
            {
                "key": cost.key,
                "group": cost.group,
                **{name: amount(getattr(cost, name)) for name in names},
                "inference_gpu_hours": found.hours(cost.inference).value,
                "training_gpu_hours": found.hours(cost.training).value,
                "measured": cost.measured,
                "note": cost.note,
                "shortage": cost.shortage,
                "missing": [str(each) for each in found.lacking.get(cost.key, [])],
            }
            for cost in found.costs.values()
        ],
        "memory": [{**asdict(memory), "total": memory.total, "fits": memory.fits} for memory in found.memory],
        "fetched": found.fetched,
        "missing": [str(each) for each in found.missing],
        "total": closing_lines(found),
        "assumptions": assumptions(found),
    }
