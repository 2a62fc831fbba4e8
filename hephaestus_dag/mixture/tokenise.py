"""Turn documents into a token store."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from hephaestus_dag.documents import document_files
from hephaestus_dag.mixture.config import TokenStoreConfig, TrainTokenizerConfig
from hephaestus_dag.mixture.store import MixtureError, Split, StreamWriter, token_dtype, write_store
from hephaestus_dag.mixture.tokenizer import load_tokenizer

BATCH_DOCUMENTS = 512


def sample_texts(document_folders: Sequence[Path], config: TrainTokenizerConfig) -> Iterator[str]:
    """Yield documents of all folders in a seeded order, as `train_tokenizer` wants them: an even sample of the corpus."""
    for batch in _shuffled(document_folders, config.seed, "text"):
        yield from batch.column("text").to_pylist()


def tokenise_documents(
    document_folders: Path | Sequence[Path],
    tokenizer_folder: Path,
    folder: Path,
    config: TokenStoreConfig,
    progress: Callable[[int, int], None] | None = None,
    weights: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Write the token store of some documents: per domain a training stream and a held-out stream.

    ``weights`` holds the weight of a source where it is not 1; the training documents of each weight make a stream of
    their own.

    Documents come in the order of a seeded hash of their id, so ``max_tokens_per_domain`` takes the same share of every
    source; each is followed by the tokenizer's end-of-text token (and preceded by its first token where it sets one). Text
    that spells a special token is encoded as plain text. Memory holds one batch of documents: the order is made by an
    external sort.

    Returns counts per stream, and the documents left out by reason. Raises MixtureError when a stream's end-of-text
    tokens do not match its documents.
    """
    folders = [document_folders] if isinstance(document_folders, Path) else list(document_folders)
    encode = Encoder(tokenizer_folder)
    writers: dict[tuple[str, Split, float], StreamWriter] = {}
    left_out = {"empty": 0, "heldout_limit": 0, "token_limit": 0}
    done, total = 0, _count(folders)
    for domain, split, weight, identities, texts, sizes in _runs(folders, config, weights or {}):
        writer = writers.get((domain, split, weight))
        if writer is None:
            writer = writers[domain, split, weight] = StreamWriter(folder, domain, split, encode.dtype, weight=weight)
        before = sum(other.tokens for other in writers.values() if other.domain == domain and other.split == "train")
        before -= writer.tokens if split == "train" else 0
        limit = config.max_tokens_per_domain and config.max_tokens_per_domain - before
        kept = _within_limits(writer, config, limit, texts, left_out)
        for row, tokens in zip(kept, encode([texts[row] for row in kept]), strict=True):
            if split == "train" and limit is not None and writer.tokens >= limit:
                left_out["token_limit"] += 1
                continue
            writer.record(identities[row], writer.tokens, len(tokens), sizes[row])
            writer.append(tokens)
        done += len(texts)
        if progress:
            progress(done, total)
    streams = write_store(folder, encode.vocab_size, list(writers.values()))
    return {"documents": done, "left_out": left_out, "streams": {name: asdict(stream) for name, stream in streams.items()}}


class Encoder:
    """Encodes documents for a token store, on all of the tokenizer's own threads."""

    def __init__(self, tokenizer_folder: Path) -> None:
        tokenizer = load_tokenizer(tokenizer_folder)
        self.vocab_size = len(tokenizer)
        self.dtype = token_dtype(self.vocab_size)
        self.end: int = tokenizer.eos_token_id
        wants_start = tokenizer.bos_token_id is not None and tokenizer("a").input_ids[0] == tokenizer.bos_token_id
        self.start = np.array([tokenizer.bos_token_id] if wants_start else [], self.dtype)
        self._backend = tokenizer.backend_tokenizer
        self._backend.encode_special_tokens = True
        self._backend.no_truncation()
        self._backend.no_padding()

    def __call__(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the tokens of each document, its end-of-text token included.

        Raises MixtureError when the end-of-text token stands anywhere else than at the end.
        """
        end = np.array([self.end], self.dtype)
        for text, encoding in zip(texts, self._backend.encode_batch_fast(texts, add_special_tokens=False), strict=True):
            tokens = np.concatenate([self.start, np.array(encoding.ids, self.dtype), end])
            if np.count_nonzero(tokens == self.end) != 1:
                raise MixtureError(f"the end-of-text token {self.end} stands inside the document that begins {text[:60]!r}")
            yield tokens


def _within_limits(
    writer: StreamWriter, config: TokenStoreConfig, limit: int | None, texts: Sequence[str], left_out: dict[str, int]
) -> list[int]:
    """Return the rows of a batch that are worth encoding, and count the others."""
    kept = [row for row, text in enumerate(texts) if text]
    left_out["empty"] += len(texts) - len(kept)
    if writer.split == "heldout":
        room = len(kept) if config.max_heldout_documents is None else config.max_heldout_documents - writer.documents
        reason = "heldout_limit"
    else:
        full = limit is not None and writer.tokens >= limit
        room, reason = (0 if full else len(kept)), "token_limit"
    left_out[reason] += max(len(kept) - room, 0)
    return kept[:room]


def _runs(
    folders: Sequence[Path], config: TokenStoreConfig, weights: Mapping[str, float]
) -> Iterator[tuple[str, Split, float, list[str], list[str], list[int]]]:
    """Yield ``(domain, split, weight, ids, texts, UTF-8 sizes)`` in batches that lie within one stream each.

    The streams of a domain take turns, batch by batch.
    """
    heldout = f"(('0x' || left(id, 8))::UINTEGER / 4294967296.0 < {config.heldout_share!r})"
    given = "".join(f" WHEN source = '{source}' THEN {weight!r}" for source, weight in sorted(weights.items()))
    weight = f"(CASE WHEN {heldout} THEN 1.0{given} ELSE 1.0 END)::DOUBLE"
    columns = f"domain, {heldout} AS heldout, {weight} AS weight, id, text, strlen(text) AS size"
    for batch in _shuffled(folders, config.seed, columns, first_by="domain, heldout, "):
        streams = list(zip(*(batch.column(name).to_pylist() for name in ("domain", "heldout", "weight")), strict=True))
        for stream in dict.fromkeys(streams):
            run = batch.take(pa.array([row for row, other in enumerate(streams) if other == stream]))
            ids, texts, sizes = (run.column(name).to_pylist() for name in ("id", "text", "size"))
            domain, is_heldout, weight_of_run = stream
            yield domain, "heldout" if is_heldout else "train", weight_of_run, ids, texts, sizes


def _shuffled(folders: Sequence[Path], seed: int, columns: str, first_by: str = "") -> Iterator[pa.RecordBatch]:
    """Yield documents sorted by a hash of seed and id, inside groups where ``first_by`` says so; the sort spills to disk."""
    files = [file for folder in folders for file in document_files(folder)]
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as connection:
        connection.execute("SET temp_directory = ?", [scratch])
        query = f"SELECT {columns} FROM read_parquet(?) ORDER BY {first_by}md5(? || id), id"
        yield from connection.sql(query, params=[files, f"{seed}:"]).to_arrow_reader(BATCH_DOCUMENTS)


def _count(folders: Sequence[Path]) -> int:
    import pyarrow.dataset as ds

    return sum(ds.dataset(document_files(folder)).count_rows() for folder in folders)
