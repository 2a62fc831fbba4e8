"""The runs table: one row per proxy run, with its size, its mixture and its held-out losses.

=====================  =============================================================================
``cell``               name of the cell
``params``             non-embedding parameters
``tokens``             training tokens
``flops``              training compute, about 6 x params x tokens
``share_<domain>``     share of the domain in the training tokens
``loss_<domain>``      held-out loss of the domain, bits per byte
``loss_benchmark``     optional: loss on the reference answers of agent benchmarks, bits per byte
``unique_<domain>``    optional: distinct training tokens that the domain had to offer (null: nothing repeated)
``seed``               seed of the run
``status``             ``ok``, or why the run has no losses
=====================  =============================================================================
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hephaestus_dag.documents import DOMAINS

MIN_RUNS = 8
MIN_RATIOS = 3
SHARE_TOLERANCE = 1e-3

_NUMBERS = ("params", "tokens", "flops")
_SHARES = tuple(f"share_{d}" for d in DOMAINS)
_LOSSES = tuple(f"loss_{d}" for d in DOMAINS)
_OPTIONAL = ("loss_benchmark", *(f"unique_{d}" for d in DOMAINS))
SCHEMA = pa.schema(
    [("cell", pa.string())]
    + [(name, pa.float64()) for name in (*_NUMBERS, *_SHARES, *_LOSSES, *_OPTIONAL)]
    + [("seed", pa.int64()), ("status", pa.string())]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row of the runs table; losses are NaN where ``status`` is not ``ok``."""

    cell: str
    params: float
    tokens: float
    flops: float
    shares: dict[str, float]
    losses: dict[str, float]
    seed: int
    status: str = "ok"
    loss_benchmark: float | None = None
    unique: dict[str, float | None] = field(default_factory=dict)


def _order(run: Run) -> tuple[float, float, float, int, str]:
    return (run.params, run.tokens, run.shares["agent"], run.seed, run.cell)


def write_runs(path: Path, runs: Sequence[Run]) -> None:
    """Write the table as Parquet, sorted by size, agent share and seed."""
    rows = []
    for run in sorted(runs, key=_order):
        rows.append(
            {name: getattr(run, name) for name in ("cell", *_NUMBERS, "loss_benchmark", "seed", "status")}
            | {f"share_{d}": run.shares[d] for d in DOMAINS}
            | {f"loss_{d}": run.losses.get(d) for d in DOMAINS}
            | {f"unique_{d}": run.unique.get(d) for d in DOMAINS}
        )
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, compression="zstd")


def read_runs(path: Path) -> list[Run]:
    """Read a table written by :func:`write_runs`, or the same columns from a CSV file.

    Raises:
        ValueError: a column is missing, a value is impossible, or a cell appears twice with different values. The
            message names the file, the row, the column and the remedy.
    """
    table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    missing = [name for name in SCHEMA.names if name not in table.column_names and name not in (*_OPTIONAL, "status", "seed")]
    if missing:
        raise ValueError(f"{path.name}: missing column(s) {', '.join(missing)}; the runs table needs {', '.join(SCHEMA.names)}")
    runs: dict[str, Run] = {}
    for position, row in enumerate(table.to_pylist(), start=1):
        run = _read_row(row, f"{path.name}: row {position} (cell {row['cell']})")
        if runs.setdefault(run.cell, run) != run and not _same_failure(runs[run.cell], run):
            raise ValueError(
                f"{path.name}: row {position}: cell {run.cell} appears twice with different values; "
                "keep one row, or give a repeated run its own seed and name"
            )
    return list(runs.values())


def _read_row(row: dict[str, Any], where: str) -> Run:
    status = str(row.get("status") or "ok")
    values = {name: _number(row.get(name), name, where) for name in (*_NUMBERS, *_SHARES, *_LOSSES, *_OPTIONAL)}
    for name in _NUMBERS:
        if not (math.isfinite(values[name]) and values[name] > 0):
            raise ValueError(f"{where}: {name} is {row[name]}; it must be a positive number")
    for name in _SHARES:
        if not 0 <= values[name] <= 1:
            raise ValueError(f"{where}: {name} is {row[name]}; a share lies between 0 and 1 (36 % is 0.36)")
    total = sum(values[name] for name in _SHARES)
    if abs(total - 1) > SHARE_TOLERANCE:
        raise ValueError(f"{where}: {' + '.join(_SHARES)} is {total:g}; they must sum to 1: rescale or correct them")
    for name in _LOSSES:
        if status == "ok" and not (math.isfinite(values[name]) and values[name] > 0):
            raise ValueError(f"{where}: {name} is {row[name]}; run the cell again, or put the reason in its status")
    benchmark = values["loss_benchmark"]
    return Run(
        cell=str(row["cell"]),
        **{name: values[name] for name in _NUMBERS},
        shares={d: values[f"share_{d}"] for d in DOMAINS},
        losses={d: values[f"loss_{d}"] for d in DOMAINS},
        loss_benchmark=benchmark if math.isfinite(benchmark) else None,
        unique={d: u if math.isfinite(u := values[f"unique_{d}"]) and u > 0 else None for d in DOMAINS},
        seed=int(row.get("seed") or 0),
        status=status,
    )


def _number(value: object, name: str, where: str) -> float:
    try:
        return math.nan if value is None else float(str(value))
    except ValueError as error:
        raise ValueError(f"{where}: {name} is {value!r}; it must be a number") from error


def _same_failure(a: Run, b: Run) -> bool:
    """NaN differs from itself: two rows of one failed run are the same if status and seed are."""
    return a.status == b.status != "ok" and a.seed == b.seed


def usable_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with status ``ok``, sorted as they are written, if a law can be fitted to them at all.

    Raises:
        ValueError: too few runs, a single scale, or too few agent ratios; the message says what to add.
    """
    usable = sorted((run for run in runs if run.status == "ok"), key=_order)
    if len(usable) < MIN_RUNS:
        raise ValueError(f"{len(usable)} usable runs of {len(runs)}: a law needs at least {MIN_RUNS}; train more cells")
    scales = {run.params for run in usable}
    if len(scales) < 2:
        raise ValueError(
            f"all runs have one scale (params = {scales.pop():g}): add at least one other model size, better three"
        )
    ratios = {round(run.shares["agent"], 4) for run in usable}
    if len(ratios) == 1:
        raise ValueError(f"all runs have the constant agent ratio {ratios.pop():g}: add cells at other ratios")
    if len(ratios) < MIN_RATIOS:
        raise ValueError(f"only {len(ratios)} agent ratios ({sorted(ratios)}): a minimum needs at least {MIN_RATIOS}; add more")
    splits = [run.shares["code"] / (1 - run.shares["agent"]) for run in usable if run.shares["agent"] < 1]
    if max(splits) - min(splits) > 0.02:
        raise ValueError(
            f"share_code / (1 - share_agent) runs from {min(splits):.3f} to {max(splits):.3f}: the agent ratio is only one "
            "number if the rest is split the same way in every run; fit each split on its own"
        )
    return usable
