"""The token store: what its folder holds, and how to read it.

::

    streams/<name>.bin        tokens, little endian, uint16 (vocabulary of at most 65,536 entries) or uint32
    streams/<name>.mask.bin   instruction data only: uint8 per token, 1 where the token is a target of the loss
    ledger.parquet            document_id, stream, domain, split, source, offset, length (in tokens), by stream and offset
    store.json                dtype, vocabulary size, digest of the tokenizer, hash of the ledger, and for each stream what
                              `Stream` has; its own hash is that of the whole store

A domain has one training stream for each source of documents, and one held-out stream of all its sources.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Split = Literal["train", "heldout"]

LEDGER_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("stream", pa.string()),
        ("domain", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)

ROWS_AT_ONCE = 65_536


class MixtureError(ValueError):
    """Token stores, a mixture, or its configuration do not fit together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream of a token store, as store.json describes it."""

    domain: str
    split: Split
    source: str | None
    """Source of all its documents; None when they may come from several."""
    tokens: int
    documents: int
    bytes: int
    """UTF-8 bytes of the text; in a masked stream, of the text that is a target of the loss."""
    masked: bool
    sha256: str
    """Of the token file."""
    sequence_length: int | None = None
    """Length of the packed sequences; None when any window of the stream will do."""
    target_tokens: int | None = None
    """Tokens that are targets of the loss, in a masked stream."""
    mask_sha256: str | None = None
    """Of the mask file, in a masked stream."""

    @property
    def bytes_per_target(self) -> float:
        """UTF-8 bytes per token of the loss: ``loss / ln 2 / bytes_per_target`` is bits per byte."""
        return self.bytes / max(self.tokens if self.target_tokens is None else self.target_tokens, 1)


def stream_name(domain: str, split: Split, source: str | None = None) -> str:
    """Return the name of a stream, which is a file name: ``agent``, ``agent.heldout``, or ``agent.train.docs`` for a source."""
    if split == "heldout":
        return f"{domain}.heldout"
    return f"{domain}.train.{quote(source, safe='')}" if source else domain


def is_heldout(identity: str, share: float) -> bool:
    """Say whether a document id belongs to the held-out split: the first 32 bits of the hash decide."""
    return int(identity[:8], 16) / 2**32 < share


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the little-endian type that holds a vocabulary."""
    return np.dtype("<u2" if vocab_size <= 65_536 else "<u4")


class TokenStore:
    """A token store opened for reading.

    Raises FileNotFoundError when the folder is not a token store, MixtureError when a token file has the wrong size.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "store.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} is not a token store: it holds no store.json")
        content = path.read_bytes()
        head = json.loads(content)
        self.folder = folder
        self.fingerprint = hashlib.sha256(content).hexdigest()
        self.vocab_size: int = head["vocab_size"]
        self.tokenizer: str = head["tokenizer"]
        self.ledger_sha256: str | None = head.get("ledger_sha256")
        self.dtype = np.dtype(head["dtype"]).newbyteorder("<")
        self.streams = {name: Stream(**fields) for name, fields in head["streams"].items()}

    def tokens(self, name: str) -> np.ndarray:
        """Return the memory-mapped tokens of a stream, shape [tokens]."""
        return self._map(f"{name}.bin", self.dtype, self.streams[name].tokens)

    def mask(self, name: str) -> np.ndarray | None:
        """Return the memory-mapped loss mask of a stream, uint8 of shape [tokens], or None when every token counts."""
        stream = self.streams[name]
        return self._map(f"{name}.mask.bin", np.dtype("u1"), stream.tokens) if stream.masked else None

    def windows(self, name: str, sequence_length: int, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the first ``count`` windows of a stream (fewer when it is short), as held-out loss wants them.

        The windows do not overlap in their targets: tokens int64 [windows, sequence_length + 1], mask uint8
        [windows, sequence_length] or None.
        """
        count = min(count, max(self.streams[name].tokens - 1, 0) // sequence_length)
        where = np.arange(count)[:, None] * sequence_length + np.arange(sequence_length + 1)
        mask = self.mask(name)
        return self.tokens(name)[where].astype(np.int64), None if mask is None else mask[where[:, 1:]]

    @cached_property
    def ledger(self) -> pa.Table:
        """The ledger of documents."""
        return pq.read_table(self.folder / "ledger.parquet")

    def stream_ledger(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Return the ledger of one stream, sorted by offset; all of its columns, or some."""
        return pq.read_table(self.folder / "ledger.parquet", columns=columns, filters=pc.field("stream") == name)

    def _map(self, file: str, dtype: np.dtype, length: int) -> np.ndarray:
        path = self.folder / "streams" / file
        if path.stat().st_size != length * dtype.itemsize:
            raise MixtureError(
                f"{path} holds {path.stat().st_size} bytes, store.json says {length * dtype.itemsize}; write the store again"
            )
        return np.memmap(path, dtype=dtype, mode="r") if length else np.empty(0, dtype)


class StreamWriter:
    """Writes one stream of a token store, and beside it its ledger, until `write_store` takes that away."""

    def __init__(
        self, folder: Path, domain: str, split: Split, dtype: np.dtype, masked: bool = False, source: str | None = None
    ) -> None:
        self.name = stream_name(domain, split, source)
        self.domain = domain
        self.split: Split = split
        self.source = source or None
        self.dtype = dtype
        self.masked = masked
        self.tokens = self.documents = self.bytes = self.target_tokens = 0
        self._rows: list[tuple[str, str, int, int]] = []
        self._ledger_path = folder / "streams" / f"{self.name}.ledger.arrow"
        self._ledger: pa.ipc.RecordBatchFileWriter | None = None
        self._hash, self._mask_hash = hashlib.sha256(), hashlib.sha256()
        (folder / "streams").mkdir(parents=True, exist_ok=True)
        self._file = (folder / "streams" / f"{self.name}.bin").open("wb")
        self._mask_file = (folder / "streams" / f"{self.name}.mask.bin").open("wb") if masked else None

    def record(self, identity: str, offset: int, length: int, num_bytes: int, source: str = "") -> None:
        """Note that a document lies at an offset of the stream; ``source`` is the stream's where it has one."""
        self._rows.append((identity, self.source or source, offset, length))
        self.documents += 1
        self.bytes += num_bytes
        if len(self._rows) == ROWS_AT_ONCE:
            self._flush()

    def append(self, tokens: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Append tokens, and their mask where the stream has one."""
        content = tokens.astype(self.dtype, copy=False).tobytes()
        self._file.write(content)
        self._hash.update(content)
        self.tokens += len(tokens)
        if self._mask_file is not None:
            assert mask is not None
            content = mask.astype(np.uint8, copy=False).tobytes()
            self._mask_file.write(content)
            self._mask_hash.update(content)
            self.target_tokens += int(mask.sum())

    def close(self, sequence_length: int | None = None) -> Stream:
        """Close the files; return the description of the stream. To close twice does no harm."""
        self._file.close()
        if self._mask_file is not None:
            self._mask_file.close()
        self._flush()
        if self._ledger:
            self._ledger.close()
        return Stream(
            domain=self.domain,
            split=self.split,
            source=self.source,
            tokens=self.tokens,
            documents=self.documents,
            bytes=self.bytes,
            masked=self.masked,
            sha256=self._hash.hexdigest(),
            sequence_length=sequence_length,
            target_tokens=self.target_tokens if self.masked else None,
            mask_sha256=self._mask_hash.hexdigest() if self.masked else None,
        )

    def take_ledger(self) -> Iterator[pa.RecordBatch]:
        """Yield the ledger of a closed stream, and remove its file."""
        if self._ledger:
            with pa.OSFile(str(self._ledger_path)) as file:
                reader = pa.ipc.open_file(file)
                yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
            self._ledger_path.unlink()

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            names = ("document_id", "source", "offset", "length")
            batch = pa.RecordBatch.from_pydict(dict(zip(names, map(list, columns), strict=True)))
            if self._ledger is None:
                self._ledger = pa.ipc.new_file(str(self._ledger_path), batch.schema)
            self._ledger.write_batch(batch)
            self._rows = []


def write_store(
    folder: Path, vocab_size: int, writers: list[StreamWriter], sequence_length: int | None = None, tokenizer: str = ""
) -> dict[str, Stream]:
    """Close the streams and write ledger.parquet and store.json; return the streams by name.

    ``tokenizer`` is the digest of what decides the tokens of a text.
    """
    streams: dict[str, Stream] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(folder / "ledger.parquet", LEDGER_SCHEMA, compression="zstd") as ledger:
        for writer in sorted(writers, key=lambda w: w.name):
            streams[writer.name] = writer.close(sequence_length)
            constant = {"stream": writer.name, "domain": writer.domain, "split": writer.split}
            for batch in writer.take_ledger():
                columns = {name: pa.repeat(value, len(batch)) for name, value in constant.items()}
                columns |= dict(zip(batch.schema.names, batch.columns, strict=True))
                ledger.write_batch(pa.record_batch([columns[name] for name in LEDGER_SCHEMA.names], schema=LEDGER_SCHEMA))
    head = {
        "dtype": token_dtype(vocab_size).name,
        "vocab_size": vocab_size,
        "tokenizer": tokenizer,
        "ledger_sha256": file_sha256(folder / "ledger.parquet"),
        "streams": {name: asdict(stream) for name, stream in streams.items()},
    }
    (folder / "store.json").write_text(json.dumps(head, indent=2, sort_keys=True) + "\n")
    return streams
