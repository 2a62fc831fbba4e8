"""A small reader for documentation examples in reStructuredText: headings, paragraphs and indented literal blocks.

The full grammar is not needed, and a line-based reader also takes the examples whose ``::`` is missing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_UNDERLINE = re.compile(r"([-=~^\"'#*+])\1{2,}\s*$")
_BOLD = re.compile(r"\s?\*\*(?P<title>[^*]+(?:\*[^*]+)*?)\*\*\s*:{0,2}\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One piece of a page."""

    kind: Literal["heading", "paragraph", "literal"]
    text: str
    """Title, joined prose, or the literal lines without their common indentation."""
    line: int
    """Line of the file on which it starts, from 1."""


def read_blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a page in order; comments, link targets and directive lines are left out."""
    lines = [line.expandtabs(4).rstrip() for line in text.splitlines()]
    at = 0
    while at < len(lines):
        start, line = at, lines[at]
        if not line:
            at += 1
        elif _indent(line) >= 2:
            while at < len(lines) and (not lines[at] or _indent(lines[at]) >= 2):
                at += 1
            yield Block(kind="literal", text=_dedented(lines[start:at]), line=start + 1)
        elif at + 1 < len(lines) and _UNDERLINE.match(lines[at + 1]):
            yield Block(kind="heading", text=line.strip().strip("*"), line=start + 1)
            at += 2
        elif bold := _BOLD.match(line):
            yield Block(kind="heading", text=bold["title"].strip(), line=start + 1)
            at += 1
        else:
            while at < len(lines) and lines[at] and _indent(lines[at]) < 2 and not (at > start and _BOLD.match(lines[at])):
                at += 1
            prose = " ".join(part.strip() for part in lines[start:at] if not part.startswith((".. ", "__ ")))
            if prose:
                yield Block(kind="paragraph", text=prose, line=start + 1)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _dedented(lines: list[str]) -> str:
    indent = min(_indent(line) for line in lines if line)
    return "\n".join(line[indent:] for line in lines).strip("\n")
