"""What no current recipe reaches: artifacts, what interrupted builds left, locks."""

import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import Any

from hephaestus_dag.bucket_store import BucketStore
from hephaestus_dag.identity import Identity
from hephaestus_dag.locks import HeldError, is_held, lock, lock_name
from hephaestus_dag.manifests import ArtifactError, read_manifest
from hephaestus_dag.models import PACKAGED
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.sources.reading.distributions import CHECKOUT
from hephaestus_dag.store_contents import LEFTOVERS, contents, folder_size, named, written
from hephaestus_dag.upkeep.verify import belongs

UPLOAD = "an upload that no manifest names"
FRESH = 60.0
"""Minutes that an artifact stays after it was written: a run that is between two steps holds no lock."""
_LOCK = re.compile(r"(.+)-([0-9a-f]{12})")
_CACHE = re.compile(rf"\.?((answers|bfcl|hub|proxy_slots|web_shards)(-\d+)?|({'|'.join(map(re.escape, PACKAGED))})-.+)")
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
    fresh: bool
    """Whether it, or what was made from it, was written so recently that it stays."""


def reach(root: Path, recipes: Iterable[Recipe], identities: Iterable[Identity]) -> Reach:
    """Return what recipes need: their identities, artifacts that they name by path, and all that these were made from.

    ``identities`` are those of all assets of all the recipes.
    Raises ArtifactError when the folder is no store, or a needed manifest cannot be read.
    """
    artifacts = contents(root).artifacts
    if not any(_is_whole(root, path) for path in artifacts):
        raise ArtifactError(f"{named(root)} holds no finished artifact, so it is not taken for a store; --store names another")
    for name in (".cache", ".locks"):
        if (root / name).is_symlink():
            raise ArtifactError(f"{root / name} leads out of the store; put a folder in place of the link")
    needed = {(identity.key, identity.fingerprint[:12]) for identity in identities}
    patterns = {place for recipe in recipes for text in _texts(recipe.model_dump(mode="json")) for place in _places(text)}
    for path in artifacts:
        places = (path.parts, path.resolve().parts)
        if any(_meets(pattern, place) for pattern in patterns for place in places):
            needed.add(_name(root, path))
    there = {_name(root, path) for path in artifacts}
    needed = _with_inputs(root, needed, there)
    return Reach(root=root, needed=frozenset(needed), num_artifacts=len(needed & there))


def _with_inputs(root: Path, names: set[Name], there: set[Name]) -> set[Name]:
    """Return artifacts with all that they were made from. Raises ArtifactError when one that is there cannot be read."""
    found, waiting = set(names), list(names & there)
    while waiting:
        key, name = waiting.pop()
        inputs = read_manifest(root / key / name)["identity"]["inputs"]
        new = {(key, fingerprint[:12]) for key, fingerprint in inputs.items()} - found
        found |= new
        waiting += new & there
    return found


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts of a recipe but globs of what is left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        inner = (each for name, each in value.items() if name != "exclude") if isinstance(value, dict) else value
        for each in inner:
            yield from _texts(each)


def _places(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the parts of the paths or globs that a text can stand for, links followed."""
    text = text.removeprefix("file://").removeprefix("hf:")
    for base in (Path.cwd(), CHECKOUT) if text else ():
        parts = (base / text).parts
        fixed = next((number for number, part in enumerate(parts) if has_magic(part)), len(parts))
        with suppress(OSError, ValueError):  # a text that is no path
            yield (*Path(*parts[:fixed]).resolve().parts, *parts[fixed:])


def _meets(pattern: Sequence[str], place: Sequence[str]) -> bool:
    """Return whether a path or glob lies in a folder or around it."""
    for wanted, part in zip(pattern, place, strict=False):
        if wanted == "**":
            return True
        if wanted != part and not fnmatchcase(part, wanted):
            return False
    return True


def _name(root: Path, folder: Path) -> Name:
    return str(folder.parent.relative_to(root)), folder.name


def _is_whole(root: Path, folder: Path) -> bool:
    """Return whether a folder's manifest is as it was written and says that the folder is its place."""
    try:
        return belongs(root, folder, read_manifest(folder))
    except ArtifactError:
        return False


def unreached(given: Reach, cache: bool = False, fresh: float = FRESH) -> list[Unreached]:
    """Return what nobody needs, the largest first; with ``cache`` also all that is in the cache.

    What was written in the last ``fresh`` minutes is marked, with all that it was made from. What an interrupted build of a
    needed artifact resumes from is needed, until that artifact is there. A folder that neither a manifest nor a lock knows
    as an artifact is left alone.
    """
    root, whole, bucket = given.root, contents(given.root), BucketStore.of(given.root)
    there = {_name(root, path): path for path in whole.artifacts}
    sound = {name for name, path in there.items() if _is_whole(root, path)}
    locks = {path.name: (match[1], match[2]) for path in _entries(root / ".locks") if (match := _LOCK.fullmatch(path.name))}
    damaged = {name for name in there.keys() - sound if lock_name(*name) in locks}
    young = {name for name in sound - given.needed if time.time() - written(there[name]) < 60 * fresh}
    staying = _with_inputs(root, young, sound)

    def entry(path: Path, what: str, owner: Name | None) -> Unreached:
        age = max(0.0, time.time() - written(path))
        if bucket and what == "artifact":
            size = bucket.num_bytes(path)
        else:
            size = folder_size(path) if path.is_dir() else path.lstat().st_size
        late = owner in staying or (what not in ("lock", "cache") and age < 60 * fresh)
        return Unreached(path=path, what=what, owner=owner, num_bytes=size, age=age, fresh=late)

    found = [entry(there[name], "artifact", name) for name in (sound | damaged) - given.needed]
    found += _dead_uploads(bucket, fresh) if bucket else []
    for left in whole.leftovers:
        owner = (left.key, left.name)
        known = lock_name(*owner) in locks or any(key == left.key for key, _ in sound)
        if known and (owner in sound or owner not in given.needed):
            found.append(entry(left.path, LEFTOVERS[left.kind], owner))
    kept = {lock_name(*name) for name in given.needed | {each.owner for each in found if each.owner and each.fresh}}
    found += [entry(root / ".locks" / name, "lock", owner) for name, owner in locks.items() if name not in kept]
    if cache:
        found += [entry(path, "cache", None) for path in _entries(root / ".cache") if _CACHE.fullmatch(path.name)]
    return sorted(found, key=lambda each: (-each.num_bytes, each.path))


def _dead_uploads(bucket: BucketStore, fresh: float) -> Iterator[Unreached]:
    """Yield what builds left in a bucket that were killed, or that some machine is still uploading: then it is fresh."""
    for folder, upload, files in bucket.unnamed():
        age = max(0.0, time.time() - max(each.modified for each in files.values()))
        yield Unreached(
            path=folder / upload,
            what=UPLOAD,
            owner=_name(bucket.root, folder),
            num_bytes=sum(each.size for each in files.values()),
            age=age,
            fresh=age < 60 * fresh,
        )


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def remove_unreached(given: Reach, found: Sequence[Unreached]) -> Iterator[Unreached]:
    """Remove what nobody needs, and yield each thing that is gone. What is fresh or somebody begins to build is kept.

    Raises ArtifactError, before anything is removed, while a build runs that the recipes do not account for, since what it
    reads is not known; with something of the cache in ``found``, while any build runs. Of a bucket only the builds of this
    machine are known.
    """
    bucket = BucketStore.of(given.root)
    locks = {path.name: _LOCK.fullmatch(path.name) for path in _entries(given.root / ".locks")}
    held = [name for name, match in locks.items() if match and is_held(given.root, match[1], match[2])]
    needed_locks = {lock_name(*name) for name in given.needed}
    if running := [name for name in held if name not in needed_locks or any(each.owner is None for each in found)]:
        raise ArtifactError(
            f"nothing was removed: {', '.join(running)} is being built at this moment; wait for its end, or name its recipe too"
        )
    for each in found:
        if each.fresh:
            continue
        if each.owner is None:
            _remove(each.path)
        else:
            try:
                with lock(given.root, *each.owner, wait=False) as lock_file:
                    if bucket and each.what in ("artifact", UPLOAD):
                        bucket.remove(each.path) if each.what == "artifact" else bucket.remove_upload(each.path)
                    elif each.what != "lock":
                        _remove_artifact(each.path, each.owner[1])
                    lock_file.unlink()
            except HeldError:
                continue
        for folder in each.path.parents:
            if folder == given.root or folder.name.startswith("."):
                break
            with suppress(OSError):  # not empty
                folder.rmdir()
        yield each


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
