"""Reading a metrics file while another process writes it."""

import json
import os
from pathlib import Path
from typing import Any


class MetricsFollower:
    """Returns the lines that were added since the last look.

    A file that was there from the start belongs to an earlier attempt and is passed over: the worker puts a new one in
    its place, with the lines that still hold.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open() if path.is_file() else None  # Held open, so that its inode cannot come back.
        self._stale = self._file is not None
        self._rest = ""

    def new_lines(self) -> list[dict[str, Any]]:
        """Return the new complete lines as values."""
        if self._replaced():
            if self._file:
                self._file.close()
            self._file, self._stale, self._rest = self.path.open(), False, ""
        if self._file is None or self._stale:
            return []
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        return [json.loads(line) for line in lines]

    def _replaced(self) -> bool:
        if not self.path.is_file():
            return False
        return self._file is None or self.path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
