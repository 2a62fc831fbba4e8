"""Paired comparisons of models, item by item, each with a sentence that says what can be said."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hephaestus_dag.evaluation import statistics
from hephaestus_dag.evaluation.scores import Scores
from hephaestus_dag.evaluation.statistics import Difference, Stratum


def compare(
    name: str, scores: Mapping[str, Scores], reference: str, others: Mapping[str, Scores], num_samples: int = 2_000
) -> list[dict[str, Any]]:
    """Return a row for each score that two models have in common, on the items that both have.

    A score is in common where its categories have the same weights; where they have not, other items were asked. A row has
    the difference (``name`` minus ``reference``) with its interval, ``n``, ``seen`` (the interval leaves out zero) and
    ``sentence``; for verdicts ``differing_items``, and of one category ``mcnemar_p``. Where nothing is in common there is no
    row.
    """
    rows = []
    for key, mine in scores.items():
        theirs = others.get(key)
        for group, entry in mine.summary["groups"].items():
            if theirs is None or theirs.summary["groups"].get(group, {}).get("weights") != entry["weights"]:
                continue
            pairs = [_pair(mine, theirs, category, weight) for category, weight in entry["weights"].items()]
            if not all(len(one.numerators) for one, _ in pairs):
                continue
            found = statistics.paired_difference(
                [one for one, _ in pairs],
                [other for _, other in pairs],
                mine.summary["confidence"],
                num_samples,
            )
            rows.append(
                {
                    "variant": name,
                    "reference": reference,
                    "benchmark": key,
                    "group": group,
                    "difference": round(found.difference, 6),
                    "low": round(found.low, 6),
                    "high": round(found.high, 6),
                    "n": found.num_items,
                    "seen": found.seen,
                    "better": found.seen and (found.difference > 0) == mine.summary["higher_is_better"],
                    "sentence": sentence(found, decimals(mine.summary, entry)),
                    **_verdicts(mine, pairs),
                }
            )
    return rows


def adjust(rows: list[dict[str, Any]]) -> int:
    """Add ``mcnemar_holm`` to the rows with a McNemar test: p adjusted for all of them; return how many there are."""
    tested = [row for row in rows if "mcnemar_p" in row]
    for row, p in zip(tested, statistics.holm([row["mcnemar_p"] for row in tested]), strict=True):
        row["mcnemar_holm"] = round(p, 6)
    return len(tested)


def sentence(found: Difference, digits: int | None) -> str:
    """Return ``−1.3 ± 0.8``, or ``no difference seen (−0.2 ± 1.1)`` where the interval holds zero.

    ``digits`` are decimals; None stands for a share, which is told in points with one decimal.
    """
    factor, shown = (100, 1) if digits is None else (1, digits)
    value = f"{signed(factor * found.difference, shown)} ± {factor * found.half_width:.{shown}f}"
    return value if found.seen else f"no difference seen ({value})"


def signed(value: float, digits: int) -> str:
    """Return a number with its sign; zero has none."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if float(f"{value:.{digits}f}") else f"{0:.{digits}f}"


def decimals(summary: Mapping[str, Any], entry: Mapping[str, Any]) -> int | None:
    """Return with how many decimals a score is told; None for a share, which is told in %."""
    if summary["denominator"] is not None:
        return 3
    return None if entry.get("metric", summary["metric"]) == summary["metric"] else 2


def _verdicts(mine: Scores, pairs: list[tuple[Stratum, Stratum]]) -> dict[str, Any]:
    if mine.summary["denominator"] is not None:
        return {}
    first, second = (np.concatenate([pair[at].numerators for pair in pairs]) for at in (0, 1))
    told: dict[str, Any] = {"differing_items": int((first != second).sum())}
    if len(pairs) == 1 and np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        told["mcnemar_p"] = round(statistics.mcnemar(first, second), 6)
    return told


def _pair(mine: Scores, theirs: Scores, category: str, weight: float) -> tuple[Stratum, Stratum]:
    """Return the items of a category that both models have scored, in the same order."""
    ids, top, bottom = mine.columns(category)
    other_ids, other_top, other_bottom = theirs.columns(category)
    _, left, right = np.intersect1d(np.array(ids, dtype=str), np.array(other_ids, dtype=str), return_indices=True)
    return (
        Stratum(top[left], None if bottom is None else bottom[left], weight),
        Stratum(other_top[right], None if other_bottom is None else other_bottom[right], weight),
    )
