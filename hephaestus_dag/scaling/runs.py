"""The runs table: one row per training run, with its size, its mixture and its held-out losses.

=====================  =============================================================================
``params``             non-embedding parameters
``tokens``             training tokens
``share_<domain>``     share of the domain in the training tokens, 2 to 20 domains; they sum to 1
``loss_<name>``        held-out loss: of a domain, or of anything else that was measured; empty where it was not
``cell``               optional: name of the run
``seed``               optional: seed of the run; rows that differ in nothing else measure the noise
``flops``              optional: training compute; 6 x params x tokens where it is missing
``unique_<domain>``    optional: distinct training tokens that the domain had to offer (empty: nothing repeated)
``status``             optional: ``ok``, or why the run has no losses
=====================  =============================================================================
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

MIN_DOMAINS, MAX_DOMAINS = 2, 20
SHARE_TOLERANCE = 1e-3
SHARE, LOSS, UNIQUE = "share_", "loss_", "unique_"
_EMPTY = ["", "NA", "N/A", "n/a", "#N/A", "null", "NULL"]  # not nan: a loss that is no number is an error, not a gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row of the runs table; a run whose ``status`` is not ``ok`` has no losses."""

    cell: str
    params: float
    tokens: float
    flops: float
    shares: dict[str, float]
    losses: dict[str, float]
    seed: int = 0
    status: str = "ok"
    unique: dict[str, float | None] = field(default_factory=dict)
    place: str = field(default="", compare=False)
    """Where it stands in the file that it was read from: ``line 4`` of a CSV file, ``row 3`` of any other."""

    @property
    def point(self) -> tuple[float, ...]:
        """Size, tokens and shares: what repeated seeds have in common."""
        return (self.params, self.tokens, *(round(share, 6) for share in self.shares.values()))


def write_runs(path: Path, runs: Sequence[Run]) -> None:
    """Write the table as Parquet, sorted by size, tokens, shares and seed."""
    domains = list(runs[0].shares)
    losses = list(dict.fromkeys(name for run in runs for name in run.losses))
    floats = ["params", "tokens", "flops"]
    columns = [*floats, *(SHARE + d for d in domains), *(LOSS + name for name in losses), *(UNIQUE + d for d in domains)]
    schema = pa.schema(
        [("cell", pa.string()), *((name, pa.float64()) for name in columns), ("seed", pa.int64()), ("status", pa.string())]
    )
    rows = [
        {name: getattr(run, name) for name in ("cell", *floats, "seed", "status")}
        | {SHARE + d: run.shares[d] for d in domains}
        | {LOSS + name: run.losses.get(name) for name in losses}
        | {UNIQUE + d: run.unique.get(d) for d in domains}
        for run in sorted(runs, key=lambda run: (*run.point, run.seed, run.cell))
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema), path, compression="zstd")


def read_runs(path: Path, every_row: bool = False) -> list[Run]:
    """Read a table, CSV or Parquet. A table without any ``loss_`` column is read as runs without losses.

    Args:
        path: of the table.
        every_row: one run for each row, in order, whatever stands there twice; else copies of a row count once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a value is impossible, or one run stands there twice with different losses. The
            message names the file, the row, the column and the remedy.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; give the runs table as .csv or .parquet")
    if path.is_dir():
        raise ValueError(f"{path}: a folder, not a table; give the runs table as .csv or .parquet")
    text = b"" if path.suffix.lower() == ".parquet" else path.read_bytes()
    for separator, name in ((b";", "semicolons"), (b"\t", "tabs")):
        if separator in (head := text.partition(b"\n")[0]) and b"," not in head:
            raise ValueError(
                f"{path.name}: its columns are separated by {name}; separate them by commas, and write 0.5, not 0,5"
            )
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
        else:
            options = pyarrow.csv.ConvertOptions(null_values=_EMPTY)
            table = pyarrow.csv.read_csv(pa.BufferReader(text), convert_options=options)
    except pa.ArrowException as error:
        raise ValueError(
            f"{path.name}: not a readable table ({error}); write it as CSV with a header, or as Parquet"
        ) from error
    table = table.rename_columns([name.strip() for name in table.column_names])
    if twice := sorted({name for name in table.column_names if table.column_names.count(name) > 1}):
        raise ValueError(f"{path.name}: column(s) {', '.join(twice)} stand there twice; rename or remove one")
    domains = [name.removeprefix(SHARE) for name in table.column_names if name.startswith(SHARE)]
    losses = [name.removeprefix(LOSS) for name in table.column_names if name.startswith(LOSS)]
    if missing := [name for name in ("params", "tokens") if name not in table.column_names]:
        raise ValueError(
            f"{path.name}: missing column(s) {', '.join(missing)}; a runs table needs params, tokens, share_<domain> and "
            f"loss_<domain>, it has {', '.join(table.column_names)}"
        )
    if not MIN_DOMAINS <= len(domains) <= MAX_DOMAINS:
        raise ValueError(
            f"{path.name}: {len(domains)} columns share_<domain>, {MIN_DOMAINS} to {MAX_DOMAINS} are needed; "
            "give every domain of the mixture its own"
        )
    if not table.num_rows:
        raise ValueError(f"{path.name}: no rows; add one row for each run")
    rows = table.to_pylist()
    every = [_read_row(row, domains, losses, path.name, number) for number, row in enumerate(rows, start=1)]
    lines = [number for number, line in enumerate(text.splitlines(), start=1) if line][1:]
    if len(lines) == len(every):  # else a value holds a line break
        every = [replace(run, place=f"line {line}") for run, line in zip(every, lines, strict=True)]
    if every_row:
        return every
    runs: dict[tuple[Any, ...], tuple[int, Run]] = {}
    for number, (row, run) in enumerate(zip(rows, every, strict=True), start=1):
        # One cell may have several checkpoints.
        key = (run.cell, run.params, run.tokens, run.seed) if row.get("cell") else (*run.point, run.seed)
        first, known = runs.setdefault(key, (number, run))
        if known != run:
            raise ValueError(
                f"{path.name}: rows {first} and {number}: {run.cell} stands there twice with different values; "
                "keep one row, or tell repeated runs apart in the column seed"
            )
    return [run for _, run in runs.values()]


def _read_row(row: dict[str, Any], domains: list[str], losses: list[str], file: str, number: int) -> Run:
    where = f"{file}: row {number}" + (f" (cell {row['cell']})" if row.get("cell") else "")
    status = str(row.get("status") or "ok").strip()
    if status.lower() == "ok":
        status = "ok"

    def value(name: str) -> float | None:
        given = row.get(name)
        if given is None or given == "":
            return None
        try:
            return float(given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {name} is {given!r}; it must be a number") from error

    def positive(name: str, advice: str) -> float | None:
        found = value(name)
        if found is not None and not (math.isfinite(found) and found > 0):
            raise ValueError(f"{where}: {name} is {row[name]}; {advice}")
        return found

    needed = {name: positive(name, "it must be a positive number") for name in ("params", "tokens")}
    for name, found in needed.items():
        if found is None:
            raise ValueError(f"{where}: {name} is empty; it must be a positive number")
    params, tokens = needed["params"] or 0.0, needed["tokens"] or 0.0
    shares = {d: value(SHARE + d) or 0.0 for d in domains}
    for domain, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{where}: {SHARE}{domain} is {share:g}; a share lies between 0 and 1 (36 % is 0.36)")
    if abs(total := sum(shares.values()) - 1) > SHARE_TOLERANCE:
        raise ValueError(f"{where}: the shares sum to {total + 1:g}; they must sum to 1: rescale or correct them")
    measured = {}
    if status == "ok":
        advice = "run the cell again, leave the value empty, or put the reason in a column status"
        measured = {name: found for name in losses if (found := positive(LOSS + name, advice)) is not None}
        if losses and not measured:
            raise ValueError(f"{where}: no loss at all; {advice}")
    seed = value("seed") or 0.0
    if not seed.is_integer():
        raise ValueError(f"{where}: seed is {row['seed']}; it must be a whole number, or empty")
    described = ", ".join(f"{d} {share:.4g}" for d, share in shares.items() if share)
    return Run(
        cell=str(row.get("cell") or f"{params:g} parameters, {tokens:g} tokens, {described}"),
        params=params,
        tokens=tokens,
        flops=positive("flops", "it must be a positive number") or 6 * params * tokens,
        shares=shares,
        losses=measured,
        seed=int(seed),
        status=status,
        place=f"row {number}",
        unique={d: positive(UNIQUE + d, "it must be a positive number, or empty where nothing repeats") for d in domains},
    )
