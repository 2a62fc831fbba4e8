"""What no current recipe reaches: artifacts, what interrupted builds left, locks."""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hephaestus_dag.artifacts import HeldError, is_held, lock, lock_name
from hephaestus_dag.identity import Identity
from hephaestus_dag.manifests import MANIFEST, ArtifactError, read_manifest
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.store_contents import LEFTOVERS, contents, folder_size, written

Name = tuple[str, str]
"""Asset key and folder name of an artifact."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What recipes need of a store."""

    root: Path
    needed: frozenset[Name]
    num_artifacts: int
    """How many of the needed artifacts are there."""


@dataclass(frozen=True, kw_only=True)
class Unreached:
    """Something that no recipe needs."""

    path: Path
    what: str
    """``artifact``, ``lock``, ``cache``, or what a build left, in words."""
    owner: Name | None
    """The artifact whose lock is held while it is removed; None for what is in the cache."""
    num_bytes: int
    age: float
    """Seconds since it was last written."""


def reach(root: Path, recipes: Iterable[Recipe], identities: Iterable[Identity]) -> Reach:
    """Return what recipes need: their identities, artifacts that they name by path, and all that these were made from.

    ``identities`` are those of all assets of all the recipes.
    Raises ArtifactError when there is no store, or a needed manifest cannot be read.
    """
    there = {_name(root, path) for path in contents(root).artifacts}
    needed = {(identity.key, identity.fingerprint[:12]) for identity in identities}
    for text in {text for recipe in recipes for text in _texts(recipe.model_dump(mode="json"))}:
        path = Path(text).absolute()
        if path.is_relative_to(root):
            needed |= {_name(root, folder) for folder in (path, *path.parents) if (folder / MANIFEST).is_file()}
    waiting = list(needed & there)
    while waiting:
        key, name = waiting.pop()
        inputs = read_manifest(root / key / name)["identity"]["inputs"]
        new = {(key, fingerprint[:12]) for key, fingerprint in inputs.items()} - needed
        needed |= new
        waiting += new & there
    return Reach(root=root, needed=frozenset(needed), num_artifacts=len(needed & there))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _name(root: Path, folder: Path) -> Name:
    return str(folder.parent.relative_to(root)), folder.name


def unreached(given: Reach, cache: bool = False) -> list[Unreached]:
    """Return what nobody needs, the largest first; with ``cache`` also all that is in the cache.

    What an interrupted build of a needed artifact resumes from is needed, until that artifact is there. A folder without a
    manifest is left alone: it is not known to be an artifact.
    """
    root, whole = given.root, contents(given.root)
    finished = {_name(root, path) for path in whole.artifacts if (path / MANIFEST).is_file()}
    found = [_unreached(root / key / name, "artifact", (key, name)) for key, name in finished - given.needed]
    for left in whole.leftovers:
        owner = (left.key, left.name)
        if owner in finished or owner not in given.needed:
            found.append(_unreached(left.path, LEFTOVERS[left.kind], owner))
    needed_locks = {lock_name(*name) for name in given.needed}
    found += [_unreached(path, "lock", _owner(path)) for path in _entries(root / ".locks") if path.name not in needed_locks]
    found += [_unreached(path, "cache", None) for path in _entries(root / ".cache") if cache]
    return sorted(found, key=lambda each: (-each.num_bytes, each.path))


def _unreached(path: Path, what: str, owner: Name | None) -> Unreached:
    size = folder_size(path) if path.is_dir() else path.stat().st_size
    return Unreached(path=path, what=what, owner=owner, num_bytes=size, age=max(0.0, time.time() - written(path)))


def _owner(lock_file: Path) -> Name:
    """Return a key and a folder name that have this lock; the key's slashes stay the dots that they are in the file's name."""
    key, _, name = lock_file.name.rpartition("-")
    return key, name


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def remove_unreached(given: Reach, found: Sequence[Unreached]) -> Iterator[Unreached]:
    """Remove what nobody needs, and yield each thing that is gone. What somebody begins to build meanwhile is kept.

    Raises ArtifactError, before anything is removed, while a build runs that the recipes do not account for, since what it
    reads is not known; with something of the cache in ``found``, while any build runs.
    """
    held = [path.name for path in _entries(given.root / ".locks") if is_held(given.root, *_owner(path))]
    needed_locks = {lock_name(*name) for name in given.needed}
    if running := [name for name in held if name not in needed_locks or any(each.owner is None for each in found)]:
        raise ArtifactError(
            f"nothing was removed: {', '.join(running)} is being built at this moment; wait for its end, or name its recipe too"
        )
    for each in found:
        if each.owner is None:
            _remove(each.path)
        else:
            try:
                with lock(given.root, *each.owner, wait=False) as lock_file:
                    if each.what != "lock":
                        _remove_artifact(each.path, each.owner[1])
                    lock_file.unlink()
            except HeldError:
                continue
        yield each
        for folder in each.path.parents:
            if folder == given.root or folder.name.startswith("."):
                break
            with suppress(OSError):  # not empty
                folder.rmdir()


def _remove_artifact(path: Path, name: str) -> None:
    """Remove a folder so that a stop at any instant leaves no half of an artifact under its name."""
    staging = path.with_name(f".staging-{name}")
    if path != staging:
        if staging.exists():
            _remove(staging)
        path.rename(staging)
    _remove(staging)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
