"""Which licence a tree of sources states: by the nearest LICENSE or COPYING file."""

import re
from pathlib import Path

from hephaestus_dag.licenses import UNKNOWN, license_of_source_text, normalise_license

_NAME = re.compile(r"(?:un)?licen[cs]e|copying", re.IGNORECASE)
_TEXTS = (
    (r"apache license,? version 2\.0", "Apache-2.0"),
    (r"mozilla public license,? (?:version )?2\.0", "MPL-2.0"),
    (r"gnu affero general public license version 3", "AGPL-3.0-only"),
    (r"gnu lesser general public license version 3", "LGPL-3.0-only"),
    (r"gnu lesser general public license version 2\.1", "LGPL-2.1-only"),
    (r"gnu general public license version 3", "GPL-3.0-only"),
    (r"gnu general public license version 2", "GPL-2.0-only"),
    (r"boost software license", "BSL-1.0"),
    (r"permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"),
    (r"permission to use, copy, modify, and/?(?:or)? ?distribute this software for any purpose with or without fee", "ISC"),
    (r"redistribution and use in source and binary forms.*neither the names? of", "BSD-3-Clause"),
    (r"redistribution and use in source and binary forms", "BSD-2-Clause"),
    (r"this is free and unencumbered software released into the public domain", "Unlicense"),
    (r"cc0 1\.0 universal", "CC0-1.0"),
)
"""Sentences of licence texts, in lower case with single blanks; the first that is found decides."""
_BEGINNING = 6_000


def is_license_file(name: str) -> bool:
    """Return whether a file name is that of a licence: ``LICENSE``, ``COPYING.md``, ``LICENSE-MIT``."""
    return bool(_NAME.match(name))


def license_of_folder(root: Path, folder: str, files: frozenset[str]) -> str:
    """Return the SPDX expression of the nearest licence files at or above a folder of a tree, ``unknown`` without any.

    Several files in one folder give a choice (``Apache-2.0 OR MIT``). ``files`` are the names of all licence files below
    ``root``.
    """
    while True:
        prefix = f"{folder}/" if folder else ""
        names = sorted(name for name in files if name.startswith(prefix) and "/" not in name[len(prefix) :])
        found = {license_of_text(_read(root / name)) for name in names} - {UNKNOWN}
        if found or not folder:
            return " OR ".join(sorted(found)) or UNKNOWN
        folder = folder.rpartition("/")[0]


def license_of_text(text: str) -> str:
    """Return the SPDX identifier of a licence's text, ``unknown`` for one that is not among the common ones."""
    if stated := license_of_source_text(text):
        return stated
    words = " ".join(re.sub(r"[*#/]+", " ", text[:_BEGINNING].lower()).split())
    known = next((identifier for pattern, identifier in _TEXTS if re.search(pattern, words)), None)
    return known or normalise_license(text.strip().partition("\n")[0])


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4 * _BEGINNING).decode(errors="replace")
    except OSError:
        return ""
