"""What the benchmarks with one generated reply per item share: their items' table, their rows and their single score."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.evaluation.benchmark_files import BenchmarkFiles, Record
from hephaestus_dag.evaluation.bfcl.items import draw
from hephaestus_dag.evaluation.model import Prompt, Reply
from hephaestus_dag.evaluation.prompts import prompt_sha
from hephaestus_dag.evaluation.scores import Benchmark, Group, write_scores

ROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "category", "prompt_sha", "reply")]
    + [("verdict", pa.bool_()), ("reason", pa.string()), ("prompt_tokens", pa.int32()), ("new_tokens", pa.int32())]
    + [("seconds", pa.float64())]
)


def records_of(source: BenchmarkFiles, fields: Sequence[str]) -> Iterator[Record]:
    """Yield the records of a benchmark.

    Raises ValueError naming the first record in which one of ``fields`` is no text.
    """
    for place, record in source.records():
        for field in fields:
            if not isinstance(record.get(field), str):
                raise ValueError(
                    f"{source.name}: {place}: {field} is missing or no text; a record has {', '.join(fields)}, all texts"
                )
        yield record


def write_items(path: Path, rows: Sequence[Record], num_items: int | None, seed: int) -> dict[str, Any]:
    """Write rows of texts, each with an item_id, and which of them are ``sampled``; return counts."""
    asked = draw([("", row["item_id"]) for row in rows], num_items, seed)
    table = pa.Table.from_pylist([{**row, "sampled": row["item_id"] in asked} for row in rows])
    pq.write_table(table, path, compression="zstd")
    return {"items": len(rows), "sampled": len(asked)}


def read_items(path: Path) -> list[Record]:
    """Return the rows that `write_items` wrote; none where it wrote none."""
    return pq.read_table(path).to_pylist() if path.exists() else []


def asked_items(path: Path) -> list[Record]:
    """Return the rows of `read_items` that are asked."""
    return [row for row in read_items(path) if row["sampled"]]


def reply_row(category: str, item_id: str, prompt: Prompt, reply: Reply, reason: str) -> dict[str, Any]:
    """Return an item's row. A failed reply, and one with a reason, is wrong."""
    reason = reply.failure or reason
    return {
        "item_id": item_id,
        "category": category,
        "prompt_sha": prompt_sha(prompt),
        "reply": reply.text,
        "verdict": not reason,
        "reason": reason,
        "prompt_tokens": reply.num_prompt_tokens,
        "new_tokens": reply.num_new_tokens,
        "seconds": reply.seconds,
    }


def write_single_score(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    key: str,
    name: str,
    metric: str,
    definition: str,
    missing: str,
    note: str = "",
    **statistics: Any,
) -> dict[str, Any]:
    """Write the score folder (see ``scores``) of a benchmark of one category, called ``key`` too; return its summary.

    Without rows it was not run, and ``missing`` says why. ``statistics`` are those of `write_scores`.
    """
    benchmark = Benchmark(
        key=key,
        name=name,
        metric=metric,
        higher_is_better=True,
        numerator="verdict",
        groups=(Group(name=name, definition=definition, weights={key: 1.0}),) if rows else (),
        not_run={} if rows else {name: missing},
        note=note,
    )
    return write_scores(folder, pa.Table.from_pylist(list(rows), ROW_SCHEMA), benchmark, **statistics)
