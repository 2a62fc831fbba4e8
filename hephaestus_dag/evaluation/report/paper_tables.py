"""The paper's tables, with our numbers."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import shorten
from typing import Any

from hephaestus_dag.evaluation.report.cells import (
    Cell,
    Table,
    decimals_of,
    difference_cell,
    find_column,
    score_cell,
    why_not,
    words,
)
from hephaestus_dag.evaluation.report.published import AGENTBENCH, BFCL, GENERAL, MAIN, NOT_VERIFIED, VERIFIED, Column

Report = Mapping[str, Any]


def paper_tables(report: Report) -> list[Table]:
    """Return the main table, the ablation, the columns of BFCL, AgentBench and general ability, backbones and endpoints."""
    return [
        _paper_table(report, "main", "Main results (paper, table 2)", MAIN, note="" if VERIFIED else NOT_VERIFIED),
        _ablation(report),
        _paper_table(report, "bfcl", "BFCL by the paper's columns (tables 3 and 7)", BFCL),
        _paper_table(report, "agentbench", "AgentBench by task (tables 3 and 8)", AGENTBENCH),
        _paper_table(report, "general", "General ability (table 5)", GENERAL),
        _cross_backbone(report),
        _head_to_head(report),
    ]


def _paper_table(report: Report, anchor: str, title: str, columns: Sequence[Column], note: str = "") -> Table:
    told: list[str] = []
    missing: dict[str, list[str]] = {}
    for column in columns:
        if names := _ours(report, column):
            told.append(f"{column.title} is our {', '.join(names)}.")
        elif len(reasons := {why_not(report, name, column) for name in report["variants"]}) == 1:
            missing.setdefault(reasons.pop(), []).append(column.title)
    told += [f"{', '.join(titles)}: {reason}." for reason, titles in missing.items()]
    return Table(
        anchor=anchor,
        title=title,
        header=["model", *(column.title for column in columns)],
        rows=[[Cell(name, _role(report, name)), *_paper_cells(report, name, columns)] for name in report["variants"]]
        if sum(map(len, missing.values())) < len(columns)
        else [],
        note=" ".join([*told, *([note] if note else [])]),
    )


def _paper_cells(report: Report, name: str, columns: Sequence[Column]) -> Iterator[Cell]:
    told: set[tuple[str, str]] = set()
    for column in columns:
        found = find_column(report, name, column)
        if found:
            yield score_cell(found[1], decimals_of(report, column.benchmark, found[0]))
            continue
        # What holds for all models stands in the note, and what holds for several columns in the first.
        reason = why_not(report, name, column)
        in_note = not _ours(report, column) and {why_not(report, each, column) for each in report["variants"]} == {reason}
        known = in_note or (column.benchmark, reason) in told
        yield Cell("—", "" if known else shorten(reason, 70, placeholder=" …"), "muted")
        if not in_note:
            told.add((column.benchmark, reason))


def _ours(report: Report, column: Column) -> list[str]:
    """Return the names of our scores in a column, over all models."""
    found = (find_column(report, name, column) for name in report["variants"])
    return list(dict.fromkeys(each[0] for each in found if each))


def _role(report: Report, name: str) -> str:
    role = {"base": "before our training", "variant": "", "endpoint": "behind an endpoint"}[report["roles"][name]]
    reference = "reference" if name == report["reference"] else ""
    return ", ".join(part for part in (role, reference) if part)


def _ablation(report: Report) -> Table:
    names = [name for name in report["variants"] if report["roles"][name] == "variant" and name != report["reference"]]
    rows = [[Cell(name, _role(report, name)), *_differences_of(report, name, report["reference"])] for name in names]
    return Table(
        anchor="ablation",
        title=f"Ablation: differences from {report['reference']} (paper, table 3)",
        header=["model", *(column.title for column in MAIN)],
        rows=rows,
        note="In points (% minus %), on the same items, with half the width of the interval."
        if rows
        else "There is no other variant: add one to the recipe's variants.",
    )


def _differences_of(report: Report, name: str, reference: str) -> Iterator[Cell]:
    rows = {
        (row["benchmark"], row["group"]): row
        for row in report["differences"]
        if row["variant"] == name and row["reference"] == reference
    }
    for column in MAIN:
        found = find_column(report, name, column)
        if not found:
            yield Cell("—", "not run", "muted")
            continue
        theirs = report["scores"][reference].get(column.benchmark, {}).get("groups", {})
        reason = "scored on other items" if found[0] in theirs else f"not run for {reference}"
        yield difference_cell(rows.get((column.benchmark, found[0])), reason)


def _cross_backbone(report: Report) -> Table:
    backbones = list(dict.fromkeys(backbone for backbone in report["backbones"].values() if backbone))
    rows = []
    for backbone in backbones:
        mine = [name for name in report["variants"] if report["backbones"][name] == backbone]
        base = next((name for name in mine if report["roles"][name] == "base"), None)
        for name in mine:
            rows.append([*words(backbone), Cell(name, _role(report, name), "text"), *_paper_cells(report, name, MAIN)])
            if base and name != base:
                rows.append([*words(""), Cell("", f"{name} − {base}", "text"), *_differences_of(report, name, base)])
    few = (
        "" if len(backbones) > 1 else "Only one backbone was trained: give a variant another backbone in the recipe to compare."
    )
    return Table(
        anchor="backbones",
        title="Across backbones (paper, table 8)",
        header=["backbone", "model", *(column.title for column in MAIN)],
        rows=rows if len(backbones) > 1 else [],
        note=few,
    )


def _head_to_head(report: Report) -> Table:
    reference = report["reference"]
    names = [name for name in report["variants"] if report["roles"][name] == "endpoint"]
    rows = [[Cell(reference, "ours"), *_paper_cells(report, reference, MAIN)]] if names else []
    for name in names:
        rows.append([Cell(name, _role(report, name)), *_paper_cells(report, name, MAIN)])
        rows.append([Cell("", f"{name} − {reference}"), *_differences_of(report, name, reference)])
    missing = "No model behind an endpoint was scored: name one in the recipe, with its key in the environment."
    return Table(
        anchor="endpoints",
        title="Commercial and other endpoint models, head to head",
        header=["model", *(column.title for column in MAIN)],
        rows=rows,
        note="The same items, messages and checkers as for our models, but the server's own chat template and longest prompt "
        "(max_prompt_tokens does not hold for it)."
        if names
        else missing,
    )
