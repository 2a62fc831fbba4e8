"""Rows of JSON, JSON lines, CSV and Parquet files, plain or compressed, and of data sets, in pieces of bounded size."""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import locate
from hephaestus_dag.sources.reading.files import reject

PIECE = 64 << 20
"""Bytes of one unit of work: larger files of JSON lines and Parquet become several."""
LONGEST_LINE = 64 << 20
"""Bytes above which a line is set aside."""
LARGEST_JSON = 1 << 30
"""Bytes above which one JSON value is set aside: it has to be in memory at once."""

_PLAIN = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
SUFFIXES = (*(f"{suffix}{packed}" for suffix in _PLAIN for packed in ("", ".gz", ".zst")), ".parquet")
"""Files that hold records."""
_PIECE = re.compile(r"#(?:bytes|groups)=(\d+)-(\d+)$")
_DAMAGED = (OSError, EOFError, zlib.error, pa.ArrowException, ValueError)
"""What reading a damaged file raises."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row."""

    position: str
    """``line 12`` of a text file, ``byte 4096`` in a piece of a large one, ``row 3`` of a list or table, from 1."""
    value: dict[str, Any]


def list_record_items(config: SourceConfig) -> list[str]:
    """Return one item per file, or per piece of a large one: ``corpus/a.jsonl#bytes=0-67108864``."""
    if config.form == "dataset":
        from hephaestus_dag.sources.reading.dataset_rows import list_shards  # needs the package datasets

        return list_shards(config)
    items: list[str] = []
    for root in config.roots():
        for file, size in root.sizes().items():
            if file.lower().endswith(SUFFIXES):
                items += (root.item(f"{file}{piece}") for piece in _pieces(root.folder / file, size))
    return items


def _pieces(path: Path, size: int) -> Iterator[str]:
    if size <= PIECE or getattr(path, "protocol", "") in ("http", "https"):  # a server need not serve ranges
        yield ""
    elif path.name.lower().endswith((".jsonl", ".ndjson")):
        yield from (f"#bytes={start}-{min(start + PIECE, size)}" for start in range(0, size, PIECE))
    elif path.name.lower().endswith(".parquet"):
        yield from (f"#groups={first}-{last}" for first, last in _row_group_runs(path))
    else:
        yield ""


def _row_group_runs(path: Path) -> list[tuple[int, int]]:
    """Return runs of row groups of at most `PIECE` compressed bytes; everything in one where the file is damaged."""
    try:
        with path.open("rb") as stream:
            footer = pq.ParquetFile(stream).metadata
    except _DAMAGED:
        return [(0, 0)]
    runs: list[tuple[int, int]] = []
    size = 0
    for n in range(footer.num_row_groups):
        group = sum(footer.row_group(n).column(c).total_compressed_size for c in range(footer.num_columns))
        if runs and size + group <= PIECE:
            runs[-1], size = (runs[-1][0], n + 1), size + group
        else:
            runs.append((n, n + 1))
            size = group
    return runs


def file_of(item: str) -> str:
    """Return the file that an item lies in: the item itself, without its piece."""
    return _PIECE.sub("", item)


def read_records(config: SourceConfig, item: str, columns: Sequence[str] | None = None) -> Iterator[Record | Reject]:
    """Yield the rows of an item, and what is malformed as rejects with their line or row.

    A ``.json`` file may hold a list, ``{"data": [...]}``, one object, or lines. ``columns`` limits what is read of the
    formats that store columns, of which the first has to be there; others give all that they hold.
    """
    if config.form == "dataset":
        from hephaestus_dag.sources.reading.dataset_rows import read_shard  # needs the package datasets

        yield from (Record(f"row {n}", row) for n, row in enumerate(read_shard(config, item, columns), 1))
        return
    origin = file_of(item)
    root, file = locate(config, origin)
    match = _PIECE.search(item)
    piece = (int(match[1]), int(match[2])) if match else None
    name = file.lower()
    found: Record | Reject | None = None
    try:
        with (root.folder / file).open("rb") as stream:
            if name.endswith(".parquet"):
                rows = _parquet(config, origin, stream, piece, columns)
            else:
                rows = _text_rows(config, origin, name, cast(BinaryIO, stream), piece)
            for found in rows:
                yield found
    except _DAMAGED as error:
        position = f"after {found.position}" if found else "file"
        yield reject(config, origin, position, f"damaged: {type(error).__name__}: {_short(error)}")
        return
    if not found and not piece:  # a piece may lie inside of one long line
        yield reject(config, origin, "file", "empty: no rows")


def _parquet(
    config: SourceConfig, origin: str, stream: Any, groups: tuple[int, int] | None, columns: Sequence[str] | None
) -> Iterator[Record | Reject]:
    table = pq.ParquetFile(stream, pre_buffer=False)
    known = set(table.schema_arrow.names)
    if columns and known.isdisjoint((columns[0], columns[0].partition(".")[0])):
        names = ", ".join(table.schema_arrow.names)[:200]
        yield reject(config, origin, "file", f"no column {columns[0]!r}: the table has {names}; correct columns")
        return
    first, last = groups or (0, table.num_row_groups)
    end = sum(table.metadata.row_group(n).num_rows for n in range(first))
    wanted = None if columns is None else [name for name in columns if name in known]
    for group in range(first, min(last, table.num_row_groups)):  # each alone, so that a damaged one costs its own rows only
        row, end = end, end + table.metadata.row_group(group).num_rows
        try:
            for batch in table.iter_batches(batch_size=512, row_groups=[group], columns=wanted, use_threads=False):
                for value in batch.to_pylist():
                    row += 1
                    yield Record(f"row {row}", value)
        except _DAMAGED as error:
            yield reject(config, origin, f"rows {row + 1} to {end}", f"damaged: {type(error).__name__}: {_short(error)}")


def _text_rows(
    config: SourceConfig, origin: str, name: str, stream: BinaryIO, piece: tuple[int, int] | None
) -> Iterator[Record | Reject]:
    if name.endswith(".gz"):
        stream, name = cast(BinaryIO, gzip.GzipFile(fileobj=stream)), name[:-3]
    elif name.endswith(".zst"):
        stream, name = cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")), name[:-4]
    lines = io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20)
    if name.endswith((".jsonl", ".ndjson")):
        yield from _json_lines(config, origin, lines, piece)
    elif name.endswith((".csv", ".tsv")):
        yield from _csv(config, origin, lines, "\t" if name.endswith(".tsv") else ",")
    else:
        yield from _json(config, origin, lines)


def _json_lines(
    config: SourceConfig, origin: str, stream: io.BufferedIOBase, piece: tuple[int, int] | None = None
) -> Iterator[Record | Reject]:
    for number, (start, line) in enumerate(_lines(stream, *(piece or (0, None))), 1):
        position = f"byte {start}" if piece else f"line {number}"
        if line is None:
            yield reject(config, origin, position, f"too large: a line of more than {LONGEST_LINE} bytes")
        elif line := line.strip():
            try:
                yield _record(config, origin, position, _parse(line))
            except (ValueError, RecursionError) as error:
                yield reject(config, origin, position, f"not JSON: {_short(error)}")


def _lines(stream: io.BufferedIOBase, start: int, end: int | None) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines that begin in ``start`` to ``end``, with the byte at which they do; None for one that is too long.

    A line belongs to the piece in which it begins, so pieces that touch hold every line exactly once.
    """
    at = start
    if start:
        stream.seek(start - 1)
        at += _skip_line(stream) - 1  # the line in which the piece begins, or the end of the one before it
    while end is None or at < end:
        line = stream.readline(LONGEST_LINE)
        if not line:
            return
        whole = len(line) < LONGEST_LINE or line.endswith(b"\n")
        yield at, (line.removeprefix(codecs.BOM_UTF8) if at == 0 else line) if whole else None
        at += len(line) if whole else len(line) + _skip_line(stream)


def _skip_line(stream: io.BufferedIOBase) -> int:
    skipped = 0
    while part := stream.readline(LONGEST_LINE):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _parse(content: bytes) -> Any:
    """Return JSON; ``NaN`` and ``Infinity``, which Python's own writer produces, are read as null."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        if b"NaN" in content or b"Infinity" in content:
            value = json.loads(content, parse_constant=lambda _: None)
            json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates, as orjson does
            return value
        raise


def _json(config: SourceConfig, origin: str, stream: io.BufferedIOBase) -> Iterator[Record | Reject]:
    content = stream.read(LARGEST_JSON + 1).removeprefix(codecs.BOM_UTF8)
    if len(content) > LARGEST_JSON:
        yield reject(config, origin, "file", f"too large: more than {LARGEST_JSON} bytes of JSON; write it as .jsonl")
        return
    if not content.strip():
        yield reject(config, origin, "file", "empty")
        return
    try:
        value = _parse(content)
    except (ValueError, RecursionError) as error:
        if _opens_with_an_object(content):
            yield from _json_lines(config, origin, io.BufferedReader(cast(io.RawIOBase, io.BytesIO(content))))
        else:
            yield reject(config, origin, f"line {getattr(error, 'lineno', 1)}", f"not JSON: {_short(error)}")
        return
    if isinstance(value, dict):
        value = value["data"] if isinstance(value.get("data"), list) else [value]
    for number, row in enumerate(value if isinstance(value, list) else [value], 1):
        yield _record(config, origin, f"row {number}", row)


def _opens_with_an_object(content: bytes) -> bool:
    """Return whether the first line is an object of its own: JSON lines under the wrong suffix."""
    try:
        return isinstance(_parse(content.lstrip().partition(b"\n")[0]), dict)
    except (ValueError, RecursionError):
        return False


def _csv(config: SourceConfig, origin: str, stream: io.BufferedIOBase, delimiter: str) -> Iterator[Record | Reject]:
    csv.field_size_limit(LONGEST_LINE)  # documents are longer than the default of 128 KiB
    text = io.TextIOWrapper(cast(BinaryIO, stream), "utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.reader(text, delimiter=delimiter)
    names = next(rows, None)
    if not names:
        yield reject(config, origin, "file", "empty")
        return
    if not all(map(_is_text, names)):
        yield reject(config, origin, "line 1", "not UTF-8: the names of the columns")
        return
    if len(set(names)) < len(names):
        yield reject(config, origin, "line 1", f"malformed: the header names a column twice: {', '.join(names)[:200]}")
        return
    start = rows.line_num + 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield reject(config, origin, f"line {start}", f"malformed: {error}")
            start = rows.line_num + 1
            continue
        if row is None:
            return
        if len(row) not in (0, len(names)):
            yield reject(config, origin, f"line {start}", f"malformed: {len(row)} fields, the header has {len(names)}")
        elif row and not all(map(_is_text, row)):
            yield reject(config, origin, f"line {start}", "not UTF-8")
        elif row:
            yield Record(f"line {start}", dict(zip(names, row, strict=True)))
        start = rows.line_num + 1


def _is_text(field: str) -> bool:
    if field.isascii():
        return True
    try:
        field.encode()
    except UnicodeEncodeError:  # a byte that was no UTF-8 became a lone surrogate
        return False
    return True


def _record(config: SourceConfig, origin: str, position: str, value: Any) -> Record | Reject:
    if isinstance(value, dict):
        return Record(position, value)
    return reject(config, origin, position, f"not an object: {type(value).__name__}")


def _short(error: Exception) -> str:
    """Return an error in words, without the path of this machine that an OSError names."""
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)[:200]
