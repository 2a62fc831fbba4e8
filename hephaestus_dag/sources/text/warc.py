"""Web crawls: HTML responses of WARC files, and the plain text of WET files, one document per record."""

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.naming import site_of
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.reading.html_text import decode
from hephaestus_dag.sources.text.html_pages import LARGEST_PAGE, page_documents, prose_documents

_SUFFIXES = tuple(f".{kind}{packed}" for kind in ("warc", "wet") for packed in ("", ".gz", ".zst"))
_WANTED = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
"""Records that hold a page, or the text that a crawler took from one."""
_HTML = ("text/html", "application/xhtml+xml")
_TEXT = "text/plain"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per archive."""
    return list_files(config, _SUFFIXES)


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield pages and texts, with the byte of their record and their address in the origin; what is neither is set aside."""
    root, file = locate(config, item)
    position, announced, records = 0, 0, 0
    held: list[Document | Reject] = []  # of the last record: whether the archive has all of it shows only at the end
    with (root.folder / file).open("rb") as stream:
        try:
            for record in ArchiveIterator(stream, record_types=_WANTED, parse_http=True, auto_decode="all"):
                yield from held
                position, records = record.stream_pos, records + 1
                length = record.headers.get("Content-Length") or ""
                announced = int(length) if length.isdecimal() else 0
                held = []
                held = list(_read(config, f"{item}/byte {position}", record, root.license))
            missing = _missing(cast(BinaryIO, stream), position, announced)
        except (OSError, ValueError, EOFError, RuntimeError) as error:
            yield from held
            yield reject(config, item, f"byte {position}", f"damaged: {type(error).__name__}: {error}")
            return
    if missing == "record":
        yield reject(config, item, f"byte {position}", "damaged: ends inside of this record")
        return
    yield from held
    if missing:
        yield reject(config, item, f"after byte {position}", "damaged: ends inside of a record")
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
    provider = site_of(address)
    if media in _HTML:
        yield from page_documents(config, origin, content, license=license, provider=provider, charset=record.http_charset)
    else:
        yield from prose_documents(config, origin, decode(content, record.http_charset), license=license, provider=provider)


def _missing(stream: BinaryIO, position: int, announced: int) -> str:
    """Return ``record`` when the archive stops inside of the record at ``position``, ``end`` when later, else nothing.

    The iterator ends as if all were well, even in the middle of a record's headers. So what follows ``position``, little more
    than one record, is read again: it holds headers, ``announced`` bytes, and ends with an empty line.
    """
    try:
        stream.seek(position)
        magic = stream.read(4)
        stream.seek(position)
    except (OSError, ValueError):  # a server that does not serve ranges
        return ""
    read = stream.read
    if magic.startswith(_GZIP):
        read = gzip.GzipFile(fileobj=stream).read1  # gives what is there before it fails
    elif magic == _ZSTD:
        read = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd").read
    size, wanted, end, torn = 0, announced, b"", False
    try:
        while piece := read(8_192):
            wanted += 0 if size else piece.find(b"\r\n\r\n") + 4
            size, end = size + len(piece), (end + piece)[-3:]
    except (OSError, EOFError, zlib.error):
        torn = True
    if size < wanted:
        return "record"
    return "end" if torn or not end.endswith((b"\n\r\n", b"\n\n")) else ""


def _is_text(record: WarcRecord) -> bool:
    return record.record_type == WarcRecordType.conversion


def _is_packed(record: WarcRecord) -> bool:
    headers = record.http_headers
    return headers is not None and bool(headers.get("Content-Encoding") or headers.get("Transfer-Encoding"))
