"""Tables as values, and how numbers are written in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hephaestus_dag.evaluation.report.compare import signed
from hephaestus_dag.evaluation.report.published import Column

Mark = Literal["", "better", "worse", "muted", "text"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: what counts, what explains it in small letters, and how it is marked."""

    text: str
    small: str = ""
    mark: Mark = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the report."""

    anchor: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    folded: bool = False
    """Long tables are opened by a click."""


def words(*texts: str) -> list[Cell]:
    """Return cells of plain text."""
    return [Cell(text, mark="text") for text in texts]


def number(value: float, decimals: int | None) -> str:
    """Return a score; with None decimals a share, in %."""
    return f"{100 * value:.1f}" if decimals is None else f"{value:.{decimals}f}"


def score_cell(entry: Mapping[str, Any] | None, decimals: int | None, reason: str = "not run") -> Cell:
    """Return a score with its interval and number of items; without one, why."""
    if entry is None:
        return Cell(reason, mark="muted")
    low, high = number(entry["low"], decimals), number(entry["high"], decimals)
    return Cell(number(entry["score"], decimals), f"[{low}, {high}] n={entry['n']}")


def without(entry: Mapping[str, Any]) -> str:
    """Return which categories have no part in a clean score, for lack of a clean item; empty where all have."""
    if "without" not in entry:
        return ""
    return (
        f"without {', '.join(entry['without'])} ({100 * entry['without_weight']:.1f} % of the weight), which have no clean item"
    )


def difference_cell(row: Mapping[str, Any] | None, reason: str = "") -> Cell:
    """Return the sentence of a difference; without one, why."""
    if row is None:
        return Cell("—", reason, "muted")
    mark: Mark = ("better" if row["better"] else "worse") if row["seen"] else "muted"
    return Cell(row["sentence"], f"n={row['n']}", mark)


def change_cell(value: float | None, before: float | None, decimals: int) -> Cell:
    """Return a value and by how many % it differs from an earlier one; an empty cell where there is none."""
    if value is None:
        return Cell("")
    small = f"{signed(100 * (value / before - 1), 1)} %" if before else ""
    return Cell(f"{value:.{decimals}f}", small)


def find_column(report: Mapping[str, Any], variant: str, column: Column) -> tuple[str, dict[str, Any]] | None:
    """Return the name and entry of a variant's score for a column of the paper."""
    groups = report["scores"][variant].get(column.benchmark, {}).get("groups", {})
    for pattern in column.groups:
        begin, _, end = pattern.partition("*")
        for name in sorted(groups, key=len):
            if name == pattern or ("*" in pattern and name.startswith(begin) and name.endswith(end)):
                return name, groups[name]
    return None


def decimals_of(report: Mapping[str, Any], benchmark: str, group: str) -> int | None:
    """Return with how many decimals a group is told."""
    return next(c["decimals"] for c in report["columns"] if (c["benchmark"], c["group"]) == (benchmark, group))


def why_not(report: Mapping[str, Any], variant: str, column: Column) -> str:
    """Return why a variant has no score for a column."""
    mine = [row for row in report["not_run"] if row["benchmark"] == column.benchmark and variant in row["variants"]]
    for pattern in column.groups:
        begin = pattern.partition("*")[0]
        for row in mine:
            # A reason may be that of a part of the column, or of all that the column is a part of.
            if row["part"].startswith(begin) or begin.startswith(row["part"]):
                return f"not run: {row['reason']}"
    if column.benchmark not in report["scores"][variant]:
        return "not run: no scores of this benchmark were given"
    return "not run" if report["scores"][variant][column.benchmark]["groups"] else "not run: no part of it ran"
