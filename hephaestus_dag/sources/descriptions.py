"""Descriptions as vendors write them, turned into plain text of bounded length."""

import re
from functools import lru_cache
from html import unescape

_BLOCK = re.compile(r"</?(?:p|br|ul|ol|dl|dd|div|pre|para|table|tr|h[1-6]|section|fullname|title)\b[^>]*>", re.IGNORECASE)
_ITEM = re.compile(r"<(?:li|dt)\b[^>]*>\s*(?:<p>)?", re.IGNORECASE)
_CODE = re.compile(r"</?(?:code|tt|kbd|samp|literal)>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|b|i|u|em|strong|span|font|small|sup|sub|li|dt|td|th|thead|tbody|note|important|caution|warning|tip|example|examples|"
    r"replaceable|function|text|zonbook|xhtml|link|ulink|xref|body|html|img|var|q|s|del|ins|abbr|cite)\b[^>]*>",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?:])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z`\"(-])")


@lru_cache(maxsize=50_000)
def clean_html(text: str) -> str:
    """Return documentation that is written in HTML as plain text: lists as ``- ``, code in backticks, blocks on lines.

    Only tags of HTML are taken away, so ``<bucket-name>`` stays.
    """
    if "<" in text:
        text = _CODE.sub("`", " ".join(text.split()))
        text = _TAG.sub("", _BLOCK.sub("\n", _ITEM.sub("\n- ", text)))
    lines = (" ".join(line.split()) for line in unescape(text).splitlines())
    return "\n".join(line for line in lines if line and line != "-").replace("``", "`")


@lru_cache(maxsize=50_000)
def shorten(text: str, longest: int) -> str:
    """Return the leading sentences of a text that fit into ``longest`` characters, at least the first sentence.

    Only a first sentence of more than three times that is cut, at a blank.
    """
    if len(text) <= longest:
        return text
    end = 0
    for match in _SENTENCE_END.finditer(text):
        if match.start() > longest and end:
            break
        end = match.start()
        if end > longest:
            break
    short = text[:end] if end else text
    if len(short) <= 3 * longest:
        return short
    blank = text.rfind(" ", 0, longest)
    return text[: blank if blank > 0 else longest] + " ..."
