"""The measured part of a model card: what a checkpoint scored, with intervals, and how far that can be trusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hephaestus_dag.evaluation.overlap import items_seen
from hephaestus_dag.evaluation.report.cells import number, without
from hephaestus_dag.evaluation.report.compare import decimals, signed
from hephaestus_dag.evaluation.report.published import NAMES
from hephaestus_dag.evaluation.scores import Scores, read_scores

HEADING = "## Measured"


def card_with_scores(
    card: str,
    folders: Sequence[Path],
    overlap: Path | None = None,
    num_samples: int = 2_000,
    not_run: Mapping[str, str] | None = None,
) -> str:
    """Return a model card (README.md) with a section of measured scores at its end, in place of one that it may have.

    ``folders`` are the checkpoint's score folders, ``overlap`` the folder of its training data's overlap with the items,
    ``not_run`` the benchmarks that have no folder (see `Entrant`).
    """
    begin = card.partition(f"\n{HEADING}\n")[0].rstrip()
    return f"{begin}\n\n{measured(folders, overlap, num_samples, not_run)}\n"


def measured(
    folders: Sequence[Path], overlap: Path | None = None, num_samples: int = 2_000, not_run: Mapping[str, str] | None = None
) -> str:
    """Return the section: a table of scores, on all and on clean items, what did not run, and what is not known."""
    read = [read_scores(folder) for folder in folders]
    seen = items_seen(overlap) if overlap else None
    rows = [row for scores in read for row in _rows(scores, seen, num_samples)]
    head = ["| benchmark | score | all items | clean items |", "|---|---|---|---|"]
    missing = [each for scores in read for each in scores.summary["not_run"].items()]
    missing += [(NAMES.get(key, key), reason) for key, reason in (not_run or {}).items()]
    left_out = [f"- {part}: not run ({reason})" for part, reason in missing]
    levels = sorted({scores.summary["confidence"] for scores in read})
    cover = ", ".join(f"{100 * level:g} %" for level in levels)
    trust = [
        f"In brackets the interval that covers {cover}, n counts items. Failures and time-outs count as wrong."
        if rows
        else "Nothing was measured.",
        "Clean items are those that no training document of this project overlaps with."
        if overlap
        else "The overlap of the items with the training data was not measured.",
        "What the backbone was pre-trained on elsewhere is not known, and can hold any of the items.",
    ]
    return "\n".join(
        [HEADING, "", *([*head, *rows, ""] if rows else []), *([*left_out, ""] if left_out else []), " ".join(trust)]
    )


def _rows(scores: Scores, seen: set[str] | None, num_samples: int) -> list[str]:
    summary = scores.summary
    is_share = summary["denominator"] is None
    clean = scores.clean(seen, num_samples) if seen is not None and is_share else {}
    rows = []
    for name, entry in summary["groups"].items():
        digits = decimals(summary, entry)
        unit = "%" if digits is None else entry["metric"]
        low, high = number(entry["low"], digits), number(entry["high"], digits)
        full = f"{number(entry['score'], digits)} {unit} [{low}, {high}] n={entry['n']}"
        rows.append(f"| {summary['benchmark']} | {name} | {full} | {_clean(clean.get(name), digits)} |".replace("\n", " "))
    return rows


def _clean(entry: dict | None, digits: int | None) -> str:
    if entry is None:
        return ""
    if "score" not in entry:
        return entry["reason"]
    change = signed((100 if digits is None else 1) * entry["change"], 1 if digits is None else digits)
    of_all = f" from {number(entry['all']['score'], digits)}" if "all" in entry else ""
    return f"{number(entry['score'], digits)} ({change}{of_all}) n={entry['n']} {without(entry)}".rstrip()
