"""What lies in a store: finished artifacts, what interrupted builds left, and the artifact that a name means."""

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hephaestus_dag.manifests import MANIFEST, ArtifactError

MARK = ".bucket"
"""File in a cache folder with the URL that it caches."""
_FINGERPRINT = re.compile(r"[0-9a-f]{12}")
_LEFTOVER = re.compile(r"\.(staging|work|aside|upload)-([0-9a-f]{12})")
LEFTOVERS = {
    "staging": "half-written by a build that was interrupted",
    "work": "what an interrupted build resumes from",
    "upload": "finished, and not yet whole in the bucket: the next run uploads it",
    "aside": "as it was before a rebuild that was interrupted",
}


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A folder that is no artifact: a build works in it, or was interrupted."""

    path: Path
    key: str
    name: str
    """Of the folder of the artifact that it belongs to."""
    kind: str
    """One of ``LEFTOVERS``."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything in a store but its cache and its locks."""

    artifacts: list[Path]
    """Folders with the name of an artifact, by key; what they hold is not looked at."""
    leftovers: list[Leftover]


def named(root: Path) -> str:
    """Return what its user calls a store: its folder, or the URL that the folder caches."""
    with suppress(OSError):
        return (root / MARK).read_text()
    return str(root)


def check_store(root: Path) -> None:
    """Raise ArtifactError unless there is a folder."""
    if not root.is_dir():
        raise ArtifactError(f"there is no store at {root}; name it with --store or HEPHAESTUS_STORE")


def contents(root: Path) -> Contents:
    """Return what lies in a store.

    Raises ArtifactError when there is no such folder.
    """
    check_store(root)
    paths = sorted(walk(root, root))
    artifacts = [path for path in paths if _FINGERPRINT.fullmatch(path.name)]
    leftovers = [
        Leftover(path=path, key=str(path.parent.relative_to(root)), name=match[2], kind=match[1])
        for path in paths
        if (match := _LEFTOVER.fullmatch(path.name))
    ]
    return Contents(artifacts=artifacts, leftovers=leftovers)


def walk(folder: Path, root: Path) -> Iterator[Path]:
    """Yield all below a folder of a store that has the name of an artifact or of what a build left."""
    entries = []
    with suppress(FileNotFoundError):  # removed meanwhile
        entries = list(os.scandir(folder))
    for entry in entries:
        if folder != root and (_FINGERPRINT.fullmatch(entry.name) or _LEFTOVER.fullmatch(entry.name)):
            yield Path(entry.path)
        elif entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from walk(Path(entry.path), root)


def find_artifacts(root: Path, name: str) -> list[Path]:
    """Return the folders that a name means, newest last: ``key``, ``key@fingerprint`` (its beginning is enough) or a path.

    Raises ArtifactError when there is none.
    """
    for path in (Path(name), root / name):
        with suppress(OSError):  # no name that a file could have
            if folder := next((each for each in (path, *path.parents) if (each / MANIFEST).is_file()), None):
                return [folder.absolute()]
    key, _, fingerprint = name.partition("@")
    found = contents(root).artifacts
    keys = sorted({str(path.parent.relative_to(root)) for path in found})
    meant = [path for path in found if path.parent == root / key and path.name.startswith(fingerprint[:12])]
    if not meant:
        near = [each for each in keys if key in each.split("/")] or difflib.get_close_matches(key, keys, 5, 0.5)
        there = [path.name for path in found if path.parent == root / key]
        hint = f"its fingerprints there: {', '.join(there)}" if there else f"did you mean {', '.join(near)}?" if near else ""
        short = name if len(name) <= 200 else f"{name[:200]}..."
        raise ArtifactError(f"the store {named(root)} holds no artifact {short}" + (f"; {hint}" if hint else ""))
    return sorted(meant, key=written)


def written(path: Path) -> float:
    """Return when an artifact, or another folder or file, was last written, in seconds since 1970; 0 when it is gone."""
    for place in (path / MANIFEST, path):
        with suppress(FileNotFoundError, NotADirectoryError):
            return place.stat().st_mtime
    return 0.0


def folder_size(path: Path) -> int:
    """Return the bytes of all files in a folder; files that disappear meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total
