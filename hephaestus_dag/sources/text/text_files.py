"""Prose: README files, guides and change logs of installed distributions, their long descriptions, or plain paths."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import read_text, reject
from hephaestus_dag.sources.reading.splitting import text_documents

_SUFFIXES = (".md", ".markdown", ".rst", ".txt")
_METADATA = "METADATA"
_NOT_PROSE = re.compile(
    r"(licen[cs]e|copying|notice|authors|requirements|constraints|entry_points|top_level|namespace_packages|sources|"
    r"cmakelists|vocab|record|manifest|robots|cacerts|stop_?words|third.?party)",
    re.IGNORECASE,
)
_LICENSE = re.compile(r"licen[cs]e|copying", re.IGNORECASE)
_SHORTEST = 200
LARGEST_TEXT = 50_000_000
"""Characters above which a file is set aside: it has to be in memory at once."""
_LEAST_LETTERS = 0.6
"""Share of a text that must be letters and blanks: tables of numbers and encoded data stay out."""
_LEAST_WORDS_PER_LINE = 3.0
"""Word lists and stop lists have one or two."""


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per text file, and one per distribution for its long description: ``numpy==2.4.6/METADATA``."""
    described = [root.item(_METADATA) for root in config.roots() if root.distribution and root.distribution.description]
    files = list_files(config, _SUFFIXES)
    if config.form == "packages":  # most text files of a package are no prose; those that somebody names by path are
        files = [item for item in files if not any(map(_NOT_PROSE.search, PurePosixPath(item).parts[1:]))]
    else:
        files = [item for item in files if not _LICENSE.fullmatch(PurePosixPath(item).stem)]
    return sorted(described + files)


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield the text, in parts when it is longer than ``max_characters``, or the reason why it is set aside."""
    root, file = locate(config, item)
    text = root.distribution.description if root.distribution and file == _METADATA else read_text(config, item, LARGEST_TEXT)
    if isinstance(text, Reject):
        yield text
        return
    text = text.strip()
    if reason := _why_not_prose(text):
        yield reject(config, item, "file", reason)
        return
    provider = root.pinned[0] if root.pinned else ""
    yield from text_documents(config, item, text, license=root.license, provider=provider)


def _why_not_prose(text: str) -> str | None:
    if len(text) < _SHORTEST:
        return f"too short: {len(text)} characters, prose starts at {_SHORTEST}"
    letters = sum(character.isalpha() or character == " " for character in text) / len(text)
    if letters < _LEAST_LETTERS:
        return f"not prose: {letters:.0%} letters and blanks, at least {_LEAST_LETTERS:.0%} wanted"
    words = len(text.split()) / sum(not line.isspace() for line in text.splitlines() if line)
    if words < _LEAST_WORDS_PER_LINE:
        return f"not prose: {words:.1f} words a line, at least {_LEAST_WORDS_PER_LINE} wanted"
    return None
