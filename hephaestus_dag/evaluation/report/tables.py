"""The tables of the report: the paper's, with our numbers, and those that say how far to trust them."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from hephaestus_dag.evaluation.report.cells import (
    Cell,
    Table,
    change_cell,
    decimals_of,
    difference_cell,
    number,
    score_cell,
    without,
    words,
)
from hephaestus_dag.evaluation.report.compare import signed
from hephaestus_dag.evaluation.report.paper_tables import paper_tables
from hephaestus_dag.evaluation.report.published import GENERAL

Report = Mapping[str, Any]


def tables(report: Report) -> list[Table]:
    """Return all tables in reading order; one that has nothing to show says why, or is left out where nothing is missing."""
    return [
        *paper_tables(report),
        _forgetting(report),
        _clean(report),
        *_benchmarks(report),
        _differences(report),
        _wrong(report),
        *_categories(report),
        *_lineage(report),
        *_examples(report),
        _not_run(report),
    ]


def _forgetting(report: Report) -> Table:
    stages = [stage for each in report["forgetting"].values() for stage in each]
    domains = sorted({domain for stage in stages for domain in stage["after"]})
    general = [pattern for column in GENERAL for pattern in column.groups]
    found = dict.fromkeys(name for stage in stages for name in stage["scores"])
    scores = [name for name in found if any(fnmatchcase(name, pattern) for pattern in general)]
    rows = []
    for name, path in report["forgetting"].items():
        if path:
            first = path[0]["before"]
            ability = [score_cell(_of_base(report, name, score), None, "not scored") for score in scores]
            rows.append([*words(name, "backbone"), *(change_cell(first.get(d), None, 3) for d in domains), *ability])
            for stage in path:
                cells = [change_cell(stage["after"].get(d), first.get(d), 3) for d in domains]
                told = [score_cell(stage["scores"].get(score), None, "not scored") for score in scores]
                rows.append([*words("", stage["name"]), *cells, *told])
    return Table(
        anchor="forgetting",
        title=f"Forgetting: what each stage did to held-out loss{' and general ability' if scores else ''}",
        header=["model", "after", *(f"{domain}, bits per byte" for domain in domains), *scores],
        rows=rows,
        note="Lower bits per byte are better; small: change since the backbone."
        if rows
        else "No training summaries were given.",
    )


def _of_base(report: Report, name: str, score: str) -> Mapping[str, Any] | None:
    """Return a score of the base that a variant's training began with."""
    backbone = report["backbones"][name]
    bases = [each for each, role in report["roles"].items() if role == "base" and report["backbones"][each] == backbone]
    groups = [each["groups"] for base in bases for each in report["scores"][base].values()]
    return next((each[score] for each in groups if backbone and score in each), None)


def _clean(report: Report) -> Table:
    rows = []
    for name, benchmarks in report["clean"].items():
        for key, groups in benchmarks.items():
            for group, entry in groups.items():
                full = report["scores"][name][key]["groups"][group]
                digits = decimals_of(report, key, group)
                change = Cell(signed((100 if digits is None else 1) * entry.get("change", 0), 1 if digits is None else digits))
                rows.append(
                    [
                        *words(name, group),
                        _full_cell(full, entry, digits),
                        _clean_cell(entry, digits),
                        change if "change" in entry else Cell(""),
                        Cell(f"{entry['overlapping']}"),
                    ]
                )
    known = {name: told for name, told in report["overlap"].items() if told}
    notes = []
    if known:
        rule = next(iter(known.values()))["rule"]
        notes.append(
            f"An item is seen when one training document holds {rule['max_share']:.0%} of its words in runs of at least "
            f"{rule['n_gram']}, or a function that it offers."
        )
    notes += [
        f"For {name}, {told['documents']:,} training documents were compared: {_sum(told, 'items seen')} items seen of "
        f"{_sum(told, 'items with a match')} that share something."
        for name, told in known.items()
    ]
    if unknown := [name for name in report["variants"] if name not in known]:
        notes.append(f"No training data were compared for {', '.join(unknown)}.")
    notes.append("What a backbone was pre-trained on elsewhere is not known, and can hold any item.")
    return Table(
        anchor="clean",
        title="Clean subset: scores without the items seen in training",
        header=["model", "score", "all items", "clean items", "change", "left out"],
        rows=rows,
        note=" ".join(notes),
        folded=len(rows) > 12,
    )


def _full_cell(full: Mapping[str, Any], entry: Mapping[str, Any], digits: int | None) -> Cell:
    """Return the score on all items; where the clean one lacks categories, also that on all items of the others."""
    shown = score_cell(full, digits)
    if "all" not in entry:
        return shown
    return Cell(shown.text, f"{shown.small}; {number(entry['all']['score'], digits)} without the categories left out")


def _clean_cell(entry: Mapping[str, Any], digits: int | None) -> Cell:
    if "score" not in entry:
        return Cell("—", entry["reason"], "muted")
    shown = score_cell(entry, digits)
    return Cell(shown.text, f"{shown.small} {without(entry)}".rstrip())


def _sum(told: Mapping[str, Any], field: str) -> int:
    return sum(each[field] for each in told["benchmarks"].values())


def _titled(report: Report) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield key, name with unit and direction, and columns of each benchmark."""
    for key in dict.fromkeys(column["benchmark"] for column in report["columns"]):
        columns = [column for column in report["columns"] if column["benchmark"] == key]
        summary = next(report["scores"][name][key] for name in report["variants"] if key in report["scores"][name])
        unit = "%" if any(column["decimals"] is None for column in columns) else ""
        direction = "higher is better" if summary["higher_is_better"] else "lower is better"
        yield key, f"{summary['benchmark']}: {summary['metric']}{f' in {unit}' if unit else ''}, {direction}", columns


def _benchmarks(report: Report) -> Iterator[Table]:
    for key, title, columns in _titled(report):
        rows = []
        for column in columns:
            entries = (
                report["scores"][name].get(key, {}).get("groups", {}).get(column["group"]) for name in report["variants"]
            )
            rows.append(
                [Cell(column["group"], column["definition"], "text"), *(score_cell(e, column["decimals"]) for e in entries)]
            )
        yield Table(anchor=f"all-{key}", title=title, header=["score", *report["variants"]], rows=rows)


def _categories(report: Report) -> Iterator[Table]:
    for key, title, columns in _titled(report):
        decimals = None if any(column["decimals"] is None for column in columns) else columns[0]["decimals"]
        by_variant = [report["scores"][name].get(key, {}).get("categories", {}) for name in report["variants"]]
        names = sorted({name for categories in by_variant for name in categories})
        rows = [[*words(name), *(score_cell(categories.get(name), decimals) for categories in by_variant)] for name in names]
        header = ["category", *report["variants"]]
        yield Table(anchor=f"categories-{key}", title=f"{title}, by category", header=header, rows=rows, folded=True)


def _differences(report: Report) -> Table:
    rows = []
    for row in report["differences"]:
        p = number(row["mcnemar_p"], 4) if "mcnemar_p" in row else ""
        adjusted = number(row["mcnemar_holm"], 4) if "mcnemar_holm" in row else ""
        differing = str(row.get("differing_items", ""))
        pair = f"{row['variant']} − {row['reference']}"
        rows.append([*words(pair, row["group"]), difference_cell(row), Cell(differing), Cell(p), Cell(adjusted)])
    made = report["comparisons"]
    return Table(
        anchor="differences",
        title="All paired differences",
        header=["models", "score", "difference", "items that differ", "McNemar p", "p after Holm"],
        rows=rows,
        note=f"{made['differences']} comparisons: where nothing differs, about one in twenty would still seem to, at 95 %. The "
        f"{made['McNemar tests']} exact McNemar tests (one category of verdicts) also have p adjusted for their number (Holm).",
        folded=True,
    )


def _wrong(report: Report) -> Table:
    rows = []
    for name in report["variants"]:
        for summary in report["scores"][name].values():
            categories = [entry for entry in summary["categories"].values() if "reasons" in entry]
            counts: dict[str, int] = {}
            for found in (found for entry in categories for found in entry["reasons"]):
                counts[found["reason"]] = counts.get(found["reason"], 0) + found["n"]
            top = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:4]
            if categories and top:
                failures = sum(entry["failures"] for entry in categories)
                told = "; ".join(f"{reason} ({count})" for reason, count in top)
                rows.append([*words(name, summary["benchmark"]), Cell(f"{failures} of {summary['num_items']}"), *words(told)])
    return Table(
        anchor="wrong",
        title="Why items are wrong",
        header=["model", "benchmark", "failures and time-outs", "most frequent reasons"],
        rows=rows,
        note="Failures and time-outs count as wrong." if rows else "No item is wrong for a reason that was noted.",
    )


def _lineage(report: Report) -> Iterator[Table]:
    links = [
        [*words(name if first else "", link["what"], link["asset"]), Cell(link["fingerprint"][:12])]
        for name, chain in report["chains"].items()
        for first, link in zip([True] + [False] * len(chain), chain, strict=False)
    ]
    yield Table(
        anchor="lineage",
        title="From each score to its data",
        header=["model", "what", "asset", "fingerprint"],
        rows=links,
        note="" if links else "No lineage was given.",
        folded=len(links) > 12,
    )
    rows = [
        [*words(name, row["source"], row["domain"]), Cell(f"{row['documents']:,}"), Cell(f"{row['tokens']:,}")]
        for name, sources in report["sources"].items()
        for row in sources
    ]
    if rows:
        title = "Documents and tokens that each model was trained on, by source"
        header = ["model", "source", "domain", "documents", "tokens shown"]
        yield Table(anchor="sources", title=title, header=header, rows=rows, folded=True)


def _examples(report: Report) -> Iterator[Table]:
    for key, found in report["examples"].items():
        name = report["scores"][report["reference"]][key]["benchmark"]
        rows = [
            [
                Cell(row["item_id"], f"{row['category']} {row['prompt_sha']}", "text"),
                Cell(f"{row['score']:g}", mark="better" if row["score"] == 1 else "worse"),
                *words(row["reply"], row["reason"]),
            ]
            for row in found
        ]
        header = ["item", "score", f"reply of {report['reference']}", "reason"]
        yield Table(anchor=f"examples-{key}", title=f"Some items of {name}", header=header, rows=rows, folded=True)


def _not_run(report: Report) -> Table:
    rows = [words(row["part"], row["reason"], ", ".join(row["variants"])) for row in report["not_run"]]
    note = "" if rows else "Everything that was asked for ran."
    return Table(anchor="not-run", title="What did not run, and why", header=["part", "why", "models"], rows=rows, note=note)
