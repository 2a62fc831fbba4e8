"""Training checkpoints that are either whole or not there, checked byte for byte before they are used.

A checkpoint is written into a staging folder, every file is flushed to disk, a manifest with the SHA-256 of each file and
of itself comes last, and a rename makes it visible::

    checkpoints/step-00000200/manifest.json
    checkpoints/step-00000200/state/00000.safetensors
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    """The checkpoints of one job, of which those of the steps ``always`` stay, and the newest ``keep`` of the others."""

    def __init__(self, folder: Path, keep: int = 2, always: Collection[int] = ()) -> None:
        self.folder = folder
        self.keep = keep
        self.always = {self._at(step) for step in always}

    def staging(self, step: int) -> Path:
        """Return the folder to write the state of a step into; it does not exist."""
        return self.folder / f".staging-{step:08d}"

    def clear(self) -> None:
        """Remove what a killed process, or one without room on its disk, left half-written."""
        for leftover in self.folder.glob(".staging-*"):
            shutil.rmtree(leftover)

    def commit(self, step: int, head: Mapping[str, Any], files: Mapping[str, str]) -> Path:
        """Make the staged checkpoint of a step visible, and drop the oldest ones.

        ``files`` are the names in the staging folder, already flushed to disk, with their SHA-256. Raises OSError when the
        disk refuses; the earlier checkpoints are whole then.
        """
        staging, target = self.staging(step), self._at(step)
        body = json.dumps({"step": step, "head": head, "files": files}, indent=1, sort_keys=True).encode()
        (staging / MANIFEST).write_bytes(body + b"\n" + _seal(body))
        for path in {staging / MANIFEST, *((staging / name).parent for name in files), staging}:
            _flush(path)
        if target.exists():  # Written by an earlier attempt, and found damaged by this one.
            shutil.rmtree(target)
        staging.rename(target)
        _flush(self.folder)
        for old in [path for path in self._newest_first() if path not in self.always][self.keep :]:
            shutil.rmtree(old)
        return target

    def adopt(self, checkpoint: Checkpoint) -> None:
        """Copy a checkpoint of another job. What a stop leaves of the copy is cleared, or found damaged, and made again."""
        shutil.copytree(checkpoint.folder, self.staging(checkpoint.step))
        self.staging(checkpoint.step).rename(self._at(checkpoint.step))

    def newest(self, fits: Callable[[Checkpoint], bool] = lambda checkpoint: True) -> Checkpoint | None:
        """Return the newest checkpoint that fits and whose files are all as its manifest says.

        Warns about each damaged one that is passed over.
        """
        for folder in self._newest_first():
            try:
                checkpoint = read_checkpoint(folder)
                if fits(checkpoint):
                    return checkpoint
            except DamagedCheckpointError as error:
                logger.warning("%s; going back to the checkpoint before it", error)
        return None

    def _at(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)


@contextmanager
def alone_in(work: Path) -> Iterator[None]:
    """Keep a second start of the job out of its work folder. Raises ValueError when this one is the second."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"work: another process is training in {work}; wait for its end, or end it") from error
        yield


def read_checkpoint(folder: Path) -> Checkpoint:
    """Return a checkpoint after comparing every file with the manifest.

    Raises DamagedCheckpointError.
    """
    try:
        body, _, seal = (folder / MANIFEST).read_bytes().rpartition(b"\n")
    except OSError as error:
        raise DamagedCheckpointError(f"checkpoint {folder.name} has no readable {MANIFEST} ({error})") from error
    if seal != _seal(body):
        raise DamagedCheckpointError(f"checkpoint {folder.name} is damaged: {MANIFEST} is not what was written")
    manifest = json.loads(body)
    files = manifest["files"]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(_digest, (folder / name for name in files))
        for name, digest in zip(files, found, strict=True):
            if digest != files[name]:
                raise DamagedCheckpointError(f"checkpoint {folder.name} is damaged: {name} is not what was written")
    return Checkpoint(folder, manifest["step"], manifest["head"])


def _seal(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, or None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
