"""Where an artifact lives, what it is, how it is committed, and when it can be used again.

An artifact is a folder ``<store>/<asset key>/<first 12 digits of its fingerprint>/`` with a ``manifest.json``.
The fingerprint covers what the artifact *is*: asset key, code, recipe values, input fingerprints. Where and how
it was computed (paths, workers, devices, credentials) never enters it.

A folder is written beside its target, made durable, given its manifest last and renamed into place. Whoever finds a
manifest finds a whole artifact, and every reader checks each file against it before use.
"""

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hephaestus_dag.bucket_store import BucketStore, DamagedInBucketError
from hephaestus_dag.identity import Identity, canonical_json, differences
from hephaestus_dag.locks import lock
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
    """A folder of artifacts; a folder that `store_location.store_folder` made for a URL is a cache of what lies there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bucket = BucketStore.of(root)

    def path(self, identity: Identity) -> Path:
        """Return where the artifact of an identity lies, whether or not it exists."""
        return self.root / identity.key / identity.fingerprint[:12]

    def open(self, identity: Identity) -> Artifact:
        """Return the artifact of an identity after checking every file; from a bucket it is brought here first.

        Raises MissingArtifactError or DamagedArtifactError.
        """
        return self._open(identity, held=False)

    def _open(self, identity: Identity, held: bool) -> Artifact:
        path = self.path(identity)
        artifact = self.bucket.open(path, held) if self.bucket else read_artifact(path)
        if artifact.fingerprint != identity.fingerprint:
            raise DamagedArtifactError(f"{artifact.path} holds another artifact ({artifact.fingerprint}); delete the folder")
        return artifact

    def build(self, identity: Identity, write: Callable[[Workspace], Report]) -> Built:
        """Return the artifact of an identity, calling `write` only when it is not there whole.

        Two builds of one identity wait for each other; the second finds the work done. Where two machines that share a bucket
        build one identity, that of the first to finish counts for both. Raises ArtifactError, in words, when the store is full
        or cannot be written; whatever is raised, nothing half-written stays but the work to resume from.
        """
        target = self.path(identity)
        with suppress(MissingArtifactError, DamagedArtifactError):  # needs no lock, and so no store that can be written
            return Built(artifact=self.open(identity), reused=True, reasons=[])
        with _unwritable_said(self.root), lock(self.root, identity.key, target.name):
            damaged: DamagedArtifactError | None = None
            try:
                return Built(artifact=self._open(identity, held=True), reused=True, reasons=[])
            except MissingArtifactError:
                reasons = self._why(identity)
            except DamagedArtifactError as error:
                reasons, damaged = [str(error)], error
                if target.exists():
                    remove(target)
            if self.bucket:
                self.bucket.bucket.check_conditions()  # before any work
                version = damaged.version if isinstance(damaged, DamagedInBucketError) else None
                if winner := self._publish(
                    identity, self._finished_before(identity) or self._make(identity, write, reasons), version
                ):
                    return Built(artifact=winner, reused=True, reasons=[])
            else:
                self._make(identity, write, reasons).rename(target)
            fsync(target.parent)
            shutil.rmtree(_beside(target, "work"), ignore_errors=True)
            return Built(artifact=read_artifact(target), reused=False, reasons=reasons)

    def _make(self, identity: Identity, write: Callable[[Workspace], Report], reasons: list[str]) -> Path:
        """Return a folder with the artifact's content and its manifest."""
        target = self.path(identity)
        staging, work = _beside(target, "staging"), _beside(target, "work")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        work.mkdir(exist_ok=True)
        started = time.monotonic()
        try:
            report = write(Workspace(folder=staging, work=work, reasons=reasons))
            seal(staging, identity, report, time.monotonic() - started)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)  # it may be what fills the disk
            raise
        return staging

    def _finished_before(self, identity: Identity) -> Path | None:
        """Return what a build had finished when its upload was interrupted."""
        folder = _beside(self.path(identity), "upload")
        with suppress(MissingArtifactError, DamagedArtifactError):
            if read_artifact(folder).fingerprint == identity.fingerprint:
                return folder
        return None

    def _publish(self, identity: Identity, made: Path, replaces: dict[str, Any] | None) -> Artifact | None:
        """Upload a sealed folder, which becomes the copy here; where another machine was first, return its artifact instead."""
        assert self.bucket
        target = self.path(identity)
        waiting = _beside(target, "upload")
        if made != waiting:
            shutil.rmtree(waiting, ignore_errors=True)
            made.rename(waiting)  # an upload that is interrupted goes on with it
        while not self.bucket.publish(waiting, target, replaces):
            try:
                winner = self._open(identity, held=True)
            except MissingArtifactError:  # and it was removed since
                replaces = None
            except DamagedInBucketError as error:
                replaces = error.version
            else:
                shutil.rmtree(waiting)
                shutil.rmtree(_beside(target, "work"), ignore_errors=True)
                return winner
        if target.exists():
            remove(target)
        waiting.rename(target)
        return None

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
        """Return the whole artifacts of the same asset with other fingerprints, oldest first.

        Of those in a bucket the newest is brought here; older ones are named where they are here already.
        """
        folders = self._finished(identity.key)
        others = [folder for folder in folders if folder != self.path(identity)]
        if self.bucket and others:
            with suppress(MissingArtifactError, DamagedArtifactError):
                self.bucket.fetch(others[-1])
        found = []
        for folder in folders:
            try:
                if read_artifact(folder).fingerprint != identity.fingerprint:
                    found.append(folder)
            except DamagedArtifactError:
                continue
        return found

    def _finished(self, key: str) -> list[Path]:
        if self.bucket:
            self.bucket.mirror(key)
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


def _beside(target: Path, kind: str) -> Path:
    """Return the folder of a kind of `store_contents.LEFTOVERS` that belongs to an artifact."""
    return target.with_name(f".{kind}-{target.name}")


def remove(path: Path) -> None:
    """Remove a folder or a file."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
