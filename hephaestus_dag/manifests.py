"""The manifest that seals an artifact: written last, read first, and what each file is checked against."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hephaestus_dag.identity import Identity, canonical_json

MANIFEST = "manifest.json"
CHANGED = "was changed after it was written"
_CHUNK = 1 << 20


class ArtifactError(Exception):
    """An artifact cannot be used; the message says which file and what to do."""


class MissingArtifactError(ArtifactError):
    """The artifact was never finished."""


class DamagedArtifactError(ArtifactError):
    """The artifact's files differ from its manifest."""


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


def read_artifact(path: Path) -> Artifact:
    """Return the artifact in a folder after checking every file against the manifest.

    Raises MissingArtifactError when there is no manifest, DamagedArtifactError when a file is missing, added or changed.
    """
    manifest = read_manifest(path)
    for file, problem in wrong_files(path, manifest):
        raise DamagedArtifactError(f"{file} {problem}")
    for entry in manifest["files"]:
        try:
            digest = sha256(path / entry["path"])
        except FileNotFoundError:  # removed since it was listed
            raise DamagedArtifactError(f"{path / entry['path']} is missing") from None
        if digest != entry["sha256"]:
            raise DamagedArtifactError(f"{path / entry['path']} {CHANGED}")
    return artifact_of(path, manifest)


def artifact_of(path: Path, manifest: dict[str, Any]) -> Artifact:
    """Return the artifact of a manifest; that the files in the folder are as it says is the caller's knowledge."""
    return Artifact(
        key=manifest["identity"]["key"],
        fingerprint=manifest["fingerprint"],
        path=path,
        content=manifest["content"],
        num_bytes=sum(entry["size"] for entry in manifest["files"]),
        seconds=manifest["seconds"],
        report=report_of(manifest),
    )


def wrong_files(path: Path, manifest: dict[str, Any]) -> list[tuple[Path, str]]:
    """Return the files that are missing, added or of another size than the manifest says, each with what is wrong."""
    expected = {entry["path"]: entry for entry in manifest["files"]}
    found = {str(file.relative_to(path)): _size(file) for file in files_in(path) if file != path / MANIFEST}
    wrong = [
        (path / name, "is missing" if name in expected else "is not in the manifest") for name in expected.keys() ^ found.keys()
    ]
    there = expected.keys() & found.keys()
    return sorted([*wrong, *((path / name, CHANGED) for name in there if found[name] != expected[name]["size"])])


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # removed meanwhile
        return None


def report_of(manifest: dict[str, Any]) -> Report:
    """Return the report that a manifest holds."""
    report = manifest["report"]
    return Report(**{**report, "checks": [Check(**check) for check in report["checks"]]})


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of an artifact's folder after checking its seal.

    The seal is the last line, the SHA-256 of everything before it. Nothing else is checked.
    Raises MissingArtifactError when there is no folder, DamagedArtifactError when the manifest is missing or was changed.
    """
    if not path.exists():
        raise MissingArtifactError(f"{path} holds no finished artifact; materialise the asset first")
    try:
        text = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise DamagedArtifactError(f"{path / MANIFEST} is missing or is no file") from None
    return unsealed(text, path / MANIFEST)


def sealed(manifest: dict[str, Any]) -> bytes:
    """Return the content of a manifest's file."""
    body = json.dumps(manifest, indent=1, ensure_ascii=False).encode()
    return body + b"\n" + hashlib.sha256(body).hexdigest().encode()


def unsealed(content: bytes, place: object) -> dict[str, Any]:
    """Return a manifest from the content of its file.

    Raises DamagedArtifactError, which names the place, when it was changed.
    """
    body, _, seal = content.rpartition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise DamagedArtifactError(f"{place} {CHANGED}")
    return json.loads(body)


def seal(folder: Path, identity: Identity, report: Report, seconds: float) -> None:
    """Make a folder's files durable, then write its manifest."""
    files = [
        {"path": str(file.relative_to(folder)), "size": file.stat().st_size, "sha256": sha256(file), "rows": _num_rows(file)}
        for file in files_in(folder)
    ]
    manifest = {
        "fingerprint": identity.fingerprint,
        "identity": asdict(identity),
        "content": hashlib.sha256(canonical_json([[f["path"], f["sha256"]] for f in files]).encode()).hexdigest(),
        "seconds": round(seconds, 3),
        "files": files,
        "report": asdict(report),
    }
    for file in files_in(folder):
        fsync(file)
    for inner in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        fsync(inner)
    (folder / MANIFEST).write_bytes(sealed(manifest))
    fsync(folder / MANIFEST)
    fsync(folder)


def files_in(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted."""
    paths = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return sorted(path for path in paths if path.is_file())


def sha256(path: Path, seen: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of a file as hex; ``seen`` is told how many more bytes were read, about every megabyte."""
    digest, buffer = hashlib.sha256(), bytearray(_CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(view[:size])
            seen(size)
    return digest.hexdigest()


def fsync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _num_rows(path: Path) -> int | None:
    if path.suffix != ".parquet":
        return None
    import pyarrow.parquet as pq

    return pq.read_metadata(path).num_rows
