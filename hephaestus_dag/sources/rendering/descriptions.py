"""Descriptions as vendors write them, turned into plain text of bounded length."""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import unescape

_BLOCK = re.compile(
    r"</?(?:p|br|ul|ol|dl|dd|div|pre|para|table|tr|h[1-6]|section|fullname|title|hr|details|summary|blockquote)\b[^>]*>",
    re.IGNORECASE,
)
_ITEM = re.compile(r"<(?:li|dt)\b[^>]*>\s*(?:<p>)?", re.IGNORECASE)
_CELL = re.compile(r"</t[dh]>\s*<t[dh]\b[^>]*>(?:\s*<p>)?", re.IGNORECASE)
_CODE = re.compile(r"</?(?:code|tt|kbd|samp|literal)\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|b|i|u|em|strong|span|font|small|big|sup|sub|li|dt|td|th|thead|tbody|note|important|caution|warning|tip|example|examples|"
    r"replaceable|function|text|zonbook|xhtml|link|ulink|xref|body|html|img|var|q|s|del|ins|abbr|cite|center|label|mark|nobr|strike)"
    r"\b[^>]*>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")  # not `&para` of `?a=1&parameter=2`
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@lru_cache(maxsize=50_000)
def clean_html(text: str) -> str:
    """Return documentation that is written in HTML as plain text: lists as ``- ``, code in backticks, blocks on lines.

    Only tags of HTML are taken away, so ``<bucket-name>`` stays.
    """
    if "<" in text:
        text = _without_tags(" ".join(text.split()))
    lines = (" ".join(line.split()) for line in _unescaped(text).splitlines())
    return "\n".join(line for line in lines if line and line != "-").replace("``", "`")


def _unescaped(text: str) -> str:
    return _ENTITY.sub(lambda entity: unescape(entity[0]), text) if "&" in text else text


def _without_tags(text: str) -> str:
    text = _CELL.sub(" | ", _CODE.sub("`", _COMMENT.sub("", text)))
    return _TAG.sub("", _BLOCK.sub("\n", _ITEM.sub("\n- ", text)))


_MARKED = re.compile(r"[<>&\[*_`#|\\~\n\r\t]|  |^[\s+-]|\s$|\S{200}|--")
_FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n]*\n(.*?)(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_PAGE = re.compile(r"</?(?:p|ul|ol|li|table|tr|dl)\b", re.IGNORECASE)
_INLINE = re.compile(
    r"(?P<code>`+[^`\n]+`+)"
    r"|!\[[^\]]*\]\([^)]*\)"
    r"|\[(?P<link>(?:[^\[\]]|\[[^\[\]]*\])+)\]\([^()]*(?:\([^()]*\)[^()]*)*\)"
    r"|\[(?P<broken>[^\[\]\n]+)\]\(https?://[^\s()]*$"
    r"|\[(?P<named>[^\[\]]+)\]\[[^\[\]]*\]"
    r"|<(?P<auto>https?://[^\s<>]+|[\w.+-]+@[\w.-]+)>"
    r"|(?P<stars>\*{1,3})(?=[^\s*])(?P<bold>(?:[^*\n]|\n(?!\s*\n))*[^\s*])(?P=stars)"
    r"|(?<![\w`/])(?P<lines>_{1,3})(?=[^\s_])(?P<slanted>[^\n_]*(?:[^\W_]_[^\W_][^\n_]*)*[^\s_])(?P=lines)(?![\w`])"
    r"|~~(?P<struck>[^~\n]+)~~"
    r"|\\(?P<escaped>[\\`*_{}\[\]()#+.!|<>~-])"
)
_REFERENCE = re.compile(r"^ {0,3}\[[^\]\n]+\]:\s*\S+.*$", re.MULTILINE)
_HEADING = re.compile(r"#{1,6}\s+(.*?)[\s#]*$|#{2,6}(\w.*?)[\s#]*$")
_RULE = re.compile(r"(?:[-=*_][ \t]*){3,}$|[|\s:+=-]*-{2,}[|\s:+=-]*$")
_BULLET = re.compile(r"[*+•-]\s+|(\d{1,3}[.)])\s+")
_BLOB = re.compile(r"\S{200,}")
_WRAPPED = 60
"""Characters of a line from which a line break after it is one of layout, not of meaning."""


@lru_cache(maxsize=50_000)
def clean_markdown(text: str) -> str:
    """Return documentation in CommonMark, HTML or a mixture as plain text.

    Links become their words, headings lines that end in a colon, table rows ``a | b``, lists ``- ``; code stays in
    backticks or fences, wrapped paragraphs are joined, and runs of 200 characters without a blank are cut (embedded files).
    """
    if not _MARKED.search(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    parts: list[str] = []
    at = 0
    for fence in _FENCE.finditer(text) if "```" in text or "~~~" in text else ():
        parts += [_plain(text[at : fence.start()]), _fenced(fence[2])]
        at = fence.end()
    parts.append(_plain(text[at:]))
    return "\n".join(part for part in parts if part)


def _fenced(code: str) -> str:
    lines = [_BLOB.sub(_cut, line.rstrip()) for line in code.expandtabs(4).strip("\n").split("\n")]
    indent = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    body = "\n".join(line[indent:] for line in lines)
    return f"```\n{body}\n```" if body.strip() else ""


def _cut(blob: re.Match[str]) -> str:
    return blob[0][:60] + "..."


def _plain(text: str) -> str:
    if "<" in text:
        # inside HTML a line break is a blank; elsewhere it may be the only sign of a list or table
        text = _without_tags(
            " ".join(text.split()) if _PAGE.search(text) and "\n- " not in text and "\n* " not in text else text
        )
    if "]:" in text:
        text = _REFERENCE.sub("", text)
    text = _INLINE.sub(_inline, text)
    # emphasis around code or links shows only when those are gone
    if "**" in text or "__" in text:
        text = _INLINE.sub(_inline, text)
    return "\n".join(_lines(_unescaped(text)))


def _inline(match: re.Match[str]) -> str:
    if match["lines"] == "__" and match["slanted"].islower() and match["slanted"].isidentifier():
        return match[0]  # a name such as __init__
    kept = (
        match["code"]
        or match["link"]
        or match["broken"]
        or match["named"]
        or match["auto"]
        or match["bold"]
        or match["slanted"]
    )
    kept = kept or match["struck"] or match["escaped"] or ""
    return kept if match["code"] else _INLINE.sub(_inline, kept) if kept != match["escaped"] else kept


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text without their marks; a line that was wrapped is joined to the one before."""
    pending, wrapped = "", False
    for raw in text.split("\n"):
        line = raw.strip()
        if len(line) >= 200:
            line = _BLOB.sub(_cut, line)
        if not line or _RULE.match(line) or line in ("-", "*", "|"):
            wrapped = False
            continue
        heading = _HEADING.match(line) if line[0] == "#" else None
        bullet = _BULLET.match(line)
        row = "|" in line and (line[0] == "|" or " | " in line)
        if line[0] == ">":
            line = line.lstrip("> ")
        if heading:
            title = heading[1] or heading[2] or ""
            line = title if title.endswith((".", ":", "?", "!")) or not title else f"{title}:"
        elif bullet:
            indent = min(len(raw) - len(raw.lstrip()), 12) // 2 * "  " if pending else ""
            line = indent + (f"{bullet[1]} " if bullet[1] else "- ") + " ".join(line[bullet.end() :].split())
        elif row:
            line = " | ".join(" ".join(cell.split()) for cell in line.strip("|").split("|")).strip(" |")
        else:
            line = " ".join(line.split())
        if wrapped and not (heading or bullet or row):
            pending = f"{pending} {line}"
        else:
            if pending:
                yield pending
            pending = line
        wrapped = not (heading or row or raw.endswith("  ")) and len(raw.strip()) >= _WRAPPED
    if pending:
        yield pending


_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!\bvs\.)(?<!cf\.)[ \t]+(?=[A-Z`\"(\[-])|\n+|(?<=[。！？])"
)
_CLAUSE_END = re.compile(r"(?<=[,;:)])\s+(?=\S)|\s+(?=[-–—] )|\s+(?=(?:and|or|but|which|where|when|because|if) )")


@lru_cache(maxsize=50_000)
def shorten(text: str, longest: int) -> str:
    """Return the leading sentences, list items and table rows of a text that fit into ``longest`` characters, at least one.

    A cut never falls inside a fenced block of code, nor right after a line that introduces what follows ("One of:").
    Only a first sentence of more than three times ``longest`` is cut: at the end of a clause, else at a blank, with `` ...``.
    """
    if len(text) <= longest:
        return text
    end = 0
    for at in _ends(text):
        if at > longest and end:
            break
        if at > longest or not text[:at].endswith(":"):
            end = at
        if end > longest:
            break
    short = text[:end] if end else text
    if len(short) <= 3 * longest:
        return short
    clause = 0
    for match in _CLAUSE_END.finditer(text, 0, longest):
        clause = match.start()
    if clause < longest // 3:
        clause = text.rfind(" ", 0, longest)
    return text[: clause if clause > 0 else longest] + " ..."


def _ends(text: str) -> Iterator[int]:
    """Yield where a text may be cut: after sentences and lines, outside of fenced code."""
    fences = [match.span() for match in _FENCE.finditer(text)] if "```" in text else []
    for match in _SENTENCE_END.finditer(text):
        at = match.start()
        if at and not any(start < at < end for start, end in fences):
            yield at
