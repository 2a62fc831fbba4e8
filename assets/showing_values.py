"""Values and tables as a person reads them on an asset's page."""

import textwrap
from typing import Any

import dagster as dg

from hephaestus_dag.artifacts import canonical_json

WIDTH = 72
MOST_ROWS = 30
WIDE = 6
FEW = 4
LONG_TEXT = 100
LONGEST_TEXT = 240


def title_of(name: str) -> str:
    """Return a name of the library as words."""
    return name.replace("_", " ")


def paragraph(text: str) -> str:
    """Return a long line as Markdown of short ones: beside a wide table the page would show its beginning only."""
    return "  \n".join(textwrap.wrap(text, WIDTH, break_long_words=False))


def table(rows: list[dict[str, Any]]) -> dg.TableMetadataValue:
    """Return rows for the UI: every row with every column, and plain values only.

    A page shows the left of a wide table, and whoever wants the rest moves it. So a table of few rows that is too wide is
    turned, and of one with long texts these come first.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [{name: _plain(row.get(name, "")) for name in columns} for row in rows[:MOST_ROWS]]
    head, *rest = columns
    if len(columns) > WIDE and 1 < len(cells) == len({row[head] for row in cells}) <= FEW:
        cells = [{head: title_of(name)} | {str(row[head]): row[name] for row in cells} for name in rest]
        columns = [*cells[0]]
    elif len(columns) > 2:
        columns.sort(key=lambda name: max(len(str(row[name])) for row in cells) <= LONG_TEXT)
    return dg.MetadataValue.table([dg.TableRecord({title_of(name): row[name] for name in columns}) for row in cells])


def _plain(value: Any) -> str | int | float | bool:
    value = shown(value)
    return value if isinstance(value, (str, int, float, bool)) else shown(canonical_json(value))


def shown(value: Any) -> Any:
    """Return a value as a person reads it: thousands separated, four digits after the first, no endless text, no nothing."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + " ..."
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e3 <= abs(value) < 1e15 else float(f"{value:.4g}")
    return value


def amount(num_bytes: int) -> str:
    """Return a size in words: ``12.3 MB``."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B"
