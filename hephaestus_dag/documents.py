"""The document table: one schema for everything the corpus holds, written and read as Parquet shards.

A folder of documents looks like this::

    documents/part-00000.parquet     id, text, domain, kind, source, origin, license
    rejects.parquet                  what could not become a document: source, origin, position, reason

Scores and decisions about documents live in tables of their own, beside these and joined by ``id``.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

Domain = Literal["agent", "code", "text"]
DOMAINS: tuple[Domain, ...] = ("agent", "code", "text")

COLUMNS = ("id", "text", "domain", "kind", "source", "origin", "license", "provider", "api", "signatures", "format")
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
REJECT_SCHEMA = pa.schema([(name, pa.string()) for name in ("source", "origin", "position", "reason")])


def document_id(text: str) -> str:
    """Return the identity of a document: 128 bits of BLAKE2b over its UTF-8 text, as 32 hex digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text of the corpus and where it came from."""

    text: str
    """The document itself, as a model will read it."""
    domain: Domain
    """The paper's three-way split of the mixture."""
    kind: str
    """What sort of document it is, for example ``api_documentation`` or ``trajectory``."""
    source: str
    """Name of the source in the recipe that produced it."""
    origin: str
    """Where exactly it came from: package and version or path, then the position inside."""
    license: str
    """SPDX identifier, or ``unknown``."""
    provider: str = ""
    """Who publishes what the document is about, so that nobody dominates: ``amazonaws.com``, ``numpy``."""
    api: str = ""
    """The operation that is described, the same in all its versions: ``stripe.com GET /v1/charges``."""
    signatures: str = ""
    """Functions that are described or called, one a line: ``create_charge(amount,currency)``, see `signature`."""
    format: str = ""
    """How it is written, where that was drawn: ``reference``, ``signature``, ``schema``, ..."""

    @property
    def id(self) -> str:
        """Hash of the text."""
        return document_id(self.text)


def signature(name: str, parameters: Iterable[str]) -> str:
    """Return what tells a function from others: its name and its parameters' names, sorted, in snake case and lower case."""
    return f"{_snake(name)}({','.join(sorted({_snake(parameter) for parameter in parameters}))})"


def _snake(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Something that could not become a document, set aside with its reason."""

    source: str
    origin: str
    position: str
    """Where in the origin: ``line 12``, ``byte 4096``, ``operation CreateUser``, or ``file``."""
    reason: str


def document_batch(documents: Sequence[Document]) -> pa.RecordBatch:
    """Return documents as one record batch of ``SCHEMA``."""
    columns = {name: [getattr(d, name) for d in documents] for name in SCHEMA.names}
    return pa.record_batch(columns, schema=SCHEMA)


class DocumentWriter:
    """Writes documents and rejects into a folder, in shards, and counts them.

    Use it as a context manager; the last shard and the rejects table are written on a clean exit.
    """

    def __init__(self, folder: Path, documents_per_shard: int = 20_000) -> None:
        self.folder = folder
        self.documents_per_shard = documents_per_shard
        self.num_documents = 0
        self.num_characters = 0
        self.by_kind: Counter[str] = Counter()
        self.by_source: Counter[str] = Counter()
        self.rejects: list[Reject] = []
        self._pending: list[pa.RecordBatch] = []
        self._num_pending = 0
        self._num_shards = 0
        (folder / "documents").mkdir(parents=True, exist_ok=True)

    def write(self, items: Iterable[Document | Reject]) -> None:
        """Write documents, and set rejects aside."""
        documents: list[Document] = []
        for item in items:
            if isinstance(item, Reject):
                self.rejects.append(item)
            else:
                documents.append(item)
            if len(documents) >= 2_000:
                self.write_batch(document_batch(documents))
                documents = []
        if documents:
            self.write_batch(document_batch(documents))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write a record batch of ``SCHEMA``."""
        if not batch.num_rows:
            return
        self.num_documents += batch.num_rows
        self.num_characters += sum(len(text) for text in batch.column("text").to_pylist())
        self.by_kind.update(batch.column("kind").to_pylist())
        self.by_source.update(batch.column("source").to_pylist())
        self._pending.append(batch)
        self._num_pending += batch.num_rows
        if self._num_pending >= self.documents_per_shard:
            self._flush()

    def _flush(self) -> None:
        path = self.folder / "documents" / f"part-{self._num_shards:05d}.parquet"
        pq.write_table(pa.Table.from_batches(self._pending, SCHEMA), path, compression="zstd")
        self._num_shards += 1
        self._pending, self._num_pending = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            if self._pending or not self._num_shards:
                self._flush()
            write_rejects(self.folder / "rejects.parquet", self.rejects)


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """Write the rejects table."""
    rows = [dict(zip((f.name for f in fields(Reject)), astuple(r), strict=True)) for r in rejects]
    pq.write_table(pa.Table.from_pylist(rows, REJECT_SCHEMA), path, compression="zstd")


def document_files(folder: Path) -> list[str]:
    """Return the document shards of a folder, in order.

    Raises FileNotFoundError when the folder holds none.
    """
    files = sorted(str(path) for path in (folder / "documents").glob("part-*.parquet"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no document shards (documents/part-*.parquet)")
    return files


def read_documents(folder: Path, columns: Sequence[str] | None = None, batch_size: int = 4_096) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a folder in record batches, in the order they were written."""
    for file in document_files(folder):
        yield from pq.ParquetFile(file).iter_batches(batch_size, columns=list(columns) if columns else None, use_threads=False)


def read_document_table(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return all documents of a folder as one table."""
    files = map(pq.ParquetFile, document_files(folder))
    return pa.concat_tables(file.read(columns=list(columns) if columns else None) for file in files)


def sample_texts(folder: Path, count: int) -> list[str]:
    """Return the texts of ``count`` documents of a folder (all, when it has fewer), drawn by the hash of their id."""
    ids = read_document_table(folder, ["id"])["id"].to_pylist()
    drawn = set(sorted(set(ids), key=lambda i: hashlib.blake2b(i.encode(), digest_size=8).digest())[:count])
    return [
        text
        for batch in read_documents(folder, ["id", "text"])
        for document_id, text in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
        if document_id in drawn
    ]


def count_documents(folder: Path) -> int:
    """Return the number of documents in a folder."""
    return sum(pq.read_metadata(file).num_rows for file in document_files(folder))
