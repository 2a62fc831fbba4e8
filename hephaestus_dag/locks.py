"""Locks of a store: two builds of one artifact on one machine, or over one network drive, wait for each other."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hephaestus_dag.manifests import ArtifactError


class HeldError(ArtifactError):
    """Somebody builds the artifact at this moment."""


def lock_name(key: str, name: str) -> str:
    """Return the name of the lock of an artifact, ``name`` being that of its folder."""
    return f"{key.replace('/', '.')}-{name}"


@contextmanager
def lock(root: Path, key: str, name: str, wait: bool = True) -> Iterator[Path]:
    """Hold what a build of an artifact holds, so that there is none meanwhile; gives the lock's file.

    Raises HeldError when somebody else holds it and ``wait`` is False.
    """
    path = root / ".locks" / lock_name(key, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise HeldError(f"{key} {name} is being built at this moment; wait for its end") from None
            if not _is_still(path, file.fileno()):
                continue  # `prune` removed it while this one waited
            yield path
            return


def is_held(root: Path, key: str, name: str) -> bool:
    """Return whether somebody holds the lock of an artifact, without writing anything."""
    try:
        with (root / ".locks" / lock_name(key, name)).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # on NFS, LOCK_EX wants a file that is open for writing
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
