"""Removes documents that hold text of a benchmark, and says which item they hold.

A document is removed when it shares a run of ``n_gram`` words with a benchmark item, anywhere in the document; words are
compared in lower case without punctuation, so wrapping, case, markup and filler around the leak do not hide it. An item of
``shortest_item`` to ``n_gram - 1`` words has to occur in full. Shorter items are too common to be matched; they are counted.

Not every shared run is a leak. Two sorts of n-grams are ignored: *stock phrases*, which occur in more than ``stock_items``
benchmark items ("which of the following statements about ... is true"), and *number series*, where more than half of the
words begin with a digit. An item whose every n-gram is of these sorts keeps them all, so that no item becomes undetectable.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.curation.ngrams import Words
from hephaestus_dag.curation.removed import Verdict, part

_Item = TypeVar("_Item")

_CHARACTERS_AT_ONCE = 1_000_000
_LONGEST_EVIDENCE = 300


@dataclass(frozen=True, slots=True)
class Hit:
    """A benchmark item that a text holds."""

    item_id: str
    """Id of the item, of those that match the one with the most n-grams in the text."""
    matched: str
    """The longest run of words that text and item share, normalised, cut at 300 characters."""
    coverage: float
    """Share of the item's n-grams that occur in the text, 0 to 1."""

    def verdict(self) -> Verdict:
        """Return why the text is removed."""
        return Verdict(f"holds benchmark item {self.item_id}", f"{self.coverage:.0%} of the item: {self.matched}")


@dataclass(frozen=True, slots=True)
class _Table:
    """The n-grams of one length: pairs of hash and item, sorted by hash, behind a bitmap that most hashes never pass."""

    hashes: np.ndarray
    items: np.ndarray
    bitmap: np.ndarray
    shift: np.uint64

    @classmethod
    def of(cls, hashes: np.ndarray, items: np.ndarray) -> "_Table":
        order = np.lexsort((items, hashes))
        bits = min(max(len(hashes) * 16, 1_024).bit_length(), 26)
        shift = np.uint64(64 - bits)
        bitmap = np.zeros(1 << bits, np.bool_)
        bitmap[hashes >> shift] = True
        return cls(hashes[order], items[order], bitmap, shift)

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Return which of ``hashes`` are in the table, as indices."""
        likely = np.flatnonzero(self.bitmap[hashes >> self.shift])
        place = np.minimum(np.searchsorted(self.hashes, hashes[likely]), len(self.hashes) - 1)
        return likely[self.hashes[place] == hashes[likely]]

    def items_of(self, value: int) -> np.ndarray:
        key = np.uint64(value)
        return self.items[np.searchsorted(self.hashes, key) : np.searchsorted(self.hashes, key, side="right")]


class BenchmarkIndex:
    """The n-grams of all benchmark items. Immutable, and cheap to send to a worker process."""

    name = "decontamination"

    def __init__(self, item_ids: Sequence[str], tables: dict[int, _Table], num_unmatched: int) -> None:
        self.item_ids = tuple(item_ids)
        self.num_unmatched = num_unmatched
        """Items with fewer words than ``shortest_item``, which cannot be matched."""
        self._tables = tables
        counts = [np.bincount(table.items, minlength=len(self.item_ids)) for table in tables.values()]
        self._grams_of_item = sum(counts, np.zeros(len(self.item_ids), np.int64))

    @classmethod
    def build(
        cls, items: Iterable[tuple[str, str]], n_gram: int = 13, shortest_item: int = 8, stock_items: int = 10
    ) -> "BenchmarkIndex":
        """Index benchmark items, given as ``(id, text)``.

        Raises ValueError when none can be matched: an index that matches nothing must not pass for a clean corpus.
        """
        names: list[str] = []
        found: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        num_unmatched = 0
        for chunk in _chunks(items, key=lambda item: len(item[1])):
            words = Words.of([text for _, text in chunk])
            lengths = np.minimum(np.bincount(words.owner, minlength=len(chunk)), n_gram)
            num_unmatched += int((lengths < shortest_item).sum())
            for n in range(shortest_item, n_gram + 1):
                at, hashes = words.n_grams(n)
                wanted = lengths[words.owner[at]] == n
                at, hashes = at[wanted], hashes[wanted]
                wordy = 2 * (words.letters[at + n] - words.letters[at]) >= n
                found.setdefault(n, []).append((hashes, words.owner[at] + len(names), wordy))
            names += [name for name, _ in chunk]
        tables: dict[int, _Table] = {}
        for n, parts in found.items():
            hashes, owners, wordy = (np.concatenate(column) for column in zip(*parts, strict=True))
            hashes, owners = _without_stock(hashes, owners, wordy, stock_items)
            if len(hashes):
                tables[n] = _Table.of(hashes, owners)
        if not tables:
            raise ValueError(f"none of {len(names)} benchmark items has {shortest_item} words; give the benchmarks to keep out")
        return cls(names, tables, num_unmatched)

    @classmethod
    def load(cls, folder: Path) -> "BenchmarkIndex":
        """Read the index that `save` wrote into a folder."""
        item_ids = pq.read_table(folder / "items.parquet")
        grams = pq.read_table(folder / "n_grams.parquet")
        lengths, hashes, items = (grams[name].to_numpy() for name in ("n", "hash", "item"))
        tables = {int(n): _Table.of(hashes[lengths == n], items[lengths == n]) for n in np.unique(lengths)}
        metadata: dict[bytes, bytes] = item_ids.schema.metadata
        return cls(item_ids["item_id"].to_pylist(), tables, int(metadata[b"num_unmatched"]))

    def save(self, folder: Path) -> None:
        """Write the index into a folder: ``items.parquet`` (item_id) and ``n_grams.parquet`` (n, hash, item's row)."""
        item_ids = pa.table({"item_id": pa.array(self.item_ids, pa.string())})
        item_ids = item_ids.replace_schema_metadata({"num_unmatched": str(self.num_unmatched)})
        pq.write_table(item_ids, folder / "items.parquet", compression="zstd")
        parts = sorted(self._tables.items())
        grams = pa.table(
            {
                "n": pa.array(np.concatenate([np.full(len(t.hashes), n, np.uint8) for n, t in parts]), pa.uint8()),
                "hash": pa.array(np.concatenate([t.hashes for _, t in parts]), pa.uint64()),
                "item": pa.array(np.concatenate([t.items for _, t in parts]), pa.int32()),
            }
        )
        pq.write_table(grams, folder / "n_grams.parquet", compression="zstd")

    @property
    def digest(self) -> str:
        """Identity of the index: a hash of its item ids and n-grams, as 32 hex digits."""
        digest = hashlib.blake2b(repr(self.item_ids).encode(), digest_size=16)
        for n, table in sorted(self._tables.items()):
            digest.update(n.to_bytes(2) + table.hashes.tobytes() + table.items.astype(np.int64).tobytes())
        return digest.hexdigest()

    @property
    def num_n_grams(self) -> int:
        """Pairs of n-gram and item."""
        return int(self._grams_of_item.sum())

    def hits(self, texts: Sequence[str]) -> list[Hit | None]:
        """Return for each text the benchmark item that it holds, or None."""
        found: list[Hit | None] = []
        for chunk in _chunks(texts, key=len):
            found += self._hits_of_chunk(chunk)
        return found

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows whose reason names the benchmark item and whose evidence is the shared text."""
        hits = self.hits(batch.column("text").to_pylist())
        return part(batch, self.name, [hit and hit.verdict() for hit in hits])

    def _hits_of_chunk(self, texts: Sequence[str]) -> list[Hit | None]:
        words = Words.of(texts)
        matches: dict[int, list[tuple[int, int, int, int]]] = {}
        for n, table in self._tables.items():
            at, hashes = words.n_grams(n)
            for index in table.find(hashes):
                first, value = int(at[index]), int(hashes[index])
                for item in table.items_of(value):
                    matches.setdefault(int(words.owner[first]), []).append((int(item), first, n, value))
        return [self._best(words, matches[number]) if number in matches else None for number in range(len(texts))]

    def _best(self, words: Words, matches: list[tuple[int, int, int, int]]) -> Hit:
        """Return the item with the most different n-grams in a text; of equals, the first in the index."""
        grams: dict[int, set[tuple[int, int]]] = {}
        for item, _, n, value in matches:
            grams.setdefault(item, set()).add((n, value))
        best = min(grams, key=lambda item: (-len(grams[item]), item))
        longest, run = (0, 0), (0, 0)
        for _, first, n, _ in sorted(match for match in matches if match[0] == best):
            run = (run[0], first + n) if run[1] and first <= run[1] else (first, first + n)
            longest = max(longest, run, key=lambda span: span[1] - span[0])
        matched = words.text(longest[0], longest[1] - 1)[:_LONGEST_EVIDENCE]
        return Hit(self.item_ids[best], matched, len(grams[best]) / int(self._grams_of_item[best]))


def _without_stock(hashes: np.ndarray, owners: np.ndarray, wordy: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return different pairs of hash and item, without stock phrases and number series, except an item's only ones."""
    order = np.lexsort((owners, hashes))
    hashes, owners, wordy = hashes[order], owners[order], wordy[order]
    fresh = np.ones(len(hashes), np.bool_)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    hashes, owners, wordy = hashes[fresh], owners[fresh], wordy[fresh]
    _, which, items_per_hash = np.unique(hashes, return_inverse=True, return_counts=True)
    telling = wordy & (items_per_hash[which] <= most)
    has_telling = np.zeros(int(owners.max(initial=-1)) + 1, np.bool_)
    has_telling[owners[telling]] = True
    kept = telling | ~has_telling[owners]
    return hashes[kept], owners[kept]


def _chunks(items: Iterable[_Item], key: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """Yield runs of items of about a million characters together, so that memory stays bounded."""
    chunk: list[_Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += key(item)
        if size >= _CHARACTERS_AT_ONCE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
