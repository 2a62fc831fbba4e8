"""The score folder: what every benchmark writes about a variant, and all that the report reads.

``rows.parquet``    one row per item: item_id, category, a numerator, perhaps a denominator, and what explains them
``summary.json``    category and group scores with intervals, and what was not run, with the reason

A category's score is the sum of numerators over the sum of denominators (without one: the mean of verdicts). A group's score
is a weighted sum of category scores.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.evaluation import statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A column of the report."""

    name: str
    definition: str
    """How the score is made of categories, in words."""
    weights: dict[str, float]
    """Weight of each category's score; they sum to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What a benchmark measures and how its rows become scores."""

    name: str
    metric: str
    """Name and unit of the score, such as ``accuracy`` or ``bits per byte``."""
    higher_is_better: bool
    numerator: str
    """Column of ``rows.parquet``: booleans, or amounts."""
    denominator: str | None = None
    """Column of ``rows.parquet`` to divide by; None for verdicts."""
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

    def columns(self, category: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Return item ids, numerators and denominators of the scored rows of a category, by item id."""
        return category_columns(self.rows, self.summary["numerator"], self.summary["denominator"], category)


def category_columns(
    rows: pa.Table, numerator: str, denominator: str | None, category: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return item ids, numerators and denominators of a category, sorted by item id; rows without a score are left out."""
    chosen = rows.filter((pc.field("category") == category) & pc.field(numerator).is_valid()).sort_by("item_id")
    top = np.array(chosen[numerator].to_pylist(), dtype=float)
    bottom = np.array(chosen[denominator].to_pylist(), dtype=float) if denominator else np.ones(len(top))
    return chosen["item_id"].to_pylist(), top, bottom


def write_scores(
    folder: Path, rows: pa.Table, benchmark: Benchmark, confidence: float = 0.95, num_samples: int = 2_000
) -> dict[str, Any]:
    """Write ``rows.parquet`` and ``summary.json`` into ``folder`` and return the summary.

    A group is scored only when all its categories are; otherwise it joins what was not run.
    """
    categories: dict[str, dict[str, Any]] = {}
    counts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for category in sorted(set(rows["category"].to_pylist())):
        _, top, bottom = category_columns(rows, benchmark.numerator, benchmark.denominator, category)
        if not len(top):
            continue
        counts[category] = top, bottom
        if benchmark.denominator is None:
            interval = statistics.wilson_interval(int(top.sum()), len(top), confidence)
        else:
            interval = statistics.bootstrap_ratio_interval(top, bottom, confidence, num_samples)
        categories[category] = _entry(top.sum() / bottom.sum(), interval, len(top))
    groups: dict[str, dict[str, Any]] = {}
    not_run = dict(benchmark.not_run)
    for group in benchmark.groups:
        missing = sorted(set(group.weights) - set(categories))
        if missing:
            not_run[group.name] = f"no scored items of {', '.join(missing)}"
            continue
        score = sum(weight * categories[category]["score"] for category, weight in group.weights.items())
        if len(group.weights) == 1:
            only = categories[next(iter(group.weights))]
            interval = statistics.Interval(only["low"], only["high"])
        else:
            interval = _group_interval(counts, group, benchmark, confidence, num_samples)
        total = sum(len(counts[category][0]) for category in group.weights)
        groups[group.name] = _entry(score, interval, total) | {"definition": group.definition, "weights": group.weights}
    summary = {
        "benchmark": benchmark.name,
        "metric": benchmark.metric,
        "higher_is_better": benchmark.higher_is_better,
        "numerator": benchmark.numerator,
        "denominator": benchmark.denominator,
        "num_items": rows.num_rows,
        "num_scored": sum(len(top) for top, _ in counts.values()),
        "confidence": confidence,
        "categories": categories,
        "groups": groups,
        "not_run": not_run,
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


def _entry(score: float, interval: statistics.Interval, num_items: int) -> dict[str, Any]:
    # Rounding hides the last bits, which differ between processors.
    return {"score": round(float(score), 6), "low": round(interval.low, 6), "high": round(interval.high, 6), "n": num_items}


def _group_interval(
    counts: dict[str, tuple[np.ndarray, np.ndarray]],
    group: Group,
    benchmark: Benchmark,
    confidence: float,
    num_samples: int,
) -> statistics.Interval:
    chosen = [counts[category] for category in group.weights]
    weights = list(group.weights.values())
    if benchmark.denominator is None:
        successes = [int(top.sum()) for top, _ in chosen]
        totals = [len(top) for top, _ in chosen]
        return statistics.weighted_proportion_interval(successes, totals, weights, confidence, max(num_samples, 10_000))
    rng = np.random.default_rng(0)
    draws = np.zeros(num_samples)
    for (top, bottom), weight in zip(chosen, weights, strict=True):
        sums = statistics.resampled_sums(np.column_stack([top, bottom]), num_samples, rng)
        draws += weight * sums[:, 0] / sums[:, 1]
    return statistics.percentile_interval(draws, confidence)
