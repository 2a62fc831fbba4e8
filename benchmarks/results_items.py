"""Some items that a model got right and some that it got wrong, with their text, for a person to read."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq

from hephaestus_dag.evaluation.scores import Scores

NUM_ITEMS = 10
"""Of each kind."""
LONGEST, FEW_FUNCTIONS = 400, 4
NO_CALL, SOME_CALL = "no call", "a call, whichever"


def some_items(scores: Scores, items: Path, count: int = NUM_ITEMS, seed: int = 0) -> list[dict[str, Any]]:
    """Return ``count`` right and ``count`` wrong single-turn items of BFCL, fewer where there are not so many, drawn by seed.

    ``scores`` are a model's, with replies, ``items`` the folder that it was asked from (see `evaluation.bfcl.items`).
    An item has ``item_id``, ``category``, ``right``, ``question``, ``functions`` (names with parameters), ``expected``,
    ``answer`` and ``reason``; long texts are cut.
    """
    asked = {row["item_id"]: row for row in pq.read_table(items / "items.parquet").to_pylist()}
    rows = sorted((row for row in scores.rows.to_pylist() if row["item_id"] in asked), key=lambda row: row["item_id"])
    drawn = [row for right in (True, False) for row in _draw([row for row in rows if row["verdict"] == right], count, seed)]
    return [_told(row, asked[row["item_id"]]) for row in drawn]


def _draw(rows: Sequence[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    return Random(seed).sample(rows, min(count, len(rows)))


def _told(row: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    offered = ((each["name"], each.get("parameters", {}).get("properties", {})) for each in json.loads(asked["functions"]))
    functions = [f"{name}({', '.join(parameters)})" for name, parameters in offered]
    more = [f"and {len(functions) - FEW_FUNCTIONS} more"] if len(functions) > FEW_FUNCTIONS else []
    nothing = SOME_CALL if asked["category"].endswith("_relevance") else NO_CALL
    return {
        "item_id": row["item_id"],
        "category": row["category"],
        "right": row["verdict"],
        "question": cut(asked["question"]),
        "functions": [*map(cut, functions[:FEW_FUNCTIONS]), *more],
        "expected": cut(asked["reference"] or nothing),
        "answer": cut(row["reply"]),
        "reason": cut(row.get("reason") or ""),
    }


def cut(text: str) -> str:
    """Return a text on one line, of at most 400 characters."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
