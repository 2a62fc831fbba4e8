"""Finds the files of a source: installed distributions, the standard library, or plain paths, with version and licence."""

import glob
import hashlib
import os
import platform
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from fnmatch import translate
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from hephaestus_dag.sources.config import SourceConfig

CHECKOUT = Path(__file__).resolve().parents[2]
"""Relative locations start here."""

_SPDX_OF_CLASSIFIER = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU General Public License (GPL)": "GPL-2.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Public Domain": "LicenseRef-Public-Domain",
    "Python Software Foundation License": "PSF-2.0",
}
_SPDX_OF_WORDS = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 2 clause": "BSD-2-Clause",
    "bsd 3 clause": "BSD-3-Clause",
    "3 clause bsd": "BSD-3-Clause",
    "isc": "ISC",
    "mit": "MIT",
}
_SPDX = re.compile(r"(MIT|Apache-2\.0|BSD-[23]-Clause|ISC|MPL-2\.0|PSF-2\.0|0BSD)( (AND|OR|WITH) [\w.-]+)*")


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
    """``botocore==1.44.5``, ``cpython==3.11.7/Lib``, or the name of a plain folder."""
    folder: Path
    license: str
    exclude: tuple[str, ...] = field(default=())
    pattern: str = "**/*"
    """Which files, for a plain folder."""
    distribution: Distribution | None = None

    def files(self) -> list[str]:
        """Return the files as sorted POSIX paths relative to ``folder``, without those excluded."""
        return sorted(self._iterate())

    def has_files(self) -> bool:
        """Return whether there is at least one file."""
        return next(self._iterate(), None) is not None

    def _iterate(self) -> Iterator[str]:
        excluded = re.compile("|".join(translate(pattern) for pattern in self.exclude)) if self.exclude else None
        for name in _recorded(self.distribution.name) if self.distribution else _found(self.folder, self.pattern):
            if "__pycache__" not in name and not (excluded and excluded.match(name)):
                yield name

    def item(self, file: str) -> str:
        """Return the readable origin of a file."""
        return f"{self.label}/{file}"

    def identity(self) -> tuple[str, str]:
        """Return the name of the input and what tells this version of it from another."""
        if self.distribution:
            return self.distribution.name, self.distribution.version
        if self.label.startswith("cpython=="):
            return "python", platform.python_version()
        digest = hashlib.sha256()
        for name in self.files():
            try:
                content = (self.folder / name).read_bytes()
            except OSError:  # a dangling link or an unreadable file: reading sets it aside, with the reason
                digest.update(f"{name}\0unreadable\0".encode())
                continue
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return self.label, digest.hexdigest()


def find_roots(config: "SourceConfig") -> list[Root]:
    """Return the folders that a source reads.

    Raises MissingPackageError for a distribution that is not installed, FileNotFoundError for a path without a match.
    """
    if config.form == "stdlib":
        label = f"cpython=={platform.python_version()}/Lib"
        # site-packages lies inside the folder of the standard library but is none of it
        exclude = ("site-packages/*", "dist-packages/*", *config.exclude)
        return [Root(label, Path(sysconfig.get_path("stdlib")), config.license or "Python-2.0", exclude)]
    if config.form == "path":
        return [_path_root(config)]
    found = [find_distribution(name) for name in config.distributions]
    return [
        Root(f"{d.name}=={d.version}", d.folder, config.license or d.license, config.exclude, distribution=d) for d in found
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
    if expression := info.get("License-Expression"):
        return expression
    words = (info.get("License") or "").strip()
    if _SPDX.fullmatch(words):
        return words
    known = {
        _SPDX_OF_CLASSIFIER[last]
        for entry in info.get_all("Classifier") or []
        if entry.startswith("License ::") and (last := entry.rpartition(" :: ")[2]) in _SPDX_OF_CLASSIFIER
    }
    if known:
        return " OR ".join(sorted(known))
    plain = re.sub(r"the|license|software|version|[^a-z1-9]", " ", words.lower())
    return _SPDX_OF_WORDS.get(" ".join(plain.split()), "unknown")


@cache
def _recorded(name: str) -> tuple[str, ...]:
    files = metadata.distribution(name).files
    if files is None:
        raise MissingPackageError(f"package {name} lists no files; get it with: pip install --force-reinstall {name}")
    # scripts lie outside site-packages (`../../../bin/dagster`)
    return tuple(file.as_posix() for file in files if ".." not in file.parts and not file.is_absolute())


def _path_root(config: "SourceConfig") -> Root:
    place = CHECKOUT / config.location
    parts = place.parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    folder, pattern = Path(*parts[:fixed]), str(PurePosixPath(*parts[fixed:])) if fixed < len(parts) else "**/*"
    if folder.is_file():
        folder, pattern = folder.parent, glob.escape(folder.name)
    root = Root(folder.name, folder, config.license or "unknown", config.exclude, pattern)
    if not root.has_files():
        raise FileNotFoundError(f"location {config.location} matches no file ({place}); correct the path")
    return root


def _found(folder: Path, pattern: str) -> Iterator[str]:
    if pattern == "**/*":
        for place, folders, files in os.walk(folder):
            folders.sort()
            relative = Path(place).relative_to(folder)
            yield from ((relative / file).as_posix() for file in files)
    else:
        yield from (match.relative_to(folder).as_posix() for match in folder.glob(pattern) if match.is_file())
