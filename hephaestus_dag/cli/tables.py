"""How subcommands print tables for a person."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NUMBERS = {"bm25", "documents", "held out", "jaccard", "kept", "removed", "row", "share", "steps", "times", "tokens", "words"}
"""Columns that stand to the right."""
IDS = {"artifact", "checkpoint", "corpus", "document", "model", "score", "token store"}
"""Columns that are copied into another command, and never broken."""


def console() -> "Console":
    """Return a console that colours nothing by itself."""
    from rich.console import Console

    return Console(highlight=False)


def table(*columns: str) -> "Table":
    """Return an empty table without lines."""
    from rich.table import Table

    found = Table(box=None, pad_edge=False)
    for column in columns:
        right = column in NUMBERS
        found.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=right or column in IDS)
    return found


def rows_table(rows: Sequence[Mapping[str, Any]], *columns: str) -> "Table":
    """Return some columns of rows as a table."""
    from rich.markup import escape

    found = table(*columns)
    for row in rows:
        cells = (row[name] for name in columns)
        found.add_row(*(f"{cell:,}" if isinstance(cell, (int, float)) else escape(str(cell)) for cell in cells))
    return found


def id_of(document: str) -> str:
    """Return as much of a document's id as a person needs; `hephaestus find` takes it."""
    return document[:12]


def short(text: str, most: int) -> str:
    """Return a text on one line, cut where it is longer than ``most`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."
