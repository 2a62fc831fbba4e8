"""Cuts long texts into documents where their structure allows: before a heading, between paragraphs, after a sentence."""

import re
from collections.abc import Iterator

from hephaestus_dag.documents import Document
from hephaestus_dag.sources.config import SourceConfig

_FENCED = re.compile(r"^(```+|~~~+)[^\n]*\n.*?(?:^\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(?=#{1,6} \S)|^(?=\S[^\n]*\n([=\-~^\"])\1{2,}[ \t]*$)", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n+(?=\S)")
_SENTENCE = re.compile(r"[.!?…][\"')\]»”’]*\s+(?=\S)|[。！？]")
_LINE = re.compile(r"\n")
_SPACE = re.compile(r"\s(?=\S)")


def split_text(text: str, longest: int) -> list[str]:
    """Return a text in parts of at most ``longest`` characters, which joined give the text again.

    A cut is made in the second half of what fits, before the last heading there, else between paragraphs (never inside a
    fenced block of code), else after a sentence. Only what has none of these loses its middle: it is cut at the end of a
    line, between words, or anywhere.
    """
    fenced = [match.span() for match in _FENCED.finditer(text)] if len(text) > longest else []
    parts: list[str] = []
    start = 0
    while len(text) - start > longest:
        end = _cut(text, start, start + longest, fenced)
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]]


def _cut(text: str, start: int, end: int, fenced: list[tuple[int, int]]) -> int:
    inside = [(first, last) for first, last in fenced if first < end and last > start]
    for low in ((start + end) // 2, start + 1):
        for boundary in (_HEADING, _PARAGRAPH, _SENTENCE):
            cuts = [match.end() for match in boundary.finditer(text, low, end) if match.end() > start]
            cuts = [cut for cut in cuts if not any(first < cut < last for first, last in inside)]
            if cuts:
                return cuts[-1]
    for boundary in (_LINE, _SPACE):
        if cuts := [match.end() for match in boundary.finditer(text, start, end)]:
            return cuts[-1]
    return end


def text_documents(config: SourceConfig, origin: str, text: str, *, license: str, provider: str) -> Iterator[Document]:
    """Yield prose as one document, or as ``<origin>/part 1``, ``part 2`` and so on where ``max_characters`` asks for it."""
    parts = [part.strip() for part in split_text(text, config.max_characters)]
    for number, part in enumerate(parts, 1):
        yield Document(
            text=part,
            domain=config.domain,
            kind="prose",
            source=config.name,
            origin=origin if len(parts) == 1 else f"{origin}/part {number}",
            license=license,
            provider=provider,
        )
