"""Where an artifact lives, what it is, how it is committed, and when it can be used again.

An artifact is a folder ``<store>/<asset key>/<first 12 digits of its fingerprint>/`` with a ``manifest.json``.
The fingerprint covers what the artifact *is*: asset key, code, recipe values, input fingerprints. Where and how
it was computed (paths, workers, devices, credentials) never enters it.

A folder is written beside its target, made durable, given its manifest last and renamed into place. Whoever finds a
manifest finds a whole artifact, and every reader checks each file against it before use.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hephaestus_dag.identity import Identity, canonical_json, differences
from hephaestus_dag.manifests import (
    MANIFEST,
    Artifact,
    ArtifactError,
    Check,
    DamagedArtifactError,
    MissingArtifactError,
    Report,
    fsync,
    read_artifact,
    read_manifest,
    seal,
)

__all__ = [
    "MANIFEST",
    "Artifact",
    "ArtifactError",
    "Built",
    "Check",
    "DamagedArtifactError",
    "Identity",
    "MissingArtifactError",
    "Report",
    "Store",
    "Workspace",
    "canonical_json",
    "differences",
    "read_artifact",
]


@dataclass(frozen=True, kw_only=True)
class Built:
    """Outcome of `Store.build`."""

    artifact: Artifact
    reused: bool
    reasons: list[str]
    """Why it was built; empty when reused."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A build in progress: its two folders, and why it happens."""

    folder: Path
    """Becomes the artifact when the build succeeds."""
    work: Path
    """Survives an interrupted build, for resuming; removed once the artifact is committed."""
    reasons: list[str] = field(default_factory=list)
    """Why the artifact is built."""


class Store:
    """A folder of artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, identity: Identity) -> Path:
        """Return where the artifact of an identity lies, whether or not it exists."""
        return self.root / identity.key / identity.fingerprint[:12]

    def open(self, identity: Identity) -> Artifact:
        """Return the artifact of an identity after checking every file.

        Raises MissingArtifactError or DamagedArtifactError.
        """
        artifact = read_artifact(self.path(identity))
        if artifact.fingerprint != identity.fingerprint:
            raise DamagedArtifactError(f"{artifact.path} holds another artifact ({artifact.fingerprint}); delete the folder")
        return artifact

    def build(self, identity: Identity, write: Callable[[Workspace], Report]) -> Built:
        """Return the artifact of an identity, calling `write` only when it is not there whole.

        Two builds of one identity wait for each other; the second finds the work done. Raises ArtifactError, in words, when
        the store is full or cannot be written; whatever is raised, nothing half-written stays but the work to resume from.
        """
        target = self.path(identity)
        with suppress(MissingArtifactError, DamagedArtifactError):  # needs no lock, and so no store that can be written
            return Built(artifact=self.open(identity), reused=True, reasons=[])
        with _unwritable_said(self.root), self._lock(identity):
            try:
                return Built(artifact=self.open(identity), reused=True, reasons=[])
            except MissingArtifactError:
                reasons = self._why(identity)
            except DamagedArtifactError as error:
                reasons = [str(error)]
                remove(target)
            staging = target.with_name(f".staging-{target.name}")
            shutil.rmtree(staging, ignore_errors=True)
            work = target.with_name(f".work-{target.name}")
            staging.mkdir(parents=True)
            work.mkdir(exist_ok=True)
            started = time.monotonic()
            try:
                report = write(Workspace(folder=staging, work=work, reasons=reasons))
                seal(staging, identity, report, time.monotonic() - started)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)  # it may be what fills the disk
                raise
            staging.rename(target)
            fsync(target.parent)
            shutil.rmtree(work)
            return Built(artifact=read_artifact(target), reused=False, reasons=reasons)

    def explain(self, identity: Identity) -> list[str]:
        """Return why a build of this identity would do work; empty when the artifact is there whole."""
        try:
            self.open(identity)
        except MissingArtifactError:
            return self._why(identity)
        except DamagedArtifactError as error:
            return [str(error)]
        return []

    def earlier(self, identity: Identity) -> list[Path]:
        """Return the whole artifacts of the same asset with other fingerprints, oldest first."""
        found = []
        for folder in self._finished(identity.key):
            try:
                if read_artifact(folder).fingerprint != identity.fingerprint:
                    found.append(folder)
            except DamagedArtifactError:
                continue
        return found

    def _finished(self, key: str) -> list[Path]:
        manifests = (self.root / key).glob(f"[0-9a-f]*/{MANIFEST}")
        return [path.parent for path in sorted(manifests, key=lambda path: path.stat().st_mtime)]

    def _why(self, identity: Identity) -> list[str]:
        folders = self._finished(identity.key)
        if not folders:
            return ["first build"]
        try:
            before = read_manifest(folders[-1])["identity"]
        except DamagedArtifactError as error:
            return [str(error)]
        return differences(before, asdict(identity)) or ["the artifact was removed"]

    @contextmanager
    def _lock(self, identity: Identity) -> Iterator[None]:
        with lock(self.root, identity.key, identity.fingerprint[:12]):
            yield


@contextmanager
def _unwritable_said(root: Path) -> Iterator[None]:
    """Say in words that the store is full or cannot be written."""
    try:
        yield
    except OSError as error:
        place = Path(error.filename or root)
        ours = root in (place, *place.parents) or place in root.parents
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ArtifactError(
                f"no room left for the store {root} ({error}); make room, for instance with `hephaestus prune`, and run again: "
                "what is finished is kept"
            ) from error
        if ours and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ArtifactError(
                f"the store {root} cannot be written ({error}); make it writable, or name another with HEPHAESTUS_STORE"
            ) from error
        raise


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
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def remove(path: Path) -> None:
    """Remove a folder or a file."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
