"""Amounts in few characters."""

from collections.abc import Sequence

from hephaestus_dag.costs.amount import Amount

FEW = 3
"""Assets, or changed fields, that a line names; the rest is counted."""
LEGEND = (
    "≤ at most; ~ an estimate, or what the last build took; ? not known before the run; – none; follows x: nothing of its own "
    "changed, but x did, which it is made from; since @: the artifact that it was compared with"
)


def number(amount: Amount, unit: str = "") -> str:
    """Return an amount in at most four digits: ``~4.2e+09``, ``≤1,200``, ``–`` for nothing, ``?`` for unknown.

    ``unit`` is ``B`` for bytes, ``FLOP``, ``h`` for hours, or nothing.
    """
    value = amount.value
    if value is None:
        return "?"
    if value == 0:
        return "–"
    if unit == "B":
        return amount.kind + size(value)
    if unit == "FLOP":
        return f"{amount.kind}{value:.1e}".replace("e+", "e")
    if unit == "h":
        return amount.kind + time_of(value) if value * 3600 >= 1 else "<1 s"
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


def time_of(hours: float) -> str:
    """Return a time in words: ``43 s``, ``12 min``, ``3.2 h``, ``16,992 h``."""
    if (seconds := hours * 3600) < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{hours:,.1f} h" if hours < 100 else f"{hours:,.0f} h"


def few(names: Sequence[str], most: int = FEW) -> str:
    """Return some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
