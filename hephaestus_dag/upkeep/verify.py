"""Every file of a store against its manifest."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from hephaestus_dag.bucket_store import BucketStore
from hephaestus_dag.identity import Identity
from hephaestus_dag.locks import is_held
from hephaestus_dag.manifests import (
    CHANGED,
    MANIFEST,
    DamagedArtifactError,
    MissingArtifactError,
    read_manifest,
    sha256,
    wrong_files,
)
from hephaestus_dag.store_contents import LEFTOVERS, Leftover, contents, folder_size


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Something in an artifact that is not as it was written."""

    artifact: str
    """Asset key and folder name, joined by ``@``."""
    path: Path | str
    """A file, or the URL of one in a bucket."""
    problem: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """What a build left, or is working in."""

    path: Path
    what: str
    num_bytes: int
    running: bool
    """Whether a build holds it at this moment."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found."""

    artifacts: int
    files: int
    num_bytes: int
    """Read and hashed."""
    seconds: float
    damages: list[Damage]
    unfinished: list[Unfinished]


def verify(
    root: Path, folders: Sequence[Path] | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verification:
    """Check every file of some artifacts, of all in the store when ``folders`` is None, against their manifests.

    Of a bucket the objects are read, not their copies here.

    Files are hashed in as many threads as there are cores; ``progress`` is told the bytes done and in all.
    Raises ArtifactError when there is no store.
    """
    started = time.monotonic()
    bucket = BucketStore.of(root)
    whole = contents(root) if folders is None else None
    chosen = whole.artifacts if whole else list(folders or [])
    damages: list[Damage] = []
    waiting: list[tuple[Path, Path | str, dict[str, Any], dict[str, Any]]] = []
    for folder in chosen:
        try:
            manifest = read_manifest(folder)
        except DamagedArtifactError as error:
            problem = str(error).removeprefix(f"{folder / MANIFEST} ")
            damages.append(_damage(root, folder, bucket.place(folder) if bucket else folder / MANIFEST, problem))
            continue
        except MissingArtifactError:  # removed meanwhile
            damages.append(_damage(root, folder, folder, "is a link that leads nowhere", f"delete the link {folder}"))
            continue
        if not belongs(root, folder, manifest):
            damages.append(_damage(root, folder, folder, "lies where another artifact belongs", f"delete the folder {folder}"))
        wrong = bucket.wrong_files(folder, manifest) if bucket else wrong_files(folder, manifest)
        damages += [_damage(root, folder, path, problem) for path, problem in wrong]
        known = {path for path, _ in wrong}
        for entry in manifest["files"]:
            path = bucket.place(folder, manifest, entry["path"]) if bucket else folder / entry["path"]
            if path not in known:
                waiting.append((folder, path, entry, manifest))
    total = sum(entry["size"] for _, _, entry, _ in waiting)
    done, stopped = 0, Event()

    def seen(size: int) -> None:
        nonlocal done
        if stopped.is_set():
            raise InterruptedError
        done += size
        progress(done, total)

    def hashed(each: tuple[Path, Path | str, dict[str, Any], dict[str, Any]]) -> Damage | None:
        folder, path, entry, manifest = each
        try:
            digest = bucket.sha256(folder, manifest, entry["path"], seen) if bucket else sha256(folder / entry["path"], seen)
            return None if digest == entry["sha256"] else _damage(root, folder, path, CHANGED)
        except OSError as error:
            return _damage(root, folder, path, f"cannot be read: {error.strerror or 'it is gone'}")

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        largest_first = sorted(waiting, key=lambda each: -each[2]["size"])
        try:
            damages += [damage for damage in threads.map(hashed, largest_first) if damage]
        except KeyboardInterrupt:
            stopped.set()  # else the threads read to the end of their files
            raise
    return Verification(
        artifacts=len(chosen),
        files=len(waiting),
        num_bytes=total,
        seconds=time.monotonic() - started,
        damages=sorted((each for each in damages if not _in_work(root, each)), key=lambda damage: str(damage.path)),
        unfinished=[_unfinished(root, left) for left in whole.leftovers if left.path.exists()] if whole else [],
    )


def belongs(root: Path, folder: Path, manifest: dict[str, Any]) -> bool:
    """Return whether identity, fingerprint and place agree; an artifact outside the store may lie anywhere."""
    agrees = Identity(**manifest["identity"]).fingerprint == manifest["fingerprint"]
    inside = folder.is_relative_to(root)
    return agrees and (not inside or folder == root / manifest["identity"]["key"] / manifest["fingerprint"][:12])


def _in_work(root: Path, damage: Damage) -> bool:
    """Return whether an artifact looks damaged since it is being removed or made again at this moment."""
    key, _, name = damage.artifact.rpartition("@")
    return not os.path.lexists(root / key / name) or (not Path(key).is_absolute() and is_held(root, key, name))


def _damage(root: Path, folder: Path, path: Path | str, problem: str, remedy: str = "") -> Damage:
    key = str(folder.parent.relative_to(root)) if folder.is_relative_to(root) else str(folder.parent)
    if not remedy:
        added = problem == "is not in the manifest"
        again = f"hephaestus rebuild {key}" if isinstance(path, Path) else f"hephaestus run, which makes {key} again"
        remedy = f"delete the file {path}" if added else again
    return Damage(artifact=f"{key}@{folder.name}", path=path, problem=problem, remedy=remedy)


def _unfinished(root: Path, leftover: Leftover) -> Unfinished:
    return Unfinished(
        path=leftover.path,
        what=LEFTOVERS[leftover.kind],
        num_bytes=folder_size(leftover.path),
        running=is_held(root, leftover.key, leftover.name),
    )
