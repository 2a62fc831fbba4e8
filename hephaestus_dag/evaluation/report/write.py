"""Puts the report together: what is in it, as one JSON value, from which the pages and pictures are made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hephaestus_dag.evaluation.overlap import items_seen
from hephaestus_dag.evaluation.report.compare import adjust, compare, decimals
from hephaestus_dag.evaluation.report.entrant import Entrant, Stage
from hephaestus_dag.evaluation.report.explorer import examples
from hephaestus_dag.evaluation.report.published import NAMES
from hephaestus_dag.evaluation.scores import Scores, read_scores

LAPTOP_NOTICE = "laptop scale: shows that the machinery works, not that the paper's numbers hold"
SHOWN = ("benchmark", "metric", "higher_is_better", "num_items", "num_scored", "confidence", "categories", "groups")


def write_report(
    variants: Mapping[str, Sequence[Path] | Entrant],
    folder: Path,
    notice: str = LAPTOP_NOTICE,
    reference: str | None = None,
    num_samples: int = 2_000,
) -> dict[str, Any]:
    """Write report.json, report.md, report.html (self-contained), scores.png, and radar.png where most models have three
    scores in common.

    ``variants`` gives the score folders (see ``scores``) of each model, any number of benchmarks, and where there is more to
    tell an `Entrant`; ``reference`` is the one that the others are compared with (default: the first). ``notice`` stands
    above everything. Returns the report.
    Raises ValueError when there is no variant, when the reference is none of them, or when one has two score folders of one
    benchmark.
    """
    from hephaestus_dag.evaluation.report.html import render_html
    from hephaestus_dag.evaluation.report.markdown import render_markdown
    from hephaestus_dag.evaluation.report.pictures import draw_radar, draw_scores

    if not variants:
        raise ValueError("variants: name at least one variant with its score folders")
    reference = reference or next(iter(variants))
    if reference not in variants:
        raise ValueError(f"reference: {reference!r} is none of the variants {list(variants)}")
    entrants = {name: each if isinstance(each, Entrant) else Entrant(scores=each) for name, each in variants.items()}
    report = assemble(entrants, notice, reference, num_samples)

    folder.mkdir(parents=True, exist_ok=True)
    draw_scores(report, folder / "scores.png")
    pictures = {"Scores with their intervals": folder / "scores.png"}
    left_out = draw_radar(report, folder / "radar.png")
    if left_out is not None:
        lacking = "; ".join(f"{name} is left out, for lack of {', '.join(titles)}" for name, titles in left_out.items())
        pictures[f"All abilities at a glance{f' ({lacking})' if lacking else ''}"] = folder / "radar.png"
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text(render_markdown(report, {title: path.name for title, path in pictures.items()}))
    (folder / "report.html").write_text(render_html(report, {title: path.read_bytes() for title, path in pictures.items()}))
    return report


def assemble(entrants: Mapping[str, Entrant], notice: str, reference: str, num_samples: int) -> dict[str, Any]:
    """Return the report as a JSON value; see `write_report`."""
    scores = {name: _by_benchmark(name, entrant.scores) for name, entrant in entrants.items()}
    bases = {entrant.backbone: name for name, entrant in entrants.items() if entrant.role == "base" and entrant.backbone}
    of_base = [
        (name, bases[entrant.backbone])
        for name, entrant in entrants.items()
        if entrant.role == "variant" and entrant.backbone in bases
    ]
    pairs = [(name, reference) for name in entrants if name != reference and (reference, name) not in of_base] + of_base
    differences = [
        row for name, other in dict.fromkeys(pairs) for row in compare(name, scores[name], other, scores[other], num_samples)
    ]
    num_tests = adjust(differences)
    return {
        "notice": notice,
        "reference": reference,
        "variants": list(entrants),
        "roles": {name: entrant.role for name, entrant in entrants.items()},
        "backbones": {name: entrant.backbone for name, entrant in entrants.items()},
        "columns": _columns(scores),
        "scores": {
            name: {key: {field: read.summary[field] for field in SHOWN} for key, read in benchmarks.items()}
            for name, benchmarks in scores.items()
        },
        "clean": {name: _clean(entrants[name].overlap, benchmarks, num_samples) for name, benchmarks in scores.items()},
        "overlap": {name: _overlap(entrant.overlap) for name, entrant in entrants.items()},
        "comparisons": {"differences": len(differences), "McNemar tests": num_tests},
        "differences": differences,
        "forgetting": {name: [_stage(stage) for stage in entrant.stages] for name, entrant in entrants.items()},
        "chains": {name: [asdict(link) for link in entrant.chain] for name, entrant in entrants.items()},
        "sources": {name: [dict(row) for row in entrant.sources] for name, entrant in entrants.items()},
        "examples": {key: found for key, read in scores[reference].items() if (found := examples(read))},
        "notes": [
            f"{name}: {read.summary['note']}"
            for name, benchmarks in scores.items()
            for read in benchmarks.values()
            if read.summary["note"]
        ],
        "not_run": _not_run(scores, entrants),
    }


def _by_benchmark(name: str, folders: Sequence[Path]) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    for folder in folders:
        read = read_scores(folder)
        if read.summary["key"] in found:
            raise ValueError(f"variant {name}: two score folders of {read.summary['benchmark']}; give one, not also {folder}")
        found[read.summary["key"]] = read
    return found


def _columns(scores: Mapping[str, dict[str, Scores]]) -> list[dict[str, Any]]:
    """Return the groups over all variants, in the order in which they are first met."""
    columns: dict[tuple[str, str], dict[str, Any]] = {}
    for benchmarks in scores.values():
        for key, read in benchmarks.items():
            for group, entry in read.summary["groups"].items():
                told = {
                    "benchmark": key,
                    "group": group,
                    "metric": entry["metric"],
                    "decimals": decimals(read.summary, entry),
                    "higher_is_better": read.summary["higher_is_better"],
                    "definition": entry["definition"],
                }
                columns.setdefault((key, group), told)
    return list(columns.values())


def _clean(overlap: Path | None, benchmarks: dict[str, Scores], num_samples: int) -> dict[str, Any]:
    if overlap is None:
        return {}
    seen = items_seen(overlap)
    return {key: read.clean(seen, num_samples) for key, read in benchmarks.items() if read.summary["denominator"] is None}


def _overlap(folder: Path | None) -> dict[str, Any] | None:
    return json.loads((folder / "overlap.json").read_text()) if folder else None


def _stage(stage: Stage) -> dict[str, Any]:
    """Return a stage's held-out bits per byte before and after it, and its own scores of shares."""
    summary = json.loads((stage.checkpoint / "summary.json").read_text())
    before, after = (
        {domain: score["bits_per_byte"] for domain, score in sorted(summary[name].items())}
        for name in ("heldout_before", "heldout")
    )
    scores: dict[str, Any] = {}
    for read in map(read_scores, stage.scores):
        if read.summary["denominator"] is None:
            scores |= {name: group for name, group in read.summary["groups"].items() if decimals(read.summary, group) is None}
    return {"name": stage.name, "tokens": summary["tokens"], "before": before, "after": after, "scores": scores}


def _not_run(scores: Mapping[str, dict[str, Scores]], entrants: Mapping[str, Entrant]) -> list[dict[str, Any]]:
    """Return what did not run with the reason, and the variants that this holds for."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, benchmarks in scores.items():
        for key, read in benchmarks.items():
            for part, reason in read.summary["not_run"].items():
                found.setdefault((key, part, reason), []).append(name)
        for key, reason in entrants[name].not_run.items():
            found.setdefault((key, NAMES.get(key, key), reason), []).append(name)
    return [
        {"benchmark": key, "part": part, "reason": reason, "variants": names} for (key, part, reason), names in found.items()
    ]
