"""metrics.jsonl: one JSON object for each step, held-out evaluation, rewind and failed checkpoint, in order."""

import json
import os
from pathlib import Path
from typing import Any

from hephaestus_dag.whole_folder import whole_file


class MetricsFile:
    """Appends to a metrics file. Opening it keeps the lines up to a step, and drops what an interrupted attempt did after.

    A full disk delays lines, it does not lose them or end the run. Raises ValueError when lines up to the step are missing.
    """

    def __init__(self, path: Path, step: int) -> None:
        before = read_metrics(path)
        kept = [line for line in before if line["step"] <= step]
        if missing := sorted({*range(1, step + 1)} - {line["step"] for line in kept}):
            raise ValueError(f"work: {path} has lost step {missing[0]} of {step}; delete {path.parent} to start over")
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.attempts, self.seconds = _attempts(path, before, kept)
        """Attempts at the job, this one included, and what the earlier ones took, as far as their lines say."""
        with whole_file(path) as fresh:  # A new file: whoever follows the old one sees that it ended.
            fresh.write_text("".join(map(_line, kept)))
            self._file = os.open(fresh, os.O_WRONLY | os.O_APPEND)
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
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(self._file, self._waiting) :]
            os.fsync(self._file)
        except OSError as error:
            error.filename = str(self.path)
            raise

    def close(self) -> None:
        """Close the file, all of its lines durable. Raises OSError when the disk refuses."""
        try:
            self.flush()
        finally:
            os.close(self._file)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file, up to one that a crash cut off or spoilt; nothing when there is no file."""
    found: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                found.append(json.loads(line if line.endswith(b"\n") else b""))
            except ValueError:
                break
    return found


def _attempts(path: Path, before: list[dict[str, Any]], kept: list[dict[str, Any]]) -> tuple[int, float]:
    """Count an attempt in ``attempts.json`` beside the metrics, which remembers the time of lines that were dropped."""
    ledger = path.with_name("attempts.json")
    known = json.loads(ledger.read_text()) if ledger.is_file() else {"attempts": 0, "lost_seconds": 0.0}
    spent, useful = (sum(line.get("seconds", 0.0) for line in lines) for lines in (before, kept))
    known = {"attempts": known["attempts"] + 1, "lost_seconds": known["lost_seconds"] + spent - useful}
    with whole_file(ledger) as fresh:
        fresh.write_text(json.dumps(known) + "\n")
    return known["attempts"], known["lost_seconds"] + useful


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
