"""HTML pages of packages, folders and URLs: the main content of each as Markdown, long ones split at headings."""

from collections.abc import Iterator

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import read_bytes, reject
from hephaestus_dag.sources.reading.html_text import page_text
from hephaestus_dag.sources.reading.splitting import text_documents

SHORTEST = 200
"""Characters below which a page says nothing: redirects, frames, indexes."""
LARGEST_PAGE = 20_000_000
"""Bytes above which a page is set aside."""


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per page."""
    return list_files(config, (".html", ".htm", ".xhtml"))


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield the page, in parts when it is longer than ``max_characters``, or the reason why it is set aside."""
    root, _ = locate(config, item)
    provider = root.pinned[0] if root.pinned else ""
    yield from page_documents(config, item, read_bytes(config, item), license=root.license, provider=provider)


def page_documents(
    config: SourceConfig, origin: str, content: bytes, *, license: str, provider: str, charset: str | None = None
) -> Iterator[Document | Reject]:
    """Yield a page as documents, or the reason why it is set aside."""
    if len(content) > LARGEST_PAGE:
        yield reject(config, origin, "file", f"too large: {len(content)} bytes, the limit is {LARGEST_PAGE}")
        return
    try:
        text = page_text(content, charset)
    except (ValueError, RuntimeError, RecursionError) as error:
        yield reject(config, origin, "file", f"not HTML: {error}")
        return
    yield from prose_documents(config, origin, text, license=license, provider=provider)


def prose_documents(
    config: SourceConfig, origin: str, text: str, *, license: str, provider: str
) -> Iterator[Document | Reject]:
    """Yield the text of a page as documents; one that says nothing is set aside."""
    text = text.strip()
    if 0 < len(text) < SHORTEST:
        yield reject(config, origin, "file", f"too short: {len(text)} characters, a page starts at {SHORTEST}")
    elif text:
        yield from text_documents(config, origin, text, license=license, provider=provider)
    else:
        yield reject(config, origin, "file", "empty: the page has no main content")
