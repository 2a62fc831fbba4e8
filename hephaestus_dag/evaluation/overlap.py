"""Which benchmark items overlap with the documents that a variant was trained on, and by how much.

Decontamination removes documents that share 13 words in a row with an item. What is left may still paraphrase one, so the
clean subset asks more: the *share* of an item is the part of its words that lie in runs of ``n_gram`` (8) words which one
document holds too, and an item is left out from a share of ``max_share`` (one half) on. This is the rule of Tülu 3 (more than
half of the tokens, 8-grams); a single 8-gram says little, because phrases of eight words are common. An item is also left
out when a document has a function that it offers: the same name and the same parameters, at least two.

As in decontamination, words are compared in lower case without punctuation, and phrases of more than ``stock_items`` items
and runs of numbers do not count, except where a text has nothing else. A text of fewer than ``n_gram`` words has to occur
in full, and one of fewer than ``shortest_item`` cannot be judged. A document is scanned once, whatever it is used for
(`scan_documents`); a variant then takes the matches of its own documents (`overlap_of`).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.curation.ngrams import Words
from hephaestus_dag.documents import document_files
from hephaestus_dag.evaluation.overlap_config import LEAST_SHARE, OverlapConfig

MATCH_SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("share", pa.float32()),
        ("words", pa.int32()),
        ("matched", pa.string()),
        ("signature", pa.string()),
        ("document_id", pa.string()),
        ("source", pa.string()),
        ("origin", pa.string()),
    ]
)
"""``words`` is the longest run; ``origin`` says where the document came from. A row with a signature names no item."""

_CHARACTERS_AT_ONCE = 1_000_000
_DOCUMENTS_AT_ONCE = 4_096
_FEWEST_PARAMETERS = 2
_LONGEST_EVIDENCE = 300

Mapper = Callable[[Callable[[str], pa.Table], Sequence[str]], Iterable[pa.Table]]


@dataclass(frozen=True, slots=True)
class _Table:
    """The n-grams of one length, sorted by hash, behind a bitmap that most hashes never pass."""

    hashes: np.ndarray
    texts: np.ndarray
    positions: np.ndarray
    bitmap: np.ndarray

    @classmethod
    def of(cls, hashes: np.ndarray, texts: np.ndarray, positions: np.ndarray) -> "_Table":
        order = np.argsort(hashes, kind="stable")
        bitmap = np.zeros(1 << 24, np.bool_)
        bitmap[hashes >> np.uint64(40)] = True
        return cls(hashes[order], texts[order], positions[order], bitmap)

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs of an index into ``hashes`` and a row of this table with the same hash."""
        likely = np.flatnonzero(self.bitmap[hashes >> np.uint64(40)])
        first = np.searchsorted(self.hashes, hashes[likely], side="left")
        counts = np.searchsorted(self.hashes, hashes[likely], side="right") - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(likely, counts), np.repeat(first, counts) + within


class ItemIndex:
    """The texts of all benchmark items, to be looked for in documents. Immutable, and can be sent to a worker process."""

    def __init__(self, items: Iterable[tuple[str, str]], functions: Iterable[tuple[str, str]], config: OverlapConfig) -> None:
        """Index ``(item, text)`` pairs, several texts for an item where it has them, and ``(item, signature)`` pairs.

        What stands in brackets at the end of an item's name, such as ``(answer)``, is no part of it.
        """
        pairs = [(item.partition(" (")[0], text) for item, text in items]
        self.items = [item for item, _ in pairs]
        self.config = config
        self.signatures = {signature for _, signature in functions if _num_parameters(signature) >= _FEWEST_PARAMETERS}
        words = Words.of([text for _, text in pairs])
        counts = np.bincount(words.owner, minlength=len(pairs))
        starts = np.concatenate([[0], np.cumsum(counts)])
        spelled = [words.buffer[a:b].decode() for a, b in zip(words.starts.tolist(), words.ends.tolist(), strict=True)]
        self._words = [" ".join(spelled[first:last]) for first, last in pairwise(starts.tolist())]
        self._telling = np.zeros(len(pairs), np.int64)
        self._tables: dict[int, _Table] = {}
        lengths = np.where(counts >= config.shortest_item, np.minimum(counts, config.n_gram), 0)
        owner_item = np.unique(np.array(self.items, dtype=str), return_inverse=True)[1]
        for n in range(min(config.shortest_item, config.n_gram), config.n_gram + 1):
            at, hashes = words.n_grams(n)
            mine = lengths[words.owner[at]] == n
            at, hashes = at[mine], hashes[mine]
            texts = words.owner[at]
            wordy = 2 * (words.letters[at + n] - words.letters[at]) >= n
            kept = _telling(hashes, texts, owner_item[texts], wordy, config.stock_items)
            if kept.any():
                texts, positions = texts[kept], (at - starts[texts])[kept]
                self._tables[n] = _Table.of(hashes[kept], texts, positions)
                found, covered, _, _ = _coverage(texts, positions, n)
                self._telling[found] = covered

    @property
    def unjudged(self) -> dict[str, int]:
        """Number of items of each benchmark none of whose texts is long enough to be judged."""
        judged = {item for item, telling in zip(self.items, self._telling, strict=True) if telling}
        return dict(sorted(Counter(item.partition("/")[0] for item in {*self.items} - judged).items()))

    def matches(self, batch: pa.RecordBatch) -> pa.Table:
        """Return what the documents of a batch share with items, as a table of ``MATCH_SCHEMA``."""
        columns = {name: batch.column(name).to_pylist() for name in ("id", "text", "source", "origin", "signatures")}
        rows: list[dict[str, Any]] = []
        for first, last in _chunks(columns["text"]):
            for number, match in self._matches(columns["text"][first:last]):
                rows.append(match | {"signature": "", "number": first + number})
        for number, lines in enumerate(columns["signatures"]):
            for signature in sorted(self.signatures.intersection((lines or "").split("\n"))):
                empty = {"item": "", "share": 0.0, "words": 0, "matched": ""}
                rows.append(empty | {"signature": signature, "number": number})
        for row in rows:
            number = row.pop("number")
            row |= {"document_id": columns["id"][number]} | {name: columns[name][number] for name in ("source", "origin")}
        return pa.Table.from_pylist(rows, MATCH_SCHEMA)

    def _matches(self, texts: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (number of the text, item with share, words and matched), of each item the text of the largest share."""
        words = Words.of(texts)
        best: dict[tuple[int, str], tuple[float, int, int, int]] = {}
        for n, table in self._tables.items():
            at, hashes = words.n_grams(n)
            index, rows = table.find(hashes)
            keys = words.owner[at[index]] * len(self.items) + table.texts[rows]
            found, covered, longest, begins = _coverage(keys, table.positions[rows], n)
            document, text = np.divmod(found, len(self.items))
            share = covered / self._telling[text]
            for row in np.flatnonzero(share >= LEAST_SHARE).tolist():
                key = int(document[row]), self.items[text[row]]
                # Texts are numbered backwards, so that of equal ones the first counts.
                best[key] = max(
                    best.get(key, (0.0, 0, 0, 0)), (float(share[row]), int(longest[row]), -int(text[row]), int(begins[row]))
                )
        for (document, item), (share, longest, text, begin) in sorted(best.items()):
            matched = " ".join(self._words[-text].split()[begin : begin + longest])[:_LONGEST_EVIDENCE]
            yield document, {"item": item, "share": share, "words": longest, "matched": matched}


def scan_documents(index: ItemIndex, documents: Path, folder: Path, map_over: Mapper = map) -> dict[str, Any]:
    """Write ``matches.parquet`` (``MATCH_SCHEMA``) and ``scan.json`` for a folder of documents; return the latter.

    ``map_over`` maps a function over document shards, such as the compute resource's.
    """
    tables = list(map_over(partial(_scan_file, index), document_files(documents)))
    matches = pa.concat_tables([MATCH_SCHEMA.empty_table(), *tables])
    told = {
        "rule": index.config.model_dump(exclude={"max_share"}),
        "matches": matches.num_rows,
        "items not judged": index.unjudged,
    }
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(matches, folder / "matches.parquet", compression="zstd")
    (folder / "scan.json").write_text(json.dumps(told, indent=1) + "\n")
    return told


def overlap_of(
    scans: Sequence[Path], trained: pa.Table, functions: Iterable[tuple[str, str]], config: OverlapConfig, folder: Path
) -> dict[str, Any]:
    """Write what a variant's training documents share with items, and return counts for each benchmark.

    ``scans`` are folders of `scan_documents`, ``trained`` the table of `trained_documents`. ``overlap.parquet`` has a row for
    each item that shares something: of all documents the one with the largest share, and ``seen``, whether the item is not
    clean. ``overlap.json`` has the rule, the number of documents, and for each benchmark the items with a match and those
    seen.
    """
    matches = pa.concat_tables([MATCH_SCHEMA.empty_table(), *(pq.read_table(scan / "matches.parquet") for scan in scans)])
    matches = matches.filter(pc.field("document_id").isin(trained["document_id"].combine_chunks()))
    best: dict[str, dict[str, Any]] = {}
    offering: dict[str, set[str]] = {}
    for item, signature in functions:
        offering.setdefault(signature, set()).add(item.partition(" (")[0])
    order = [("share", "descending"), ("words", "descending"), ("document_id", "ascending")]
    for row in matches.sort_by(order).to_pylist():
        for item in sorted(offering.get(row["signature"], ())) if row["signature"] else [row["item"]]:
            kept = best.setdefault(item, row | {"item": item})
            kept["signature"] = kept["signature"] or row["signature"]
    rows = [best[item] for item in sorted(best)]
    for row in rows:
        row["seen"] = row["share"] >= config.max_share or bool(row["signature"])
    schema = MATCH_SCHEMA.append(pa.field("seen", pa.bool_()))
    by_benchmark = {
        name: {
            "items with a match": len(mine := [row for row in rows if row["item"].partition("/")[0] == name]),
            "items seen": sum(row["seen"] for row in mine),
        }
        for name in sorted({row["item"].partition("/")[0] for row in rows})
    }
    unjudged = json.loads((scans[0] / "scan.json").read_text())["items not judged"] if scans else {}
    told = {
        "rule": config.model_dump(),
        "documents": trained.num_rows,
        "benchmarks": by_benchmark,
        "items not judged": unjudged,
    }
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "overlap.parquet", compression="zstd")
    (folder / "overlap.json").write_text(json.dumps(told, indent=1) + "\n")
    return told


def items_seen(folder: Path) -> set[str]:
    """Return the items that a folder of `overlap_of` says are not clean, as `scores.item_name` names them."""
    table = pq.read_table(folder / "overlap.parquet", columns=["item", "seen"])
    return set(table.filter(table["seen"])["item"].to_pylist())


def _scan_file(index: ItemIndex, file: str) -> pa.Table:
    columns = ["id", "text", "source", "origin", "signatures"]
    batches = pq.ParquetFile(file).iter_batches(_DOCUMENTS_AT_ONCE, columns=columns, use_threads=False)
    return pa.concat_tables([MATCH_SCHEMA.empty_table(), *map(index.matches, batches)])


def _telling(hashes: np.ndarray, texts: np.ndarray, items: np.ndarray, wordy: np.ndarray, most: int) -> np.ndarray:
    """Return which n-grams are neither stock phrases nor number series; where a text has only such, all of them."""
    values, which = np.unique(hashes, return_inverse=True)
    pairs = np.unique(np.stack([which, items]), axis=1)
    telling = wordy & (np.bincount(pairs[0], minlength=len(values))[which] <= most)
    has_telling = np.zeros(int(texts.max(initial=-1)) + 1, np.bool_)
    has_telling[texts[telling]] = True
    return telling | ~has_telling[texts]


def _coverage(keys: np.ndarray, positions: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each different key in order, how many words its n-grams cover, and the longest run: words, and begin.

    ``keys`` and ``positions`` (of n-grams in a text) are rows in any order, repeats allowed.
    """
    if not len(keys):
        return keys, keys, keys, keys
    order = np.lexsort((positions, keys))
    keys, positions = keys[order], positions[order]
    new_key = np.append(True, keys[1:] != keys[:-1])
    fresh = new_key | np.append(True, positions[1:] != positions[:-1])
    keys, positions, new_key = keys[fresh], positions[fresh], new_key[fresh]
    step = np.append(positions[1:] - positions[:-1], n)
    step[:-1][new_key[1:]] = n
    firsts = np.flatnonzero(new_key)
    covered = np.add.reduceat(np.minimum(step, n), firsts)
    run_starts = np.flatnonzero(new_key | np.append(True, positions[1:] != positions[:-1] + 1))
    run_words = np.diff(np.append(run_starts, len(keys))) + n - 1
    # Of each key the longest run, and of several the first: runs sorted by key, then by length.
    of_key = np.cumsum(new_key)[run_starts] - 1
    best = np.lexsort((-run_starts, run_words, of_key))
    best = best[np.append(of_key[best][1:] != of_key[best][:-1], True)]
    return keys[firsts], covered, run_words[best], positions[run_starts[best]]


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts of about a million characters together, so that memory stays bounded."""
    first = size = 0
    for number, text in enumerate(texts):
        size += len(text)
        if size >= _CHARACTERS_AT_ONCE:
            yield first, number + 1
            first, size = number + 1, 0
    if first < len(texts):
        yield first, len(texts)


def _num_parameters(signature: str) -> int:
    names = signature.partition("(")[2].rstrip(")")
    return names.count(",") + 1 if names else 0
