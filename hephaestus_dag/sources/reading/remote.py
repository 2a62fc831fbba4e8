"""Files behind URLs, by fsspec, and data sets by their repository id: what they are called, how large, which version."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import fsspec
from upath import UPath

from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import CHECKOUT, MissingPackageError, Root

_PACKAGES = {
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "s3a": "s3fs",
}
"""Protocol -> the package that speaks it."""
_TAGS = ("ETag", "etag", "blob_id", "version_id", "md5Hash", "content_hash", "Last-Modified", "created")
"""What servers call the version of a file."""


def remote_root(config: SourceConfig) -> Root:
    """Return the root of a location behind a URL, or of a data set.

    Raises MissingPackageError, which says how to get the package that speaks the protocol, ValueError for a protocol that
    nobody speaks.
    """
    if config.form == "dataset":
        return _dataset_root(config)
    label, pattern = _split(config.location)
    folder = cast(Path, UPath(label))  # what is used here, UPath has under the same names
    return UrlRoot(label.rstrip("/"), folder, config.license or "unknown", config.exclude, pattern)


@lru_cache(maxsize=256)
def _split(url: str) -> tuple[str, str]:
    """Return the folder of a URL, and a glob below it or the name of the one file."""
    system, path = _open(url)
    protocol, _, rest = url.partition("://")
    magic = re.compile(r"[*\[]" if protocol in ("http", "https") else r"[*?\[]")  # a ? of the web begins a query
    parts = rest.split("/")
    fixed = next((n for n, part in enumerate(parts) if magic.search(part)), len(parts))
    if fixed < len(parts):
        return f"{protocol}://{'/'.join(parts[:fixed])}", "/".join(parts[fixed:])
    try:
        is_file = not url.endswith("/") and (protocol in ("http", "https") or system.isfile(path))
    except Exception as error:  # each protocol has errors of its own
        raise OSError(_unreachable(url, error)) from error
    folder, _, name = url.rpartition("/")
    return (folder, name) if is_file else (url.rstrip("/"), "**/*")


def _open(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    protocol = url.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        remedy = f"pip install {package}" if package else str(error)
        raise MissingPackageError(f"location {url} needs a package that is not installed; get it with: {remedy}") from None
    except ValueError as error:  # a protocol that nobody speaks
        raise ValueError(f"location {url} cannot be opened: {error}; write a path, s3://, https:// or hf://") from None


def _unreachable(url: str, error: Exception) -> str:
    return f"{url} cannot be listed: {type(error).__name__}: {error}; check address, network and credentials"


@dataclass(frozen=True, slots=True)
class UrlRoot(Root):
    """Files behind a URL; ``pattern`` is a glob, or the name of the one file."""

    def _names(self) -> Iterable[str]:
        return self._listed()

    def sizes(self) -> dict[str, int]:
        """Return the files with their sizes in bytes; 0 where the server does not say."""
        listed = self._listed()
        return {file: int(listed[file].get("size") or 0) for file in sorted(self._kept(listed))}

    def versions(self) -> dict[str, bytes]:
        """Return the files with their sizes and the tags that the server gives a version; nothing is downloaded."""
        listed = self._listed()
        return {file: f"{listed[file].get('size')}\0{self._tag(listed[file])}".encode() for file in sorted(self._kept(listed))}

    def _listed(self) -> dict[str, dict[str, Any]]:
        """Return what the server says about each file.

        Raises OSError, in words, for whatever keeps the location from being listed.
        """
        system, base = _open(self.label)
        try:
            system.invalidate_cache()
            if self.pattern == "**/*":
                found: Any = system.find(base, detail=True)
            elif re.search(r"[*\[]", self.pattern):
                found = system.glob(f"{base}/{self.pattern}", detail=True)
            else:
                path = f"{base}/{self.pattern}"
                found = {path: system.info(path)}
            files = {path: info for path, info in found.items() if info["type"] == "file"}
            if "http" in system.protocol:  # a page of links tells no sizes
                with ThreadPoolExecutor(16) as pool:
                    files = dict(zip(files, pool.map(system.info, files), strict=True))
        except Exception as error:  # each protocol has errors of its own: no network, no credentials, no such bucket
            raise OSError(_unreachable(f"{self.label}/{self.pattern}", error)) from error
        return {path.removeprefix(base).lstrip("/"): info for path, info in sorted(files.items())}

    def _tag(self, info: dict[str, Any]) -> str:
        stated = next((str(info[name]) for name in _TAGS if info.get(name)), "")
        return stated or cast(UPath, self.folder).fs.ukey(info["name"])


@dataclass(frozen=True, slots=True)
class DatasetRoot(Root):
    """A data set by its repository id: it has rows and no files."""

    def _names(self) -> Iterable[str]:
        raise ValueError(
            f"{self.label} holds rows, not files: read it with kind records, or name its files with "
            "hf://datasets/<owner>/<name>@<commit>/<path>"
        )

    def has_files(self) -> bool:
        """Return True: nobody is asked over the network before the rows are wanted."""
        return True


def dataset_place(config: SourceConfig) -> tuple[str, str | None]:
    """Return the repository id or local folder of a data set, and its revision; None for a folder."""
    name = config.location.removeprefix("hf:")
    if name.startswith((".", "/")):
        return str(CHECKOUT / name), None
    name, _, revision = name.partition("@")
    return name, revision


def _dataset_root(config: SourceConfig) -> Root:
    place, revision = dataset_place(config)
    license = config.license or "unknown"
    if revision is None:
        return Root(Path(place).name, Path(place), license, config.exclude)
    return DatasetRoot(config.location, Path(), license, config.exclude, pinned=(f"hf:{place}", revision))
