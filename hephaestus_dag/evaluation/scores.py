"""The score folder: what every benchmark writes about a variant, and all that the report reads.

``rows.parquet``    one row per item: item_id, category, a numerator, perhaps a denominator, and what explains them
``summary.json``    category and group scores with intervals, why items are wrong, and what was not run, with the reason

A category's score is the sum of numerators over the sum of denominators (without one: the mean of verdicts, or of scores
between 0 and 1). A group's score is a weighted sum of category scores.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.evaluation import statistics
from hephaestus_dag.evaluation.statistics import Interval, Stratum

MOST_WITHOUT = 0.1
"""Share of a group's weight that categories without a clean item may have, before the group has no clean score."""
_TOP_REASONS = 5
_FAILURE = re.compile(
    r"^(error|invalid): |time[sd]?[ -]?(limit|out)|too long|no reply|not answer|prompt does not fit"
    r"|refused|failed|failure|stopped|crash|killed|memory",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A column of the report."""

    name: str
    definition: str
    """How the score is made of categories, in words."""
    weights: dict[str, float]
    """Weight of each category's score, positive; those of a mean sum to 1."""
    metric: str = ""
    """Name and unit of the score where it is another than the benchmark's, such as AgentBench's weighted sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What a benchmark measures and how its rows become scores."""

    key: str
    """``bfcl``, ``agentbench``, ``mmlu``, ``gsm8k``, ``humaneval`` or ``benchmark_loss``."""
    name: str
    """In words, as a reader knows it."""
    metric: str
    """Name and unit of the score, such as ``accuracy`` or ``bits per byte``."""
    higher_is_better: bool
    numerator: str
    """Column of ``rows.parquet``: verdicts (booleans), scores between 0 and 1, or, with a denominator, amounts."""
    denominator: str | None = None
    """Column of ``rows.parquet`` to divide by; None for verdicts and scores."""
    groups: tuple[Group, ...] = ()
    not_run: dict[str, str] = field(default_factory=dict)
    """Parts that were left out, with the reason."""
    note: str = ""
    """What a reader of the scores has to know about this variant's replies."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A score folder, read."""

    summary: dict[str, Any]
    rows: pa.Table

    def columns(self, category: str) -> tuple[list[str], np.ndarray, np.ndarray | None]:
        """Return item ids, numerators and denominators of the scored rows of a category, by item id."""
        return category_columns(self.rows, self.summary["numerator"], self.summary["denominator"], category)

    def clean(self, overlapping: Collection[str], num_samples: int = 2_000) -> dict[str, dict[str, Any]]:
        """Return the group scores without the items that training data overlap with.

        ``overlapping`` are names as `item_name` gives them. Each entry has ``score``, ``low``, ``high`` and ``n`` (items
        left), ``overlapping`` (items left out) and ``change`` (this score minus that on all items). Where categories have no
        item left, the others of their part (what stands before the last slash, such as ``DB``) are scaled up to its weight, on
        both sides of ``change``; ``without`` names them, ``without_weight`` is their share of the weight, and ``all`` has the
        score, interval and number of all items of the others. Above `MOST_WITHOUT`, and where a whole part has no item left,
        there is only ``overlapping`` and ``reason``.
        """
        names = (item_name(self.summary["key"], item) for item in self.rows["item_id"].to_pylist())
        left_out = np.array([name in overlapping for name in names], np.bool_)
        kept = self.rows.filter(pa.array(~left_out))
        dirty = Counter(self.rows.filter(pa.array(left_out))["category"].to_pylist())
        with_items = set(kept.filter(pc.field(self.summary["numerator"]).is_valid())["category"].to_pylist())
        groups = {name: group["weights"] for name, group in self.summary["groups"].items()}
        without = {name: sorted(weights.keys() - with_items) for name, weights in groups.items()}
        shares = {
            name: sum(weights[each] for each in without[name]) / sum(weights.values()) for name, weights in groups.items()
        }
        lost = {
            name: sorted({_part(each) for each in weights} - {_part(each) for each in weights if each in with_items})
            for name, weights in groups.items()
        }
        scaled = {
            name: _scaled(weights, with_items)
            for name, weights in groups.items()
            if shares[name] <= MOST_WITHOUT and not lost[name]
        }
        found = self._entries(kept, scaled, num_samples)
        full = self._entries(self.rows, {name: weights for name, weights in scaled.items() if without[name]}, num_samples)
        clean: dict[str, dict[str, Any]] = {}
        for name, weights in groups.items():
            clean[name] = {"overlapping": sum(dirty[category] for category in weights)}
            if name not in found:
                where = ", ".join(lost[name] if any(lost[name]) else without[name])
                clean[name]["reason"] = f"no item of {where} is without overlap"
                continue
            of_all = full[name] if without[name] else self.summary["groups"][name]
            clean[name] |= found[name] | {"change": round(found[name]["score"] - of_all["score"], 6)}
            if without[name]:
                clean[name] |= {"without": without[name], "without_weight": round(shares[name], 6), "all": of_all}
        return clean

    def _entries(self, rows: pa.Table, groups: Mapping[str, dict[str, float]], num_samples: int) -> dict[str, dict[str, Any]]:
        """Return the entries of groups, given by their weights, over rows that have items of all their categories."""
        wanted = {name: {"weights": weights} for name, weights in groups.items()}
        return _group_entries(rows, self.summary, wanted, self.summary["confidence"], num_samples)[0]


def item_name(key: str, item_id: str) -> str:
    """Return the name that an item has among all benchmarks: ``<benchmark>/<id>``."""
    return item_id if "/" in item_id else f"{key}/{item_id}"


def _part(category: str) -> str:
    """Return what a category is a kind of, such as a task of AgentBench; empty where it stands alone."""
    return category.rpartition("/")[0]


def _scaled(weights: Mapping[str, float], kept: Collection[str]) -> dict[str, float]:
    """Return the weights of the categories that are kept, scaled so that each part keeps its weight."""
    before, after = defaultdict[str, float](float), defaultdict[str, float](float)
    for category, weight in weights.items():
        before[_part(category)] += weight
        after[_part(category)] += weight * (category in kept)
    return {each: weight * before[_part(each)] / after[_part(each)] for each, weight in weights.items() if each in kept}


def category_columns(
    rows: pa.Table, numerator: str, denominator: str | None, category: str
) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """Return item ids, numerators and denominators of a category, sorted by item id; rows without a score are left out."""
    chosen = rows.filter((pc.field("category") == category) & pc.field(numerator).is_valid()).sort_by("item_id")
    top = np.array(chosen[numerator].to_pylist(), dtype=float)
    bottom = np.array(chosen[denominator].to_pylist(), dtype=float) if denominator else None
    return chosen["item_id"].to_pylist(), top, bottom


def write_scores(
    folder: Path, rows: pa.Table, benchmark: Benchmark, confidence: float = 0.95, num_samples: int = 2_000
) -> dict[str, Any]:
    """Write ``rows.parquet`` and ``summary.json`` into ``folder`` and return the summary.

    A group is scored only when all its categories are; otherwise it joins what was not run.
    Raises ValueError naming the item when a score without denominator is not between 0 and 1, or an item comes twice.
    """
    _check(rows, benchmark)
    head = {"key": benchmark.key, "numerator": benchmark.numerator, "denominator": benchmark.denominator}
    names = sorted(set(rows["category"].to_pylist()))
    only = {name: {"weights": {name: 1.0}, "definition": ""} for name in names}
    categories, _ = _group_entries(rows, head, only, confidence, num_samples)
    for name, entry in categories.items():
        entry |= _why_wrong(rows.filter(pc.field("category") == name), benchmark)
    wanted = {
        group.name: {"definition": group.definition, "weights": group.weights, "metric": group.metric or benchmark.metric}
        for group in benchmark.groups
    }
    groups, missing = _group_entries(rows, head, wanted, confidence, num_samples)
    summary = head | {
        "benchmark": benchmark.name,
        "metric": benchmark.metric,
        "higher_is_better": benchmark.higher_is_better,
        "num_items": rows.num_rows,
        "num_scored": sum(entry["n"] for entry in categories.values()),
        "confidence": confidence,
        "categories": categories,
        "groups": {name: entry | wanted[name] for name, entry in groups.items()},
        "not_run": benchmark.not_run
        | {
            name: f"no scored items of {', '.join(lacking)}"
            for name, lacking in missing.items()
            if name not in benchmark.not_run
        },
        "note": benchmark.note,
    }
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, folder / "rows.parquet", compression="zstd")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def read_scores(folder: Path) -> Scores:
    """Read a score folder.

    Raises FileNotFoundError naming the folder when it is not one.
    """
    if not (folder / "summary.json").exists():
        raise FileNotFoundError(f"{folder} is no score folder (summary.json is missing): run the benchmark first")
    return Scores(json.loads((folder / "summary.json").read_text()), pq.read_table(folder / "rows.parquet"))


def reason_kind(reason: str) -> str:
    """Return what many reasons have in common: the first line, without what is quoted, bracketed or a number."""
    first = reason.strip().partition("\n")[0]
    first = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`|[\[{(].*", "…", first)
    return re.sub(r"\d[\d.,]*", "#", first)[:100].strip()


def is_failure(reason: str) -> bool:
    """Say whether a reason tells that there was no verdict on an answer: a time-out, a failure, a prompt that did not fit.

    What it quotes says nothing.
    """
    return bool(_FAILURE.search(reason_kind(reason)))


def _check(rows: pa.Table, benchmark: Benchmark) -> None:
    counts = Counter(zip(rows["category"].to_pylist(), rows["item_id"].to_pylist(), strict=True))
    if twice := next((item for item, count in counts.items() if count > 1), None):
        raise ValueError(f"{benchmark.name}: item {twice[1]} of {twice[0]} has several rows; give each item one")
    if benchmark.denominator is None and not pa.types.is_boolean(rows.schema.field(benchmark.numerator).type):
        for item, score in zip(rows["item_id"].to_pylist(), rows[benchmark.numerator].to_pylist(), strict=True):
            if score is not None and not 0 <= score <= 1:
                raise ValueError(f"{benchmark.name}: item {item} has {benchmark.numerator} {score}; it must be from 0 to 1")


def _why_wrong(rows: pa.Table, benchmark: Benchmark) -> dict[str, Any]:
    if "reason" not in rows.schema.names:
        return {}
    reasons = [reason for reason in rows["reason"].to_pylist() if reason]
    kinds = Counter(map(reason_kind, reasons))
    top = sorted(kinds.items(), key=lambda found: (-found[1], found[0]))[:_TOP_REASONS]
    return {"failures": sum(map(is_failure, reasons)), "reasons": [{"reason": reason, "n": count} for reason, count in top]}


def _group_entries(
    rows: pa.Table,
    head: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Any]],
    confidence: float,
    num_samples: int,
) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Return the entries of groups that can be scored, and of the others the categories that are missing."""
    entries: dict[str, dict[str, Any]] = {}
    missing: dict[str, list[str]] = {}
    columns = {
        category: category_columns(rows, head["numerator"], head["denominator"], category)
        for category in sorted({name for group in groups.values() for name in group["weights"]})
    }
    for name, group in groups.items():
        lacking = sorted(category for category in group["weights"] if not columns[category][0])
        if lacking:
            missing[name] = lacking
            continue
        strata = [Stratum(*columns[category][1:], weight) for category, weight in group["weights"].items()]
        interval = statistics.score_interval(strata, confidence, num_samples)
        entries[name] = _entry(statistics.weighted_score(strata), interval, strata)
    return entries, missing


def _entry(score: float, interval: Interval, strata: Sequence[Stratum]) -> dict[str, Any]:
    # Rounding hides the last bits, which differ between processors.
    ends = {"low": math.floor(interval.low * 1e6) / 1e6, "high": math.ceil(interval.high * 1e6) / 1e6}
    return {"score": round(score, 6), **ends, "n": sum(len(stratum.numerators) for stratum in strata)}
