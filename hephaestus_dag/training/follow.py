"""Reading a metrics file while another process writes it."""

import json
import os
from pathlib import Path
from typing import Any, TextIO


class MetricsFollower:
    """Returns the lines that were added since the last look.

    A file that was there from the start belongs to an earlier attempt and is passed over: the worker puts a new one in
    its place, with the lines that still hold. When that happens again later, after a restart, the lines that both files
    begin with are not returned twice. With ``replay`` the file that is there is of the attempt that is followed, and its
    lines are returned.
    """

    def __init__(self, path: Path, *, replay: bool = False) -> None:
        self.path = path
        self._file = path.open() if path.is_file() else None  # Held open, so that its inode cannot come back.
        self._stale = self._file is not None and not replay
        self._rest = ""

    def new_lines(self) -> list[dict[str, Any]]:
        """Return the new complete lines as values."""
        lines = self._read() if self._file and not self._stale else []
        if self._replaced():
            fresh = self.path.open()
            if self._file:
                if not self._stale:
                    _skip_common_lines(self._file, fresh)
                self._file.close()
            self._file, self._stale, self._rest = fresh, False, ""
            lines += self._read()
        return [json.loads(line) for line in lines]

    def _read(self) -> list[str]:
        assert self._file
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        return lines

    def _replaced(self) -> bool:
        if not self.path.is_file():
            return False
        return self._file is None or self.path.stat().st_ino != os.fstat(self._file.fileno()).st_ino


def _skip_common_lines(old: TextIO, new: TextIO) -> None:
    old.seek(0)
    position = 0
    while (line := old.readline()).endswith("\n") and new.readline() == line:
        position = new.tell()
    new.seek(position)
