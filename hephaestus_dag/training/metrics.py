"""metrics.jsonl: one JSON object for each step and for each held-out evaluation, in order."""

import json
import os
from pathlib import Path
from typing import Any


class MetricsFile:
    """Appends to a metrics file. Opening it keeps the lines up to a step, and drops what an interrupted attempt did after."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in read_metrics(path) if line["step"] <= step]
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(_line(values) for values in kept))
        fresh.replace(path)  # A new file: whoever follows the old one sees that it ended.
        self._file = path.open("a", buffering=1)

    def write(self, values: dict[str, Any]) -> None:
        """Append one line."""
        self._file.write(_line(values))

    def flush(self) -> None:
        """Make the lines durable."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file, up to one that was cut off; nothing when there is no file."""
    found: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            found.append(json.loads(line))
    return found


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
