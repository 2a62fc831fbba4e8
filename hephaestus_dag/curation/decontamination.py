"""Removes documents that hold text of a benchmark, and says which item they hold.

A document is removed when it shares a run of ``n_gram`` words with a benchmark item, anywhere in the document; words are
compared in lower case without punctuation, so wrapping, case, markup and filler around the leak do not hide it. An item of
``shortest_item`` to ``n_gram - 1`` words has to occur in full. Shorter items are too common to be matched; they are counted.

Not every shared run is a leak. Two sorts of n-grams are ignored: *stock phrases*, which occur in more than ``stock_items``
benchmark items ("which of the following statements about ... is true"), and *number series*, where more than half of the
words begin with a digit. A text whose every n-gram is of these sorts keeps them all, so that none becomes undetectable.

Functions that a benchmark offers are items too, but with runs of twice the length, because schemas repeat each other's phrases
("the maximum number of results to return in one page"); and they are compared a second way, by their signatures: see
`function_index`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.curation.function_index import BenchmarkFunction, FunctionIndex
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

    def __init__(self, item_ids: Sequence[str], tables: dict[int, _Table], functions: FunctionIndex) -> None:
        self.item_ids = tuple(item_ids)
        self.functions = functions
        self._tables = tables
        counts = [np.bincount(table.items, minlength=len(self.item_ids)) for table in tables.values()]
        self._grams_of_item = sum(counts, np.zeros(len(self.item_ids), np.int64))

    @classmethod
    def build(
        cls,
        items: Iterable[tuple[str, str]],
        n_gram: int = 13,
        shortest_item: int = 6,
        stock_items: int = 10,
        functions: Iterable[BenchmarkFunction] = (),
    ) -> "BenchmarkIndex":
        """Index benchmark items, given as ``(id, text)``, and functions; an item may have several texts, under the same id.

        The texts of functions have to share a run of twice as many words: schemas repeat each other's phrases.
        Raises ValueError when none can be matched: an index that matches nothing must not pass for a clean corpus.
        """
        functions = list(functions)
        names: dict[str, int] = {}
        found: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]] = {}
        num_texts = 0
        texts = chain(((*item, False) for item in items), ((f.item_id, f.text, True) for f in functions))
        for chunk in _chunks(texts, key=lambda item: len(item[1])):
            words = Words.of([text for _, text, _ in chunk])
            numbers = np.array([names.setdefault(name, len(names)) for name, _, _ in chunk])
            counts = np.bincount(words.owner, minlength=len(chunk))
            doubled = np.array([is_function for _, _, is_function in chunk]) & (counts >= 2 * n_gram)
            lengths = np.where(doubled, 2 * n_gram, np.minimum(counts, n_gram))
            for n in (*range(shortest_item, n_gram + 1), 2 * n_gram):
                at, hashes = words.n_grams(n)
                wanted = lengths[words.owner[at]] == n
                at, hashes = at[wanted], hashes[wanted]
                wordy = 2 * (words.letters[at + n] - words.letters[at]) >= n
                found.setdefault(n, []).append((hashes, numbers[words.owner[at]], words.owner[at] + num_texts, wordy))
            num_texts += len(chunk)
        tables: dict[int, _Table] = {}
        for n, parts in found.items():
            columns = (np.concatenate(column) for column in zip(*parts, strict=True))
            hashes, owners = _without_stock(*columns, most=stock_items)
            if len(hashes):
                tables[n] = _Table.of(hashes, owners)
        if not tables:
            raise ValueError(f"none of {len(names)} benchmark items has {shortest_item} words; give the benchmarks to keep out")
        return cls(list(names), tables, FunctionIndex(functions))

    @classmethod
    def load(cls, folder: Path) -> "BenchmarkIndex":
        """Read the index that `save` wrote into a folder."""
        item_ids = pq.read_table(folder / "items.parquet")
        grams = pq.read_table(folder / "n_grams.parquet")
        lengths, hashes, items = (grams[name].to_numpy() for name in ("n", "hash", "item"))
        tables = {int(n): _Table.of(hashes[lengths == n], items[lengths == n]) for n in np.unique(lengths)}
        return cls(item_ids["item_id"].to_pylist(), tables, FunctionIndex.load(folder))

    def save(self, folder: Path) -> None:
        """Write the index: ``items.parquet`` (item_id), ``n_grams.parquet`` (n, hash, item's row) and ``functions.parquet``."""
        item_ids = pa.table({"item_id": pa.array(self.item_ids, pa.string())})
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
        self.functions.save(folder)

    @property
    def digest(self) -> str:
        """Identity of the index: a hash of its item ids, n-grams and functions, as 32 hex digits."""
        digest = hashlib.blake2b(repr((self.item_ids, self.functions.rows)).encode(), digest_size=16)
        for n, table in sorted(self._tables.items()):
            digest.update(n.to_bytes(2) + table.hashes.tobytes() + table.items.astype(np.int64).tobytes())
        return digest.hexdigest()

    @property
    def num_unmatched(self) -> int:
        """Items whose texts have fewer words than ``shortest_item``, which cannot be matched."""
        return int((self._grams_of_item == 0).sum())

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
        """Return what stays, and rows whose reason names the benchmark item and whose evidence is what is shared."""
        texts, signatures = (batch.column(name).to_pylist() for name in ("text", "signatures"))
        same_text = [hit and hit.verdict() for hit in self.hits(texts)]
        return part(
            batch, self.name, [a or b for a, b in zip(same_text, self.functions.verdicts(texts, signatures), strict=True)]
        )

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


def _without_stock(
    hashes: np.ndarray, owners: np.ndarray, texts: np.ndarray, wordy: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return different pairs of hash and item, without stock phrases and number series, except a text's only ones."""
    values, which = np.unique(hashes, return_inverse=True)
    items_per_hash = np.bincount(_different(which, owners)[0], minlength=len(values))
    telling = wordy & (items_per_hash[which] <= most)
    has_telling = np.zeros(int(texts.max(initial=-1)) + 1, np.bool_)
    has_telling[texts[telling]] = True
    kept = telling | ~has_telling[texts]
    return _different(hashes[kept], owners[kept])


def _different(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different pairs of two arrays, sorted."""
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    fresh = np.ones(len(first), np.bool_)
    fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return first[fresh], second[fresh]


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
