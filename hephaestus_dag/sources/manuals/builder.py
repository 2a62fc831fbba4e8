"""Collects the blocks of a manual page while its lines are read."""

import re

from hephaestus_dag.sources.manuals.blocks import Block
from hephaestus_dag.sources.manuals.escapes import JOIN

_BREAK = "\x01"
_NUMBERED = re.compile(r"(•|\(?\d{1,2}[.)])\s+")
_DEEPEST = 8


class Builder:
    """Words become paragraphs and items of lists, at the depth where the page is."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.literal = False
        """Whether lines stay as they are."""
        self._words: list[str] = []
        self._lines: list[str] = []
        self._level = 0
        self._tag: str | None = None
        self._in_item = False
        self._outer: list[tuple[int, bool]] = []
        self._tag_at: int | None = None
        """Which block is a tag if text follows that is indented: an option on a line of its own."""
        self._tagged_at: int | None = None
        """Which block became an item that way."""

    def add(self, text: str) -> None:
        """Add a line of text, free of escapes."""
        if self.literal:
            self._lines.append(text.replace(JOIN, "").replace("\u00a0", " ").rstrip())
        elif text.strip():
            self._words.append(text)

    def break_line(self) -> None:
        """Begin a new line in the same paragraph."""
        if not self.literal and self._words:
            self._words.append(_BREAK)

    def heading(self, text: str, section: bool) -> None:
        """Begin a section or a part of one."""
        self.set_literal(False)
        self.end()
        self._level, self._in_item, self._outer = 0, False, []
        if text := _joined([text]):
            self.blocks.append(Block("section" if section else "subsection", text))

    def paragraph(self) -> None:
        """Begin a paragraph outside of any item."""
        self.end()
        self._in_item = False

    def item(self, tag: str) -> None:
        """Begin an item; without a tag, a further paragraph of the item before."""
        self.end()
        self._in_item = True
        if tag := _joined([tag]).replace("\n", " "):
            self._tag = tag

    def alias(self, tag: str) -> None:
        """Give the item at hand another tag."""
        if self._tag is None:
            self.item(tag)
        else:
            self._tag += f", {_joined([tag])}"

    def indent(self) -> None:
        """Go one level deeper, until ``outdent``."""
        self.end()
        self._outer.append((self._level, self._in_item))
        last = self.blocks[-1] if self.blocks else None
        if last and self._tagged_at == len(self.blocks) - 1 and _names(last.text):
            # what was taken for the description is a tag itself, with its description indented once more
            self.blocks[-1] = Block("item", "", last.level, last.tag)
            last = Block("text", last.text, self._level)
            self.blocks.append(last)
        if last and last.kind == "text" and last.level == self._level and not self._in_item and _names(last.text):
            self._tag_at = len(self.blocks) - 1
        self._level, self._in_item = min(self._level + 1, _DEEPEST), False

    def outdent(self) -> None:
        """Go back to where ``indent`` was."""
        self.end()
        if self._outer:
            self._level, self._in_item = self._outer.pop()

    def set_literal(self, literal: bool) -> None:
        """Keep the lines that follow as they are, or fill paragraphs again."""
        if literal != self.literal:
            self.end()
            self.literal = literal

    def end(self) -> None:
        """End the paragraph or the lines at hand."""
        if self._lines:
            lines = "\n".join(self._lines).strip("\n").expandtabs(8)
            self._lines = []
            if self._tag is not None:
                self.blocks.append(Block("item", "", self._level, self._tag))
                self._tag = None
            if lines.strip():
                self.blocks.append(Block("literal", lines, self._level + self._in_item))
        text = _joined(self._words)
        self._words = []
        if self._tag is not None:
            self.blocks.append(Block("item", text, self._level, self._tag))
            self._tag = None
        elif text:
            self._add_text(text)

    def _add_text(self, text: str) -> None:
        level = self._level + self._in_item
        if self._tag_at == len(self.blocks) - 1 and not _NUMBERED.match(text):
            tag = self.blocks[-1]
            self.blocks[-1] = Block("item", "", tag.level, tag.text)
            self._tagged_at = len(self.blocks) - 1
        self._tag_at = None
        last = self.blocks[-1] if self.blocks else None
        if last and last.kind == "item" and not last.text and last.level == level - 1 and not _NUMBERED.match(text):
            self.blocks[-1] = Block("item", text, last.level, last.tag)
        elif numbered := _NUMBERED.match(text):
            self.blocks.append(Block("item", text[numbered.end() :], max(level - 1, 0), numbered[1]))
        else:
            self.blocks.append(Block("text", text, level))


def _joined(words: list[str]) -> str:
    text = re.sub(rf"[ \t]*{JOIN}[ \t]*", "", " ".join(words).replace(f"{JOIN} ", JOIN))
    lines = (re.sub(r"[ \t]+", " ", line).strip(" \t") for line in text.split(_BREAK))
    return "\n".join(line.rstrip("\u00a0") for line in lines if line).replace(" \u00a0", " ").replace("\u00a0", " ")


def _names(text: str) -> bool:
    return len(text) <= 120 and "\n" not in text and not text.endswith((".", ":", "!", "?", ";", ","))
