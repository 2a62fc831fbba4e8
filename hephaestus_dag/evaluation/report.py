"""One report over all variants: scores with intervals, and what differs from the reference variant, item by item."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.evaluation import statistics
from hephaestus_dag.evaluation.scores import Scores, read_scores

LAPTOP_NOTICE = "laptop scale: shows that the machinery works, not that the paper's numbers hold"

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}th,td{border:1px solid #d0d7de;padding:.3rem .6rem}
td{text-align:right;white-space:nowrap}td:first-child,th{text-align:left}small{color:#57606a}img{max-width:100%}
.notice{background:#fff8c5;border:1px solid #d4a72c;padding:.5rem .8rem;border-radius:.4rem}"""


def write_report(
    variants: Mapping[str, Sequence[Path]],
    folder: Path,
    notice: str = LAPTOP_NOTICE,
    reference: str | None = None,
    num_samples: int = 2_000,
) -> dict[str, Any]:
    """Write report.json, report.md, report.html (self-contained) and scores.png; return the report.

    ``variants`` names the score folders (see ``scores``) of each variant, any number of benchmarks; ``reference`` is the
    variant that the others are compared with (default: the first). ``notice`` stands above everything.
    Raises ValueError when there is no variant, or the reference is none of them.
    """
    if not variants:
        raise ValueError("variants: name at least one variant with its score folders")
    reference = reference or next(iter(variants))
    if reference not in variants:
        raise ValueError(f"reference: {reference!r} is none of the variants {list(variants)}")
    scores = {name: _by_benchmark(folders) for name, folders in variants.items()}
    report = {
        "notice": notice,
        "reference": reference,
        "variants": list(variants),
        "columns": _columns(scores),
        "scores": {
            name: {benchmark: _shown(read.summary) for benchmark, read in benchmarks.items()}
            for name, benchmarks in scores.items()
        },
        "differences": [
            row
            for name in variants
            if name != reference
            for row in compare(name, scores[name], reference, scores[reference], num_samples)
        ],
        "notes": [
            f"{name}: {read.summary['note']}"
            for name, benchmarks in scores.items()
            for read in benchmarks.values()
            if read.summary["note"]
        ],
        "not_run": _not_run(scores),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    (folder / "report.md").write_text(render_markdown(report))
    draw_scores(report, folder / "scores.png")
    (folder / "report.html").write_text(render_html(report, (folder / "scores.png").read_bytes()))
    return report


def compare(
    name: str, scores: dict[str, Scores], reference: str, other: dict[str, Scores], num_samples: int = 2_000
) -> list[dict[str, Any]]:
    """Return, per group that both variants have, the paired difference over the items that both have scored.

    A group of verdicts that is one category gets McNemar's exact p-value in addition.
    """
    rows = []
    for benchmark, mine in scores.items():
        if benchmark not in other:
            continue
        theirs = other[benchmark]
        groups = theirs.summary["groups"]
        for group in mine.summary["groups"]:
            if group not in groups:
                continue
            # The reference's weights for both: pooled losses weigh by bytes, and may have left out other items.
            strata = [_stratum(mine, theirs, category, weight) for category, weight in groups[group]["weights"].items()]
            if any(not len(stratum.numerators) for stratum in strata):
                continue
            found = statistics.paired_difference(strata, mine.summary["confidence"], num_samples)
            row = {
                "variant": name,
                "reference": reference,
                "benchmark": benchmark,
                "group": group,
                "metric": mine.summary["metric"],
                "difference": round(found.difference, 6),
                "low": round(found.low, 6),
                "high": round(found.high, 6),
                "n": found.num_items,
            }
            if mine.summary["denominator"] is None:
                first = np.concatenate([s.numerators for s in strata])
                second = np.concatenate([s.other_numerators for s in strata])
                row["differing_items"] = int((first != second).sum())
                if len(strata) == 1:
                    row["mcnemar_p"] = round(statistics.mcnemar(first, second), 6)
            rows.append(row)
    return rows


def _stratum(mine: Scores, theirs: Scores, category: str, weight: float) -> statistics.Stratum:
    """Return the items of a category that both variants have scored, in the same order."""
    ids, top, bottom = mine.columns(category)
    other_ids, other_top, other_bottom = theirs.columns(category)
    _, left, right = np.intersect1d(np.array(ids, dtype=str), np.array(other_ids, dtype=str), return_indices=True)
    return statistics.Stratum(top[left], bottom[left], other_top[right], other_bottom[right], weight)


def _by_benchmark(folders: Sequence[Path]) -> dict[str, Scores]:
    read = [read_scores(folder) for folder in folders]
    return {scores.summary["benchmark"]: scores for scores in read}


def _columns(scores: Mapping[str, dict[str, Scores]]) -> list[dict[str, Any]]:
    """Return the groups over all variants, in the order in which they are first met."""
    columns: dict[tuple[str, str], dict[str, Any]] = {}
    for benchmarks in scores.values():
        for benchmark, read in benchmarks.items():
            for group, entry in read.summary["groups"].items():
                columns.setdefault(
                    (benchmark, group),
                    {
                        "benchmark": benchmark,
                        "group": group,
                        "metric": read.summary["metric"],
                        "higher_is_better": read.summary["higher_is_better"],
                        "definition": entry["definition"],
                    },
                )
    return list(columns.values())


def _shown(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: summary[key] for key in ("metric", "num_items", "num_scored", "confidence", "categories", "groups")}


def _not_run(scores: Mapping[str, dict[str, Scores]]) -> dict[str, str]:
    return {
        part: reason
        for benchmarks in scores.values()
        for read in benchmarks.values()
        for part, reason in read.summary["not_run"].items()
    }


def _format(value: float, metric: str) -> str:
    return f"{100 * value:.1f}" if metric == "accuracy" else f"{value:.3f}"


def _cell(entry: dict[str, Any] | None, metric: str) -> str:
    if entry is None:
        return "not run"
    low, high = _format(entry["low"], metric), _format(entry["high"], metric)
    return f"{_format(entry['score'], metric)} [{low}, {high}] n={entry['n']}"


def tables(report: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return the report's tables: title, header and rows of plain text."""
    found: list[tuple[str, list[str], list[list[str]]]] = []
    details: list[tuple[str, list[str], list[list[str]]]] = []
    for benchmark in dict.fromkeys(column["benchmark"] for column in report["columns"]):
        columns = [column for column in report["columns"] if column["benchmark"] == benchmark]
        metric = columns[0]["metric"]
        unit = "accuracy in %" if metric == "accuracy" else metric
        direction = "higher is better" if columns[0]["higher_is_better"] else "lower is better"
        rows = []
        for variant in report["variants"]:
            groups = report["scores"][variant].get(benchmark, {}).get("groups", {})
            rows.append([variant, *(_cell(groups.get(column["group"]), metric) for column in columns)])
        found.append((f"{benchmark}: {unit}, {direction}", ["variant", *(c["group"] for c in columns)], rows))
        by_variant = [report["scores"][variant].get(benchmark, {}).get("categories", {}) for variant in report["variants"]]
        details.append(
            (
                f"{benchmark} by category: {unit}",
                ["category", *report["variants"]],
                [
                    [category, *(_cell(categories.get(category), metric) for categories in by_variant)]
                    for category in sorted({name for categories in by_variant for name in categories})
                ],
            )
        )
    differences = []
    for row in report["differences"]:
        change, low, high = (_format(row[key], row["metric"]) for key in ("difference", "low", "high"))
        p = f"{row['mcnemar_p']:.3g}" if "mcnemar_p" in row else ""
        differences.append([row["variant"], row["group"], f"{change} [{low}, {high}] n={row['n']}", p])
    if differences:
        title = f"Paired differences from {report['reference']} (accuracy in points, loss in bits per byte)"
        found.append((title, ["variant", "score", "difference", "McNemar p"], differences))
    return found + details


def render_markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = ["# Benchmark report", "", f"> {report['notice']}", "", "![scores](scores.png)", ""]
    lines += [*(f"- {note}" for note in report["notes"]), ""]
    for title, header, rows in tables(report):
        lines += [f"## {title}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows] + [""]
    lines += ["## What the columns mean", ""]
    lines += [f"- {column['group']}: {column['definition']}" for column in report["columns"]]
    lines += [f"- {part}: not run ({reason})" for part, reason in report["not_run"].items()]
    return "\n".join([*lines, "", _interval_note(report), ""])


def render_html(report: dict[str, Any], picture: bytes) -> str:
    """Return the report as one HTML page that needs no other file."""
    escape = html.escape
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Benchmark report</title><style>{STYLE}</style>",
        f"<h1>Benchmark report</h1><p class=notice>{escape(report['notice'])}</p>",
        f'<img alt="scores with intervals" src="data:image/png;base64,{base64.b64encode(picture).decode()}">',
    ]
    parts.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in report['notes'])}</ul>")
    for title, header, rows in tables(report):
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        parts.append(f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{body}</table>")
    notes = [f"{column['group']}: {column['definition']}" for column in report["columns"]]
    notes += [f"{part}: not run ({reason})" for part, reason in report["not_run"].items()]
    parts.append(f"<h2>What the columns mean</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>")
    parts.append(f"<p><small>{escape(_interval_note(report))}</small></p></html>\n")
    return "\n".join(parts)


def _interval_note(report: dict[str, Any]) -> str:
    levels = {s["confidence"] for benchmarks in report["scores"].values() for s in benchmarks.values()}
    return (
        f"Intervals cover {', '.join(f'{100 * level:g} %' for level in sorted(levels))}: Wilson for categories of verdicts, "
        "Jeffreys posteriors for their weighted means, bootstrap over items for losses and differences. n counts items."
    )


def draw_scores(report: dict[str, Any], path: Path) -> None:
    """Draw one panel of bars with intervals per benchmark."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    benchmarks = list(dict.fromkeys(column["benchmark"] for column in report["columns"])) or [""]
    figure, axes = plt.subplots(len(benchmarks), 1, figsize=(11, 4.2 * len(benchmarks)), squeeze=False, layout="constrained")
    for axis, benchmark in zip(axes[:, 0], benchmarks, strict=True):
        columns = [column for column in report["columns"] if column["benchmark"] == benchmark]
        width = 0.8 / len(report["variants"])
        for number, variant in enumerate(report["variants"]):
            groups = report["scores"][variant].get(benchmark, {}).get("groups", {})
            shown = [(x, groups[c["group"]]) for x, c in enumerate(columns) if c["group"] in groups]
            heights = np.array([entry["score"] for _, entry in shown])
            ends = np.array([[entry["low"], entry["high"]] for _, entry in shown]).reshape(-1, 2).T
            errors = np.clip([heights - ends[0], ends[1] - heights], 0, None)
            places = [x + (number - (len(report["variants"]) - 1) / 2) * width for x, _ in shown]
            axis.bar(places, heights, width * 0.92, yerr=errors, capsize=3, label=variant)
        axis.set_xticks(range(len(columns)), [column["group"].replace(" ", "\n", 1) for column in columns], fontsize=8)
        axis.set_ylabel(columns[0]["metric"] if columns else "")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8)
    figure.suptitle(report["notice"], fontsize=9)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
