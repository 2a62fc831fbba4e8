"""Turn documents into a token store."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import document_files
from hephaestus_dag.finished_shards import FinishedShards
from hephaestus_dag.mixture.catalogue import Catalogue, catalogue
from hephaestus_dag.mixture.config import TokenStoreConfig, TrainTokenizerConfig
from hephaestus_dag.mixture.encoder import Encoder, EncoderSpec
from hephaestus_dag.mixture.known import document_ends, known_tokens
from hephaestus_dag.mixture.store import Split, StreamWriter, token_dtype, write_store

Map = Callable[[Callable[[Any], Any], list[Any]], Iterable[Any]]

UNIT_BYTES = 32_000_000
"""Text that is encoded between two saves: what a stop can lose, 2 CPU-seconds."""
BATCH_DOCUMENTS = 256
SAMPLE_FILES, SAMPLE_DOCUMENTS, SAMPLE_CHARACTERS = 16, 32, 1_000
"""Real text on which the fast way to encode is compared with `tokenizers` before it is taken."""
OPEN_FILES = 250
"""Files of tokens that are open at once while streams are put together; a map holds its file, and a process may have 1,024."""
BYTES_PER_TOKEN = 3.0
"""First guess, rather low: where it is wrong, the next round knows better."""


def tokenise_documents(
    document_folders: Path | Sequence[Path],
    tokenizer_folder: Path,
    folder: Path,
    config: TokenStoreConfig,
    progress: Callable[[int, int], None] | None = None,
    *,
    work: Path | None = None,
    map: Map = map,
    earlier: Sequence[Path] = (),
) -> dict[str, Any]:
    """Write the token store of some documents: training streams for each domain and source, a held-out one for each domain.

    Documents are encoded in units of a document shard or a part of one, by ``map(function, items)``, which may be that of a
    process pool. Finished units wait in ``work`` (a temporary folder when there is none), so that a stop at any moment costs
    one per process; documents that a token store in ``earlier`` holds, of the same tokenizer, are copied from there.
    Then the streams are put together. The same documents give the same bytes, however they were encoded.

    Documents stand in the order of a seeded hash of their id, so ``max_tokens_per_domain`` takes the same share of every
    source; the last document may exceed it. Each is followed by the tokenizer's end-of-text token (and preceded by its
    beginning-of-text token where it sets one). Memory: about 130 bytes per document, 60 where they are too many
    for memory (see `catalogue`), and a unit of tokens per process.

    Returns counts per stream, the documents left out by reason, and where tokens came from: encoded, taken over from
    ``earlier``, resumed from ``work``; documents that were encoded may still be left out. Raises MixtureError when the
    end-of-text token stands inside a document, ValueError when a document shard cannot be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folders = [document_folders] if isinstance(document_folders, Path) else list(document_folders)
        place = work or Path(scratch)
        (place / "catalogue").mkdir(parents=True, exist_ok=True)
        documents = catalogue(folders, config.seed, place / "catalogue", map)
        spec = EncoderSpec.of(tokenizer_folder, place, _sample(documents.files))
        tokens = _Tokens(documents, spec, progress)
        if earlier:
            tokens.take_over(earlier)
        chosen, left_out = _choose(documents, config, lambda rows: tokens.encode(rows, place, map))
        writers = [w for domain, split, rows in chosen for w in _streams(documents, domain, split, rows, folder, tokens)]
        streams = write_store(folder, spec.vocab_size, writers, tokenizer=spec.digest)
    if progress:
        progress(len(documents.rows), len(documents.rows))
    return {
        "documents": len(documents.rows),
        "left_out": left_out,
        **tokens.counts,
        "encoder": spec.name,
        "streams": {name: asdict(stream) for name, stream in streams.items()},
    }


def sample_texts(document_folders: Sequence[Path], config: TrainTokenizerConfig) -> Iterator[str]:
    """Yield documents of all folders in a seeded order, as `train_tokenizer` wants them: an even sample of the corpus."""
    files = [file for folder in document_folders for file in document_files(folder)]
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as connection:
        connection.execute("SET temp_directory = ?", [scratch])
        query = "SELECT text FROM read_parquet(?) ORDER BY md5(? || id), id"
        for batch in connection.sql(query, params=[files, f"{config.seed}:"]).to_arrow_reader(BATCH_DOCUMENTS):
            yield from batch.column("text").to_pylist()


class _Tokens:
    """The tokens of documents: parts of finished units and of streams of earlier stores."""

    def __init__(self, documents: Catalogue, spec: EncoderSpec, progress: Callable[[int, int], None] | None) -> None:
        self.documents, self.spec, self.progress = documents, spec, progress
        self.dtype = token_dtype(spec.vocab_size)
        self._parts: list[Callable[[], np.ndarray]] = []
        self._part = lru_cache(maxsize=OPEN_FILES)(lambda part: self._parts[part]().view(np.ndarray))
        self.counts: dict[str, int] = dict.fromkeys(("encoded", "taken_over", "resumed"), 0)

    def take_over(self, earlier: Sequence[Path]) -> None:
        """Note which documents earlier stores hold."""
        for tokens, rows, offsets, lengths in known_tokens(self.documents.rows["id"], earlier, self.spec):
            fresh = self.documents.rows["part"][rows] < 0
            self._place("taken_over", tokens, rows[fresh], offsets[fresh], lengths[fresh])

    def encode(self, rows: np.ndarray, work: Path, map: Map) -> None:
        """Encode those of some documents that are nowhere yet."""
        catalogued = self.documents.rows
        units = list(_units(self.documents, rows[catalogued["part"][rows] < 0]))
        finished = FinishedShards(work, [self.spec.digest])
        paths = [finished.find(self.documents.identities(unit)) for unit in units]
        missing = [unit for unit, path in zip(units, paths, strict=True) if not path]
        jobs = [(self.documents.files[catalogued["file"][unit[0]]], catalogued["row"][unit]) for unit in missing]
        encoded = iter(map(partial(_encode_unit, self.spec, work), jobs) if jobs else ())
        for unit, path in zip(units, paths, strict=True):
            tokens = partial(np.load, path or next(encoded), mmap_mode="r")
            ends = document_ends(tokens(), self.spec.borders)
            offsets = np.concatenate([[0], ends[:-1]])
            self._place("resumed" if path else "encoded", tokens, unit, offsets, ends - offsets)

    def of(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the tokens of some documents."""
        for part, offset, length in self.documents.rows[["part", "offset", "length"]][rows].tolist():
            yield self._part(part)[offset : offset + length]

    def _place(
        self, how: str, tokens: Callable[[], np.ndarray], rows: np.ndarray, offsets: np.ndarray, lengths: np.ndarray
    ) -> None:
        for field, values in (("part", len(self._parts)), ("offset", offsets), ("length", lengths)):
            self.documents.rows[field][rows] = values
        self._parts.append(tokens)
        self.counts[how] += len(rows)
        if self.progress:
            self.progress(sum(self.counts.values()), len(self.documents.rows))


def _choose(
    documents: Catalogue, config: TokenStoreConfig, encode: Callable[[np.ndarray], None]
) -> tuple[list[tuple[str, Split, np.ndarray]], dict[str, int]]:
    """Have documents encoded until all limits are met; return domain, split and rows of what is taken, and what is left out.

    How many documents make ``max_tokens_per_domain`` is known only once they are encoded: from what is known of the first
    ones it is estimated how many will do, until they do.
    """
    sizes, lengths = documents.rows["size"], documents.rows["length"]
    heldout, cap = documents.heldout(config.heldout_share), config.max_tokens_per_domain
    left_out = {"empty": int((sizes == 0).sum()), "heldout_limit": 0, "token_limit": 0}
    domains = sorted({domain for domain, _ in documents.kinds})
    chosen: list[tuple[str, Split, np.ndarray]] = []
    for domain in domains:
        mine = documents.of_domain(domain) & (sizes > 0)
        rows = np.flatnonzero(mine & heldout)
        chosen.append((domain, "heldout", rows[: config.max_heldout_documents]))
        left_out["heldout_limit"] += len(rows) - len(chosen[-1][2])
        chosen.append((domain, "train", np.flatnonzero(mine & ~heldout)))

    known: list[int] = []
    wanted = [0] * len(chosen)
    while known != wanted:
        known = wanted
        wanted = [
            len(rows) if cap is None or split != "train" else _enough(sizes[rows], lengths[rows[:count]], cap)
            for count, (_, split, rows) in zip(known, chosen, strict=True)
        ]
        encode(np.concatenate([rows[:count] for count, (_, _, rows) in zip(wanted, chosen, strict=True)]))

    for place, (domain, split, rows) in enumerate(chosen):
        if split == "train" and cap is not None:
            before = np.concatenate([[0], np.cumsum(lengths[rows[: wanted[place]]])])[:-1]
            chosen[place] = (domain, split, rows[: np.count_nonzero(before < cap)])
            left_out["token_limit"] += len(rows) - len(chosen[place][2])
    return chosen, left_out


def _enough(sizes: np.ndarray, lengths: np.ndarray, cap: int) -> int:
    """Return how many of the first documents are likely to have ``cap`` tokens, when the lengths of the first are known."""
    known, tokens = len(lengths), int(lengths.sum())
    if tokens >= cap:
        return known
    rate = float(sizes[:known].sum() / tokens) if tokens else BYTES_PER_TOKEN
    missing = (cap - tokens + cap / 50) * rate
    return min(known + 1 + int(np.searchsorted(np.cumsum(sizes[known:]), missing)), len(sizes))


def _units(documents: Catalogue, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Divide documents into units of one file each, in the order of the file."""
    files, places, sizes = (documents.rows[field][rows] for field in ("file", "row", "size"))
    order = np.lexsort([places, files])
    rows, files, sizes = rows[order], files[order], sizes[order]
    for start, end in pairwise([0, *(np.flatnonzero(np.diff(files)) + 1).tolist(), len(rows)]):
        number = np.cumsum(sizes[start:end]) // UNIT_BYTES
        yield from (unit for unit in np.split(rows[start:end], np.flatnonzero(np.diff(number)) + 1) if len(unit))


def _encode_unit(spec: EncoderSpec, work: Path, job: tuple[str, np.ndarray]) -> Path:
    """Encode rows of a document shard, and return the file of their tokens."""
    file, rows = job
    encode, ids, tokens, first = _encoder(spec), [], [], 0
    for batch in pq.ParquetFile(file).iter_batches(BATCH_DOCUMENTS, columns=["id", "text"], use_threads=False):
        here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(batch))] - first
        first += len(batch)
        if len(here):
            taken = batch.take(pa.array(here))
            ids += taken.column("id").to_pylist()
            tokens.append(np.concatenate(encode(taken.column("text").to_pylist())))
        if first > rows[-1]:
            break
    return FinishedShards(work, [spec.digest]).save(ids, np.concatenate(tokens))


@lru_cache(maxsize=1)
def _encoder(spec: EncoderSpec) -> Encoder:
    return Encoder(spec)


def _sample(files: Sequence[str]) -> list[str]:
    """Return the beginnings of some documents of some shards."""
    texts: list[str] = []
    for file in files[:: -(-len(files) // SAMPLE_FILES) or 1]:
        batch = next(pq.ParquetFile(file).iter_batches(SAMPLE_DOCUMENTS, columns=["text"], use_threads=False), None)
        texts += [] if batch is None else [text[:SAMPLE_CHARACTERS] for text in batch.column("text").to_pylist()]
    return texts


def _streams(
    documents: Catalogue, domain: str, split: Split, rows: np.ndarray, folder: Path, tokens: _Tokens
) -> Iterator[StreamWriter]:
    """Write the streams of one split of a domain: for training one for each source."""
    kinds = documents.rows["kind"][rows]
    parts = [(None, rows)] if split == "heldout" else [(documents.kinds[k][1], rows[kinds == k]) for k in np.unique(kinds)]
    for source, members in parts:
        if not len(members):
            continue
        writer = StreamWriter(folder, domain, split, tokens.dtype, source=source)
        for first in range(0, len(members), BATCH_DOCUMENTS):
            block = members[first : first + BATCH_DOCUMENTS]
            offset, sources = writer.tokens, [documents.kinds[kind][1] for kind in documents.rows["kind"][block]]
            columns = (documents.rows[field][block].tolist() for field in ("length", "size"))
            for identity, length, size, name in zip(documents.identities(block), *columns, sources, strict=True):
                writer.record(identity, offset, length, size, name)
                offset += length
            writer.append(np.concatenate(list(tokens.of(block))))
        writer.close()  # now, so that no file stays open
        yield writer
