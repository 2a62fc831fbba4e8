"""Many files to and from object storage: several at once, large ones in parts, each checked before anybody sees it."""

import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from hephaestus_dag.bucket import PART, Bucket
from hephaestus_dag.manifests import CHANGED, DamagedArtifactError, sha256

THREADS = 8
"""Files, or parts of files, that are on their way at once."""
Entry = dict[str, Any]
"""A file as a manifest describes it: path, size and sha256."""


def upload(bucket: Bucket, folder: Path, base: str, entries: Sequence[Entry]) -> None:
    """Store files of a folder below ``base``; those that are there with their size stay.

    The server checks each part against a checksum sent with it. When it is done, a listing was seen that has them all.
    """

    def send(entry: Entry) -> None:
        bucket.upload(folder / entry["path"], f"{base}/{entry['path']}")

    with ThreadPoolExecutor(THREADS) as threads:
        while lacking := _lacking(bucket, base, entries):  # again, if somebody's `prune` took it for a dead build's
            finish(threads.map(send, sorted(lacking, key=lambda each: -each["size"])))


def _lacking(bucket: Bucket, base: str, entries: Iterable[Entry]) -> list[Entry]:
    there = bucket.list(base)
    return [each for each in entries if (stored := there.get(f"{base}/{each['path']}")) is None or stored.size != each["size"]]


def download(bucket: Bucket, base: str, folder: Path, staging: Path, entries: Sequence[Entry]) -> None:
    """Bring files from below ``base`` into a folder; each is checked in ``staging`` before it takes its name.

    Raises DamagedArtifactError when one is missing in the bucket or is not what its entry says.
    """
    shutil.rmtree(staging, ignore_errors=True)
    for entry in entries:
        place = staging / entry["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.truncate(entry["size"])

    def load(part: tuple[Entry, int, int]) -> None:
        entry, start, length = part
        with (staging / entry["path"]).open("r+b") as file:
            file.seek(start)
            file.write(bucket.read_part(f"{base}/{entry['path']}", start, length))

    parts = [(each, at, min(PART, each["size"] - at)) for each in entries for at in range(0, each["size"], PART)]
    try:
        if lacking := _lacking(bucket, base, entries):
            raise DamagedArtifactError(f"{bucket.url}/{base}/{lacking[0]['path']} is missing or of another size")
        with ThreadPoolExecutor(THREADS) as threads:
            finish(threads.map(load, parts))
            for entry, same in zip(entries, threads.map(lambda each: is_same(staging, each), entries), strict=True):
                if not same:
                    raise DamagedArtifactError(f"{bucket.url}/{base}/{entry['path']} {CHANGED}")
        for entry in entries:
            (folder / entry["path"]).parent.mkdir(parents=True, exist_ok=True)
            (staging / entry["path"]).rename(folder / entry["path"])
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def is_same(folder: Path, entry: Entry) -> bool:
    """Return whether a file is what its entry says; one that is not there is not."""
    with suppress(OSError):
        return sha256(folder / entry["path"]) == entry["sha256"]
    return False


def finish(work: Iterable[object]) -> None:
    """Wait for the end of some work, and raise its first error."""
    for _ in work:
        pass
