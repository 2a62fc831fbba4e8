"""The report as Markdown."""

from collections.abc import Mapping
from typing import Any

from hephaestus_dag.evaluation.report.cells import Cell
from hephaestus_dag.evaluation.report.tables import tables


def render_markdown(report: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """Return the report as Markdown; ``pictures`` are file names beside it, by title."""
    lines = ["# Benchmark report", "", f"> {report['notice']}", ""]
    lines += [*(f"![{plain(title)}]({name})" for title, name in pictures.items()), ""]
    lines += [*(f"- {plain(note)}" for note in report["notes"]), ""]
    for table in tables(report):
        lines += [f"## {plain(table.title)}", ""]
        if table.rows:
            lines += [f"| {' | '.join(map(plain, table.header))} |", f"|{'---|' * len(table.header)}"]
            lines += [f"| {' | '.join(map(_cell, row))} |" for row in table.rows] + [""]
        if table.note:
            lines += [plain(table.note), ""]
    return "\n".join([*lines, how_to_read(report), ""])


def how_to_read(report: Mapping[str, Any]) -> str:
    """Return what the intervals are."""
    levels = sorted({each["confidence"] for benchmarks in report["scores"].values() for each in benchmarks.values()})
    return (
        f"Intervals cover {', '.join(f'{100 * level:g} %' for level in levels)}: Wilson's for categories of verdicts; for "
        "their weighted means, and for scores between 0 and 1, Wilson's at the effective number of items; bootstrap over items "
        "for losses. Differences are of the same items. n counts items."
    )


def _cell(cell: Cell) -> str:
    return plain(" ".join(part for part in (cell.text, cell.small) if part))


def plain(text: str) -> str:
    """Return a text that breaks no line and no table."""
    return " ".join(text.replace("|", "/").replace("<", "&lt;").split())
