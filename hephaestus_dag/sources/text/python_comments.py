"""Prose inside Python sources: what programmers explain in comment blocks, one document per file."""

import re
from collections.abc import Iterator

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import read_text
from hephaestus_dag.sources.tools.python_modules import LARGEST_MODULE

_BLOCK = re.compile(r"(?:^[ \t]*#(?!!).*\n){3,}", re.MULTILINE)
_HASH = re.compile(r"^[ \t]*#+:? ?", re.MULTILINE)
_LEGAL = re.compile(r"copyright|licen[cs]e|all rights reserved|spdx|warrant", re.IGNORECASE)
_CODE = re.compile(r"[=(){}\[\]<>_|\\/*]")
_SHORTEST_BLOCK = 150
_SHORTEST_PAGE = 300
_MOST_CODE = 0.04
"""Share of characters that only code uses: commented-out code and tables stay out."""


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per source file."""
    return list_files(config, (".py",))


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield the comment blocks of a file as one page; a file without any yields nothing."""
    text = read_text(config, item, LARGEST_MODULE)
    if isinstance(text, Reject):
        if text.reason != "empty":
            yield text
        return
    page = "\n\n".join(comment_blocks(text))
    if len(page) >= _SHORTEST_PAGE:
        yield Document(
            text=page,
            domain=config.domain,
            kind="prose",
            source=config.name,
            origin=f"{item}/comments",
            license=locate(config, item)[0].license,
        )


def comment_blocks(text: str) -> Iterator[str]:
    """Yield the comments of three lines and more that are prose, without legal notices."""
    for match in _BLOCK.finditer(text):
        block = _HASH.sub("", match.group()).strip()
        code = len(_CODE.findall(block)) / max(len(block), 1)
        if len(block) >= _SHORTEST_BLOCK and code <= _MOST_CODE and not _LEGAL.search(block):
            yield block
