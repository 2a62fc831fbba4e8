"""SHA-256 of files, remembered between processes, so that an unchanged tree of gigabytes is recognised in milliseconds."""

import hashlib
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from platformdirs import user_cache_path

_SCHEMA = "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID"
_SETTLED = 2.0
"""Seconds that a file has to be unchanged before its digest is remembered: clocks of file systems are coarse, and a second
change within one tick would go unnoticed."""
_CHUNK = 1 << 20


def digest_files(folder: Path, names: Sequence[str], cache: Path | None = None) -> list[bytes | None]:
    """Return the SHA-256 of files in a folder, in order; None for one that cannot be read.

    A digest is taken from the cache while path, size, inode and times of change stay the same. A cache that cannot be
    read or written, or that another process holds, costs time and nothing else.
    """
    cache = cache or user_cache_path("hephaestus") / "file-digests.sqlite"
    folder = folder.resolve()
    known = _load(cache, str(folder))
    now = time.time()
    digests: list[bytes | None] = []
    fresh: list[tuple[str, str, bytes]] = []
    for name in names:
        path = f"{folder}/{name}"
        try:
            status = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat, over 100,000 files
            stamp = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino} {status.st_dev}"
            found = known.get(path)
            if found and found[0] == stamp:
                digests.append(found[1])
                continue
            digests.append(digest := _digest(path))
        except OSError:
            digests.append(None)
            continue
        if now - status.st_ctime > _SETTLED:
            fresh.append((path, stamp, digest))
    if fresh:
        _store(cache, fresh)
    return digests


def _digest(path: str) -> bytes:
    digest = hashlib.sha256()
    with Path(path).open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()


def _load(cache: Path, folder: str) -> dict[str, tuple[str, bytes]]:
    """Return stamp and digest of the files below a folder."""
    if not cache.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{cache.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            # "0" is the character after "/": everything below the folder, by the primary key
            rows = connection.execute(
                "SELECT path, stamp, digest FROM digests WHERE path >= ? AND path < ?", (f"{folder}/", f"{folder}0")
            )
            return {path: (stamp, digest) for path, stamp, digest in rows}
    except (sqlite3.Error, OSError):
        return {}


def _store(cache: Path, rows: Sequence[tuple[str, str, bytes]]) -> None:
    with suppress(OSError):  # a folder that is not writable
        cache.parent.mkdir(parents=True, exist_ok=True)
        try:
            _insert(cache, rows)
        except sqlite3.OperationalError:  # locked, full or read-only
            return
        except sqlite3.DatabaseError:  # no database: what is in it is worth nothing
            cache.unlink()


def _insert(cache: Path, rows: Sequence[tuple[str, str, bytes]]) -> None:
    with closing(sqlite3.connect(cache, timeout=30)) as connection, connection:
        connection.execute(_SCHEMA)
        connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", rows)
