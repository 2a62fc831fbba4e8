"""Training checkpoints that are either whole or not there, checked byte for byte before they are used.

A checkpoint is written into a staging folder, every file is flushed to disk, a manifest with the SHA-256 of each file and
of itself comes last, and a rename makes it visible::

    checkpoints/step-00000200/manifest.json
    checkpoints/step-00000200/state/...        what DeepSpeed wrote
"""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint."""

    folder: Path
    step: int
    head: dict[str, Any]
    """What the job wrote about itself."""


class DamagedCheckpointError(Exception):
    """A checkpoint's files differ from its manifest; the message says which."""


class Checkpoints:
    """The checkpoints of one job, of which the newest ``keep`` stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def staging(self, step: int) -> Path:
        """Return the folder to write the state of a step into; it does not exist."""
        return self.folder / f".staging-{step:08d}"

    def clear(self) -> None:
        """Remove what a killed process left half-written."""
        for leftover in self.folder.glob(".staging-*"):
            shutil.rmtree(leftover)

    def commit(self, step: int, head: dict[str, Any]) -> Path:
        """Make the staged checkpoint of a step durable and visible, and drop the oldest ones."""
        staging, target = self.staging(step), self.folder / f"step-{step:08d}"
        files = {str(path.relative_to(staging)): _digest(path) for path in sorted(staging.rglob("*")) if path.is_file()}
        body = json.dumps({"step": step, "head": head, "files": files}, indent=1, sort_keys=True)
        (staging / MANIFEST).write_text(f"{body}\n{_seal(body)}")
        for path in [*staging.rglob("*"), staging]:
            _flush(path)
        if target.exists():  # Written by an earlier attempt, and found damaged by this one.
            shutil.rmtree(target)
        staging.rename(target)
        _flush(self.folder)
        for old in self._newest_first()[self.keep :]:
            shutil.rmtree(old)
        return target

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint whose files are all as its manifest says; warn about each that is passed over."""
        for folder in self._newest_first():
            try:
                return read_checkpoint(folder)
            except DamagedCheckpointError as error:
                logger.warning("%s; going back to the checkpoint before it", error)
        return None

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Return a checkpoint after comparing every file with the manifest.

    Raises DamagedCheckpointError.
    """
    try:
        body, _, seal = (folder / MANIFEST).read_text().rpartition("\n")
    except (OSError, ValueError) as error:
        raise DamagedCheckpointError(f"checkpoint {folder.name} has no readable {MANIFEST} ({error})") from error
    if seal != _seal(body):
        raise DamagedCheckpointError(f"checkpoint {folder.name} is damaged: {MANIFEST} is not what was written")
    manifest = json.loads(body)
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file() or _digest(path) != digest:
            raise DamagedCheckpointError(f"checkpoint {folder.name} is damaged: {name} is not what was written")
    return Checkpoint(folder, manifest["step"], manifest["head"])


def _seal(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
