"""What library functions found, as an asset's page shows it: plain values as figures, lists of rows as tables."""

from typing import Any

Row = dict[str, Any]


def figures_of(found: Row) -> dict[str, int | float | str]:
    """Return the plain values, floats to four digits."""
    shown = {name: value for name, value in found.items() if isinstance(value, (int, float, str))}
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in shown.items()}


def tables_of(found: Row) -> dict[str, list[Row]]:
    """Return the lists of rows, by title."""
    return {name.replace("_", " "): rounded(value) for name, value in found.items() if isinstance(value, list)}


def rounded(rows: list[Row]) -> list[Row]:
    """Return rows with floats to four digits, and nothing for what is not known."""
    return [{name: _short(value) for name, value in row.items()} for row in rows]


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return "" if value is None else value
