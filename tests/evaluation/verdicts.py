"""Rows of score folders."""

from typing import Any


def verdicts(category: str, right: int, total: int, **columns: Any) -> list[dict[str, Any]]:
    """Return the rows of a category, whose first items are right; items are called ``<category><number>``."""
    return [
        {
            "item_id": f"{category}{at}",
            "category": category,
            "verdict": at < right,
            "reason": "" if at < right else f"wrong value {at}",
            **columns,
        }
        for at in range(total)
    ]
