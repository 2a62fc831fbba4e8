"""Artifacts in object storage, and a folder of this machine that caches them.

    <key>/<fingerprint>/manifest.json             created last, and only when there is none: the server decides who was first
    <key>/<fingerprint>/<upload>/<file>           files of one upload: no two builds share the prefix, and nothing is renamed

The manifest names its upload. An upload that no manifest names is of a build that runs, was killed, or came second.
The bucket is the truth: a copy in the cache counts only as long as the bucket's manifest is the same.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hephaestus_dag.bucket import Bucket, Read, Stored
from hephaestus_dag.bucket_files import THREADS, download, finish, is_same, upload
from hephaestus_dag.locks import HeldError, lock
from hephaestus_dag.manifests import (
    CHANGED,
    MANIFEST,
    Artifact,
    ArtifactError,
    DamagedArtifactError,
    MissingArtifactError,
    artifact_of,
    read_artifact,
    read_manifest,
    sealed,
    unsealed,
)
from hephaestus_dag.manifests import wrong_files as wrong_in_copy
from hephaestus_dag.store_contents import MARK, walk

Manifest = dict[str, Any]
Version = dict[str, Any]
"""Which of several that were written under one name, as the server tells."""
_UPLOADED = re.compile(r"(.+?/[0-9a-f]{12})/([0-9a-f]{12}-[0-9a-f]{8})/(.+)")
_SEALED = re.compile(rf"(.+/[0-9a-f]{{12}})/{re.escape(MANIFEST)}")


class DamagedInBucketError(DamagedArtifactError):
    """An artifact in the bucket cannot be used."""

    def __init__(self, words: str, version: Version) -> None:
        super().__init__(words)
        self.version = version
        """Of its manifest, for `BucketStore.publish` to replace."""


@dataclass(slots=True, kw_only=True)
class Held:
    """What a bucket holds under the name of one artifact."""

    manifest: Stored | None = None
    uploads: dict[str, dict[str, Stored]] = field(default_factory=dict)
    """Name of an upload -> its files."""


class BucketStore:
    """The artifacts below a URL, each with a folder of ``root`` for its copy.

    Every method raises ArtifactError, in words, when the server cannot be reached or refuses.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.bucket = Bucket(url)
        self._held: dict[str, Held] | None = None

    @classmethod
    def of(cls, root: Path) -> "BucketStore | None":
        """Return the store that a folder caches; None when the folder is a store itself."""
        try:
            return cls(root, (root / MARK).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, folder: Path, held: bool = False) -> Artifact:
        """Return an artifact of the bucket after its copy was made whole and every file of that was checked.

        ``held`` says that the caller holds the artifact's lock. Raises MissingArtifactError or DamagedInBucketError.
        """
        found = self._read(folder)
        with suppress(DamagedArtifactError):  # the copy is in part, or was changed: the bucket counts
            if _content(folder) == found.data and not wrong_in_copy(folder, read_manifest(folder)):
                return read_artifact(folder)
        return artifact_of(folder, self.fetch(folder, held=held))

    def fetch(self, folder: Path, suffixes: tuple[str, ...] = (), held: bool = False) -> Manifest:
        """Bring the files of an artifact into its copy, with ``suffixes`` those that end with one; return the manifest.

        Without ``suffixes`` the files of the copy are checked too, and what does not belong is removed.
        Raises MissingArtifactError or DamagedInBucketError.
        """
        with _cache_said(self.root), nullcontext() if held else lock(self.root, *self._owner(folder)):
            found = self._read(folder)
            manifest = self._copy_manifest(folder, found)
            entries = [entry for entry in manifest["files"] if not suffixes or entry["path"].endswith(suffixes)]
            wrong = {str(path.relative_to(folder)) for path, _ in wrong_in_copy(folder, manifest)}
            if not suffixes:
                wrong |= {each["path"] for each in entries if each["path"] not in wrong and not is_same(folder, each)}
                for name in wrong:
                    (folder / name).unlink(missing_ok=True)
            if lacking := [entry for entry in entries if entry["path"] in wrong]:
                staging = folder.with_name(f".staging-{folder.name}")
                try:
                    download(self.bucket, f"{self._name(folder)}/{manifest['upload']}", folder, staging, lacking)
                except (DamagedArtifactError, FileNotFoundError) as error:
                    self._read(folder)  # raises MissingArtifactError when it was removed meanwhile
                    raise self._damaged(folder, str(error), found.version) from None
            return manifest

    def publish(self, folder: Path, target: Path, replaces: Version | None) -> bool:
        """Upload a sealed folder as the artifact of ``target``; return False when another build came first.

        ``replaces`` is the version of a damaged manifest. The manifest is created when every file is there, and names them:
        nobody sees less. What became useless is removed.
        """
        manifest = read_manifest(folder)
        before, mine = manifest.get("upload"), f"{manifest['content'][:12]}-{secrets.token_hex(4)}"
        manifest["upload"] = mine
        _write(folder, sealed(manifest))
        upload(self.bucket, folder, f"{self._name(target)}/{mine}", manifest["files"])
        damaged = self._upload_in_bucket(target) if replaces else None
        self.bucket.put(f"{self._name(target)}/{MANIFEST}", sealed(manifest), replaces)
        now = self._upload_in_bucket(target)  # a request that was repeated may say that another came first
        for useless in {before, mine, damaged if now == mine else None} - {None, now}:
            self.bucket.delete(self.bucket.list(f"{self._name(target)}/{useless}"))
        return now == mine

    def mirror(self, key: str = "") -> None:
        """Bring the manifests of the cache, with ``key`` of one asset, in line with the bucket; copies of what is gone go."""
        here = [path for path in walk(self.root / key, self.root) if not path.name.startswith(".")]
        held = self._list(key)
        self._held = None if key else held
        old = [path for path in here if not held.get(self._name(path), Held()).manifest]
        sealed = {self.root / name: each.manifest for name, each in held.items() if each.manifest}
        new = [folder for folder, stored in sealed.items() if not _is_current(folder, stored)]
        with _cache_said(self.root), ThreadPoolExecutor(THREADS) as threads:
            finish(threads.map(self._mirror_one, [*old, *new]))

    def held(self) -> dict[str, Held]:
        """Return what the bucket holds, by asset key and folder name joined by ``/``, as of the last whole `mirror`."""
        if self._held is None:
            self._held = self._list()
        return self._held

    def unnamed(self) -> Iterator[tuple[Path, str, dict[str, Stored]]]:
        """Yield uploads that no manifest names: folder of the artifact, name and files; as of the last whole `mirror`."""
        for name, held in self.held().items():
            named = None
            with suppress(MissingArtifactError, DamagedArtifactError):
                named = read_manifest(self.root / name)["upload"]
            yield from ((self.root / name, mine, files) for mine, files in held.uploads.items() if mine != named)

    def num_bytes(self, folder: Path) -> int:
        """Return the bytes of the files that an artifact's manifest names, as it says."""
        with suppress(MissingArtifactError, DamagedArtifactError):
            return sum(entry["size"] for entry in read_manifest(folder)["files"])
        return 0

    def wrong_files(self, folder: Path, manifest: Manifest) -> list[tuple[str, str]]:
        """Return the URLs of files that are missing in the bucket or of another size, as of the last whole `mirror`."""
        files = self.held().get(self._name(folder), Held()).uploads.get(manifest["upload"], {})
        return [
            (self.place(folder, manifest, each["path"]), CHANGED if each["path"] in files else "is missing")
            for each in manifest["files"]
            if each["path"] not in files or files[each["path"]].size != each["size"]
        ]

    def sha256(self, folder: Path, manifest: Manifest, file: str, seen: Callable[[int], None]) -> str:
        """Return the SHA-256 of a file in the bucket, as `manifests.sha256` does. Raises FileNotFoundError."""
        return self.bucket.sha256(f"{self._name(folder)}/{manifest['upload']}/{file}", seen)

    def place(self, folder: Path, manifest: Manifest | None = None, file: str = MANIFEST) -> str:
        """Return the URL of a file of an artifact, without a manifest that of the manifest itself."""
        return "/".join([self.bucket.url, self._name(folder), *([manifest["upload"]] if manifest else []), file])

    def remove(self, folder: Path) -> None:
        """Remove an artifact from the bucket, its manifest first, and its copy."""
        mine = self._upload_in_bucket(folder)
        self.bucket.delete([f"{self._name(folder)}/{MANIFEST}"])
        if mine:
            self.bucket.delete(self.bucket.list(f"{self._name(folder)}/{mine}"))
        shutil.rmtree(folder, ignore_errors=True)

    def remove_upload(self, upload: Path) -> None:
        """Remove an upload, the folder of its artifact with its name, unless the manifest names it by now."""
        if upload.name != self._upload_in_bucket(upload.parent):
            self.bucket.delete(self.bucket.list(f"{self._name(upload.parent)}/{upload.name}"))

    def _list(self, prefix: str = "") -> dict[str, Held]:
        found: dict[str, Held] = {}
        for name, stored in self.bucket.list(prefix).items():
            if match := _UPLOADED.fullmatch(name):
                found.setdefault(match[1], Held()).uploads.setdefault(match[2], {})[match[3]] = stored
            elif match := _SEALED.fullmatch(name):
                found.setdefault(match[1], Held()).manifest = stored
        return found

    def _mirror_one(self, folder: Path) -> None:
        with suppress(HeldError), lock(self.root, *self._owner(folder), wait=False):
            found = self.bucket.read(f"{self._name(folder)}/{MANIFEST}")
            if found:
                with suppress(DamagedArtifactError):  # the copy is as damaged, and says so to whoever reads it
                    self._copy_manifest(folder, found)
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _read(self, folder: Path) -> Read:
        found = self.bucket.read(f"{self._name(folder)}/{MANIFEST}")
        if found is None:
            raise MissingArtifactError(f"{self.place(folder)} does not exist; materialise the asset first")
        try:
            unsealed(found.data, self.place(folder))
        except DamagedArtifactError as error:
            raise self._damaged(folder, str(error), found.version) from None
        return found

    def _copy_manifest(self, folder: Path, found: Read) -> Manifest:
        """Give the copy the bucket's manifest; files of another content go. Raises DamagedArtifactError afterwards."""
        if (before := _content(folder)) != found.data:
            with suppress(DamagedArtifactError):
                if before and unsealed(before, "")["content"] != unsealed(found.data, "")["content"]:
                    shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder, found.data)
        os.utime(folder / MANIFEST, (found.modified, found.modified))
        return unsealed(found.data, self.place(folder))

    def _upload_in_bucket(self, folder: Path) -> str | None:
        """Return the upload that the manifest in the bucket names; None when there is none, or none that can be read."""
        found = self.bucket.read(f"{self._name(folder)}/{MANIFEST}")
        with suppress(DamagedArtifactError):
            return unsealed(found.data, "")["upload"] if found else None
        return None

    def _damaged(self, folder: Path, problem: str, version: Version) -> DamagedInBucketError:
        key, _ = self._owner(folder)
        return DamagedInBucketError(f"{problem}; materialise {key} again: a run makes it anew and replaces it", version)

    def _owner(self, folder: Path) -> tuple[str, str]:
        return str(folder.parent.relative_to(self.root)), folder.name

    def _name(self, folder: Path) -> str:
        return "/".join(self._owner(folder))


@contextmanager
def _cache_said(root: Path) -> Iterator[None]:
    """Say in words that the cache is full or cannot be written."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"the cache {root} has no room left or cannot be written ({error}): make room, or name another with "
            "HEPHAESTUS_CACHE, and run again: what is finished is kept"
        ) from error


def _content(folder: Path) -> bytes | None:
    with suppress(OSError):
        return (folder / MANIFEST).read_bytes()
    return None


def _write(folder: Path, content: bytes) -> None:
    staging = folder.with_name(f".manifest-{folder.name.removeprefix('.')}")
    staging.write_bytes(content)
    staging.rename(folder / MANIFEST)


def _is_current(folder: Path, stored: Stored) -> bool:
    """Return whether a manifest was copied since it was last written."""
    with suppress(OSError):
        found = (folder / MANIFEST).stat()
        return (found.st_size, found.st_mtime) == (stored.size, stored.modified)
    return False
