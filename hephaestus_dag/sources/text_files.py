"""Prose: README files, guides and change logs of installed distributions, their long descriptions, or plain paths."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.distributions import list_files, locate
from hephaestus_dag.sources.files import read_text, reject

_SUFFIXES = (".md", ".markdown", ".rst", ".txt")
_METADATA = "METADATA"
_NOT_PROSE = re.compile(
    r"(licen[cs]e|copying|notice|authors|requirements|constraints|entry_points|top_level|namespace_packages|sources|"
    r"cmakelists|vocab|record|manifest|robots|cacerts|stop_?words|third.?party)",
    re.IGNORECASE,
)
_SHORTEST = 200
_LEAST_WORDS = 0.6
"""Share of a text that must be letters and blanks: tables of numbers and encoded data stay out."""


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per text file, and one per distribution for its long description: ``numpy==2.4.6/METADATA``."""
    described = [root.item(_METADATA) for root in config.roots() if root.distribution and root.distribution.description]
    files = list_files(config, _SUFFIXES)
    return sorted(described + [item for item in files if not _NOT_PROSE.search(PurePosixPath(item).stem)])


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield the text, or the reason why it is set aside."""
    root, file = locate(config, item)
    text = root.distribution.description if root.distribution and file == _METADATA else read_text(config, item)
    if isinstance(text, Reject):
        yield text
        return
    text = text.strip()
    words = sum(character.isalpha() or character == " " for character in text) / max(len(text), 1)
    if len(text) < _SHORTEST:
        yield reject(config, item, "file", f"too short: {len(text)} characters, prose starts at {_SHORTEST}")
    elif words < _LEAST_WORDS:
        yield reject(config, item, "file", f"not prose: {words:.0%} letters and blanks, at least {_LEAST_WORDS:.0%} wanted")
    else:
        yield Document(
            text=text, domain=config.domain, kind="prose", source=config.name, origin=item, license=root.license
        )
