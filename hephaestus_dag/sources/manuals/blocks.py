"""The blocks that a manual page consists of, and pages to read made of them."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FORMATS = ("markdown", "terminal")

_WIDTH = 80
_BULLETS = ("•", "*", "-", "o", "·", "+", "–", "—", "□")


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, a paragraph, an item of a list, or lines that stay as they are."""

    kind: Literal["section", "subsection", "text", "item", "literal"]
    text: str
    level: int = 0
    """How deep it is indented; an item's own text lies one deeper."""
    tag: str = ""
    """Of an item: what it is on (``-a, --all``), a bullet or a number."""


@dataclass(frozen=True, slots=True)
class Manual:
    """One manual page."""

    name: str
    section: str
    source: str
    """The project and its version, as the page says: ``GNU coreutils 9.1``."""
    title: str
    """``User Commands``."""
    blocks: tuple[Block, ...]


def render_blocks(blocks: Sequence[Block], form: str) -> str:
    """Return blocks as Markdown, or as a terminal shows them."""
    if form == "markdown":
        return "\n\n".join(part for block in blocks if (part := _markdown(block).rstrip()))
    parts = ((block, part) for block in blocks if (part := _terminal(block).rstrip()))
    return "".join(part + ("\n" if block.kind in ("section", "subsection") else "\n\n") for block, part in parts).rstrip()


def heading(manual: Manual, form: str) -> str:
    """Return the first line of a page."""
    name = f"{manual.name}({manual.section})"
    if form == "markdown":
        return f"# {name}" + (f": {manual.title}" if manual.title else "")
    name = name.upper()
    return f"{name}{manual.title.center(max(len(manual.title) + 2, _WIDTH - 2 * len(name)))}{name}"


def _markdown(block: Block) -> str:
    if block.kind in ("section", "subsection"):
        return f"{'##' if block.kind == 'section' else '###'} {block.text}"
    pad = "  " * block.level
    if block.kind == "literal":
        return "\n".join([f"{pad}```", *(pad + line if line else "" for line in block.text.split("\n")), f"{pad}```"])
    text = block.text.replace("\n", f"\n{pad}{'  ' if block.kind == 'item' else ''}")
    if block.kind == "text":
        # a prompt of the superuser is no heading
        return f"{pad}`{text}`" if text.startswith("# ") and "`" not in text and "\n" not in text else pad + text
    if block.tag in _BULLETS:
        return f"{pad}- {text}"
    if re.fullmatch(r"\(?\d+[.)]", block.tag):
        return f"{pad}{block.tag.strip('()')} {text}"
    tag = block.tag if "`" in block.tag or not block.tag else f"`{block.tag}`"
    return f"{pad}- {tag}: {text}" if text and tag else f"{pad}- {tag or text}"


def _terminal(block: Block) -> str:
    if block.kind == "section":
        return block.text
    if block.kind == "subsection":
        return f"   {block.text}"
    pad = " " * (7 + 4 * block.level)
    if block.kind == "literal":
        return textwrap.indent(block.text, pad)
    if block.kind == "text":
        return _filled(block.text, pad, pad)
    inner = pad + "    "
    if len(block.tag) <= 3:
        return _filled(block.text, pad + block.tag.ljust(4), inner)
    return f"{pad}{block.tag}\n{_filled(block.text, inner, inner)}"


def _filled(text: str, first: str, other: str) -> str:
    lines: list[str] = []
    for number, line in enumerate(text.split("\n")):
        lead = other if number else first
        lines += textwrap.wrap(
            line, max(_WIDTH, len(lead) + 30), initial_indent=lead, subsequent_indent=other, break_long_words=False,
            break_on_hyphens=False,
        ) or [lead.rstrip()]  # fmt: skip
    return "\n".join(lines)
