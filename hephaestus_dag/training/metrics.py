"""metrics.jsonl: one JSON object for each step, held-out evaluation, rewind and failed checkpoint, in order."""

import json
import os
from pathlib import Path
from typing import Any


class MetricsFile:
    """Appends to a metrics file. Opening it keeps the lines up to a step, and drops what an interrupted attempt did after.

    A full disk delays lines, it does not lose them or end the run.
    """

    def __init__(self, path: Path, step: int) -> None:
        before = read_metrics(path)
        self.kept = [line for line in before if line["step"] <= step]
        """The lines of earlier attempts."""
        self.attempts, self.seconds = _attempts(path, before, self.kept)
        """Attempts at the job, this one included, and what the earlier ones took, as far as their lines say."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(map(_line, self.kept)))
        self._file = os.open(fresh, os.O_WRONLY | os.O_APPEND)
        fresh.replace(path)  # A new file: whoever follows the old one sees that it ended.
        self._waiting = b""

    def write(self, values: dict[str, Any]) -> None:
        """Append one line."""
        self._waiting += _line(values).encode()
        try:
            self._waiting = self._waiting[os.write(self._file, self._waiting) :]
        except OSError:  # The next line tries again.
            return

    def flush(self) -> None:
        """Make the lines durable. Raises OSError when the disk refuses."""
        while self._waiting:
            self._waiting = self._waiting[os.write(self._file, self._waiting) :]
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file, up to one that was cut off; nothing when there is no file."""
    found: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            found.append(json.loads(line))
    return found


def _attempts(path: Path, before: list[dict[str, Any]], kept: list[dict[str, Any]]) -> tuple[int, float]:
    """Count an attempt in ``attempts.json`` beside the metrics, which remembers the time of lines that were dropped."""
    ledger = path.with_name("attempts.json")
    known = json.loads(ledger.read_text()) if ledger.is_file() else {"attempts": 0, "lost_seconds": 0.0}
    spent, useful = (sum(line.get("seconds", 0.0) for line in lines) for lines in (before, kept))
    known = {"attempts": known["attempts"] + 1, "lost_seconds": known["lost_seconds"] + spent - useful}
    ledger.parent.mkdir(parents=True, exist_ok=True)
    fresh = ledger.with_suffix(".new")
    fresh.write_text(json.dumps(known) + "\n")
    fresh.replace(ledger)
    return known["attempts"], known["lost_seconds"] + useful


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
