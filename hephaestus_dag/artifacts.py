"""Where an artifact lives, what it is, how it is committed, and when it can be used again.

An artifact is a folder ``<store>/<asset key>/<first 12 digits of its fingerprint>/`` with a ``manifest.json``.
The fingerprint covers what the artifact *is*: asset key, code, recipe values, input fingerprints. Where and how
it was computed (paths, workers, devices, credentials) never enters it.

A folder is written beside its target, made durable, given its manifest last and renamed into place. Whoever finds a
manifest finds a whole artifact, and every reader checks each file against it before use.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


class ArtifactError(Exception):
    """An artifact cannot be used; the message says which file and what to do."""


class MissingArtifactError(ArtifactError):
    """The artifact was never finished."""


class DamagedArtifactError(ArtifactError):
    """The artifact's files differ from its manifest."""


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value.

    Raises TypeError for anything but JSON values, so that no path, callable or default representation
    slips into an identity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything that decides the content of an artifact."""

    key: str
    """Asset key, parts joined by ``/``."""
    code: str
    """Version of the code that makes it."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Recipe values and versions of outside inputs, by dotted name."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the input artifacts, by asset key."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON of all fields, as hex."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was verified about an artifact."""

    name: str
    """A sentence in snake case that is true when the check passes."""
    passed: bool
    detail: str
    """What was measured, against which bound."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a person wants to see of an artifact."""

    headline: str
    """The one line that matters, for the terminal."""
    figures: dict[str, int | float | str] = field(default_factory=dict)
    """Counts and measures by name."""
    rows: int | None = None
    """Number of rows of the main table."""
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Short tables by title."""
    pictures: dict[str, str] = field(default_factory=dict)
    """File names of PNG pictures inside the artifact, by title."""
    checks: list[Check] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A complete, verified artifact."""

    key: str
    fingerprint: str
    path: Path
    content: str
    """SHA-256 over names and hashes of all files: equal for byte-identical artifacts."""
    num_bytes: int
    seconds: float
    """Wall time of the build that made it."""
    report: Report


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

        Two builds of one identity wait for each other; the second finds the work done.
        """
        target = self.path(identity)
        with self._lock(identity):
            try:
                return Built(artifact=self.open(identity), reused=True, reasons=[])
            except MissingArtifactError:
                reasons = self._why(identity)
            except DamagedArtifactError as error:
                reasons = [str(error)]
                _remove(target)
            staging = target.with_name(f".staging-{target.name}")
            shutil.rmtree(staging, ignore_errors=True)
            work = target.with_name(f".work-{target.name}")
            staging.mkdir(parents=True)
            work.mkdir(exist_ok=True)
            started = time.monotonic()
            report = write(Workspace(folder=staging, work=work, reasons=reasons))
            _commit(staging, target, identity, report, time.monotonic() - started)
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
            before = _read_manifest(folders[-1])["identity"]
        except DamagedArtifactError as error:
            return [str(error)]
        return differences(before, asdict(identity)) or ["the artifact was removed"]

    @contextmanager
    def _lock(self, identity: Identity) -> Iterator[None]:
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{identity.key.replace('/', '.')}-{identity.fingerprint[:12]}"
        with (folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def differences(before: Any, after: Any, name: str = "") -> list[str]:
    """Return the leaves in which two identities differ, as ``name: old → new``."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for key in sorted({*before, *after}):
            child = key if name in ("", "values") else f"{name}.{key}"
            found += differences(before.get(key, "absent"), after.get(key, "absent"), child)
        return found
    if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)) and len(before) == len(after):
        return [line for i, (a, b) in enumerate(zip(before, after, strict=True)) for line in differences(a, b, f"{name}[{i}]")]
    if before == after:
        return []
    if name == "code" or name.startswith("inputs."):
        return [f"{name.replace('inputs.', 'input ')} changed"]
    return [f"{name}: {_short(before)} → {_short(after)}"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_artifact(path: Path) -> Artifact:
    """Return the artifact in a folder after checking every file against the manifest.

    Raises MissingArtifactError when there is no manifest, DamagedArtifactError when a file is missing, added or changed.
    """
    manifest = _read_manifest(path)
    expected = {entry["path"]: entry for entry in manifest["files"]}
    found = {str(file.relative_to(path)) for file in _files(path)} - {MANIFEST}
    for name in sorted(expected.keys() ^ found):
        raise DamagedArtifactError(f"{path / name} is {'missing' if name in expected else 'not in the manifest'}")
    for name, entry in expected.items():
        if (path / name).stat().st_size != entry["size"] or _sha256(path / name) != entry["sha256"]:
            raise DamagedArtifactError(f"{path / name} was changed after it was written")
    report = manifest["report"]
    return Artifact(
        key=manifest["identity"]["key"],
        fingerprint=manifest["fingerprint"],
        path=path,
        content=manifest["content"],
        num_bytes=sum(entry["size"] for entry in manifest["files"]),
        seconds=manifest["seconds"],
        report=Report(**{**report, "checks": [Check(**check) for check in report["checks"]]}),
    )


def _read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest after checking its seal: the last line is the SHA-256 of everything before it."""
    if not path.exists():
        raise MissingArtifactError(f"{path} holds no finished artifact; materialise the asset first")
    try:
        text = (path / MANIFEST).read_text()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise DamagedArtifactError(f"{path / MANIFEST} is missing or is no file") from None
    except UnicodeDecodeError:
        raise DamagedArtifactError(f"{path / MANIFEST} was changed after it was written") from None
    body, _, seal = text.rpartition("\n")
    if hashlib.sha256(body.encode()).hexdigest() != seal:
        raise DamagedArtifactError(f"{path / MANIFEST} was changed after it was written")
    return json.loads(body)


def _commit(staging: Path, target: Path, identity: Identity, report: Report, seconds: float) -> None:
    files = [
        {"path": str(file.relative_to(staging)), "size": file.stat().st_size, "sha256": _sha256(file), "rows": _num_rows(file)}
        for file in _files(staging)
    ]
    body = json.dumps(
        {
            "fingerprint": identity.fingerprint,
            "identity": asdict(identity),
            "content": hashlib.sha256(canonical_json([[f["path"], f["sha256"]] for f in files]).encode()).hexdigest(),
            "seconds": round(seconds, 3),
            "files": files,
            "report": asdict(report),
        },
        indent=1,
        ensure_ascii=False,
    )
    for file in _files(staging):
        _fsync(file)
    for folder in [staging, *(p for p in staging.rglob("*") if p.is_dir())]:
        _fsync(folder)
    (staging / MANIFEST).write_text(f"{body}\n{hashlib.sha256(body.encode()).hexdigest()}")
    _fsync(staging / MANIFEST)
    _fsync(staging)
    staging.rename(target)
    _fsync(target.parent)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _num_rows(path: Path) -> int | None:
    if path.suffix != ".parquet":
        return None
    import pyarrow.parquet as pq

    return pq.read_metadata(path).num_rows


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
