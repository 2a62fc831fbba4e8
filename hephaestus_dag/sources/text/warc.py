"""Web crawls: HTML responses of WARC files, and the plain text of WET files, one document per record."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.reading.html_text import decode
from hephaestus_dag.sources.text.html_pages import LARGEST_PAGE, page_documents, prose_documents

_SUFFIXES = tuple(f".{kind}{packed}" for kind in ("warc", "wet") for packed in ("", ".gz", ".zst"))
_WANTED = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
"""Records that hold a page, or the text that a crawler took from one."""
_HTML = ("text/html", "application/xhtml+xml")
_TEXT = "text/plain"


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per archive."""
    return list_files(config, _SUFFIXES)


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield pages and texts, with the byte of their record and their address in the origin; what is neither is set aside."""
    root, file = locate(config, item)
    position, records = 0, 0
    with (root.folder / file).open("rb") as stream:
        try:
            for record in ArchiveIterator(stream, record_types=_WANTED, parse_http=True, auto_decode="all"):
                position, records = record.stream_pos, records + 1
                yield from _read(config, f"{item}/byte {position}", record, root.license)
        except (OSError, ValueError, EOFError, RuntimeError) as error:
            yield reject(config, item, f"byte {position}", f"damaged: {type(error).__name__}: {error}")
            return
    if not records:
        yield reject(config, item, "file", "empty: no response and no text in this archive")


def _read(config: SourceConfig, place: str, record: WarcRecord, license: str) -> Iterator[Document | Reject]:
    address = (record.headers.get("WARC-Target-URI") or "").strip("<>")
    origin = f"{place}/{address}".encode(errors="replace").decode()
    status = record.http_headers.status_code if record.http_headers else None
    if status is not None and status != 200:
        yield reject(config, origin, "record", f"HTTP {status}")
        return
    declared = record.http_content_type or record.headers.get("Content-Type") or (_TEXT if _is_text(record) else "")
    media = declared.partition(";")[0].strip().lower()
    if media not in (*_HTML, _TEXT):
        yield reject(config, origin, "record", f"not HTML: {media or 'no content type'}")
        return
    announced = record.content_length  # after the HTTP headers; packed, where the page was sent packed
    content = record.reader.read(LARGEST_PAGE + 1) if record.reader else b""
    if len(content) < min(announced, LARGEST_PAGE) and not _is_packed(record):
        yield reject(config, origin, "record", f"damaged: ends after {len(content)} of {announced} bytes")
        return
    provider = _host(address)
    if media in _HTML:
        yield from page_documents(config, origin, content, license=license, provider=provider, charset=record.http_charset)
    else:
        yield from prose_documents(config, origin, decode(content, record.http_charset), license=license, provider=provider)


def _is_text(record: WarcRecord) -> bool:
    return record.record_type == WarcRecordType.conversion


def _is_packed(record: WarcRecord) -> bool:
    headers = record.http_headers
    return headers is not None and bool(headers.get("Content-Encoding") or headers.get("Transfer-Encoding"))


def _host(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").removeprefix("www.").encode(errors="replace").decode()
    except ValueError:  # no address at all
        return ""
