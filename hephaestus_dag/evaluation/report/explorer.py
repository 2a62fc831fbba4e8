"""A few items that a model got right, and a few that it got wrong."""

import hashlib
import json
from typing import Any

from hephaestus_dag.evaluation.scores import Scores

EXAMPLES = 5
LONGEST_REPLY = 300


def examples(scores: Scores) -> list[dict[str, Any]]:
    """Return up to 5 wrong and 5 right items, the same in every run; none for a loss.

    A row has ``item_id``, ``category``, ``score``, ``prompt_sha``, ``reply`` (cut at 300 characters) and ``reason``.
    """
    summary = scores.summary
    if summary["denominator"] is not None:
        return []
    rows = [row for row in scores.rows.to_pylist() if row[summary["numerator"]] is not None]
    rows.sort(key=lambda row: hashlib.sha256(f"{row['category']}:{row['item_id']}".encode()).digest())
    wrong = [row for row in rows if row[summary["numerator"]] < 1][:EXAMPLES]
    right = [row for row in rows if row[summary["numerator"]] == 1][:EXAMPLES]
    return [
        {
            "item_id": row["item_id"],
            "category": row["category"],
            "score": float(row[summary["numerator"]]),
            "prompt_sha": (row.get("prompt_sha") or "")[:12],
            "reply": _cut(_reply(row)),
            "reason": _cut(row.get("reason") or ""),
        }
        for row in [*wrong, *right]
    ]


def _reply(row: dict[str, Any]) -> str:
    """Return the reply of a row; of a conversation the model's last one."""
    if row.get("transcript"):
        messages = json.loads(row["transcript"])
        said = [message["content"] for message in messages if message.get("role") == "assistant"]
        return said[-1] if said else ""
    return row.get("reply") or ""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_REPLY else text[: LONGEST_REPLY - 1] + "…"
