"""Plants what curation has to find among texts of the corpus itself, runs the steps on it, and counts what was found.

Four sorts are planted. *Copies* are the same text again. *Near-duplicates* have 3 % of their words replaced by words of other
texts. *Unlike* texts have 12 % replaced, which leaves them alike but below a Jaccard similarity of 0.5. Benchmark items come
verbatim, re-wrapped at 8 words a line, in lower case, and in the middle of 5,000 words of filler. The steps are those of the
real run, with its configuration and its index; the similarity of what they merge is measured again, on the words themselves.
Sources and plants lie in different batches, so a step that only sees one batch at a time fails.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.exact import ExactDeduplicator
from hephaestus_dag.curation.near_duplicates import NearDuplicateConfig, find_near_duplicates, signatures
from hephaestus_dag.curation.ngrams import normalise
from hephaestus_dag.documents import Document, document_batch

_EDITED, _UNLIKE = 0.03, 0.12
"""Shares of words that are replaced."""
_FEWEST_WORDS = 34
"""Of a text that something is planted from: 3 % of them are one word."""
_TOO_UNLIKE = 0.5
_FILLER_WORDS = 5_000
_DOCUMENTS_PER_BATCH = 100
_WORD = re.compile(r"\w+")


class NothingToPlantError(ValueError):
    """There is nothing to plant from; no plants must not pass for plants found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedTruth:
    """What was planted, and what the steps found of it."""

    copies: int
    copies_found: int
    near_duplicates: int
    near_duplicates_found: int
    """Of a text and its edited version, one was removed."""
    unlike: int
    """Planted pairs of texts below a Jaccard similarity of 0.5."""
    merged: int
    """Documents that were removed as near-duplicates, planted or not."""
    false_merges: int
    """Those of them whose similarity with the document that is kept for them is below 0.5."""
    benchmark_items: int
    """Items that were planted, once in each shape."""
    benchmark_items_found: dict[str, int]
    """By shape: verbatim, wrapped, lower_case, embedded."""
    unmatchable_items: int
    """Items, of all that were given, with fewer words than the rules can match; they are not planted."""

    def problems(self, min_near_duplicates: float = 0.95) -> list[str]:
        """Return in words which figures fall short: of all copies and items, that share of near-duplicates, no false merge."""
        problems = []
        if self.copies_found < self.copies:
            problems.append(f"{self.copies_found} of {self.copies} exact copies found")
        if self.near_duplicates_found < min_near_duplicates * self.near_duplicates:
            problems.append(f"{self.near_duplicates_found} of {self.near_duplicates} near-duplicates found")
        if self.false_merges:
            problems.append(f"{self.false_merges} of {self.merged} merged documents are below Jaccard {_TOO_UNLIKE}")
        for shape, found in self.benchmark_items_found.items():
            if found < self.benchmark_items:
                problems.append(f"{found} of {self.benchmark_items} benchmark items found ({shape})")
        return problems

    def rows(self) -> list[dict[str, Any]]:
        """Return what was planted and found, as rows."""
        items = [
            {"planted": f"benchmark items, {shape.replace('_', ' ')}", "number": self.benchmark_items, "found": found}
            for shape, found in self.benchmark_items_found.items()
        ]
        return [
            {"planted": "exact copies", "number": self.copies, "found": self.copies_found},
            {"planted": "near-duplicates", "number": self.near_duplicates, "found": self.near_duplicates_found},
            {"planted": "unlike texts, not to be merged", "number": self.unlike, "found": self.false_merges},
            *items,
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-able values."""
        return asdict(self)


def planted_truth(
    texts: Sequence[str],
    items: Sequence[tuple[str, str]],
    config: NearDuplicateConfig | None,
    index: BenchmarkIndex,
    shortest_item: int,
    num_plants: int = 200,
    num_items: int = 500,
    seed: int = 0,
) -> PlantedTruth:
    """Plant among ``texts``, a sample of the corpus, and measure.

    ``items`` are those that the index was built from (id, text), ``shortest_item`` is the recipe's (words). At most
    ``num_plants`` of each sort and ``num_items`` items are drawn. Without a ``config``
    near-duplicates are not looked for. Raises NothingToPlantError when no text or no item is long enough.
    """
    draw = random.Random(seed)
    texts = sorted(set(texts))
    sources = [text for text in texts if len(text.split()) >= _FEWEST_WORDS]
    matchable = [text for _, text in sorted(items) if len(_words(text)) >= shortest_item]
    if not sources or not matchable:
        missing = f"texts has {_FEWEST_WORDS}" if not sources else f"benchmark items has {shortest_item}"
        raise NothingToPlantError(f"nothing to plant: none of the {missing} words")
    vocabulary = [word for text in draw.sample(sources, min(len(sources), 300)) for word in text.split()]

    def drawn() -> list[str]:
        return draw.sample(sources, min(len(sources), num_plants))

    def pairs(share: float) -> list[tuple[str, str]]:
        edited = [(text, edit(text, share, vocabulary, draw)) for text in drawn()]
        return [(text, plant) for text, plant in edited if plant != text]

    copies = drawn()
    copies_found = _removed_copies(_batches([*texts, *copies], draw)) & set(copies)

    near, unlike, merged, n_gram = [], [], {}, 0
    if config:
        n_gram = config.n_gram
        near, unlike = pairs(_EDITED), pairs(_UNLIKE)
        unlike = [pair for pair in unlike if similarity(*pair, n_gram) < _TOO_UNLIKE]
        planted = {*texts, *(plant for _, plant in near + unlike)}
        merged = _merged(_batches(sorted(planted), draw), config)

    chosen = draw.sample(matchable, min(len(matchable), num_items))
    return PlantedTruth(
        copies=len(copies),
        copies_found=len(copies_found),
        near_duplicates=len(near),
        near_duplicates_found=sum(text in merged or plant in merged for text, plant in near),
        unlike=len(unlike),
        merged=len(merged),
        false_merges=sum(similarity(text, kept, n_gram) < _TOO_UNLIKE for text, kept in merged.items()),
        benchmark_items=len(chosen),
        benchmark_items_found={
            shape: sum(hit is not None for hit in index.hits([write(text) for text in chosen]))
            for shape, write in _shapes(vocabulary, draw).items()
        },
        unmatchable_items=len(items) - len(matchable),
    )


def edit(text: str, share: float, vocabulary: Sequence[str], draw: random.Random) -> str:
    """Return text with a share of its words (0 to 1, rounded, at least one) replaced by words of a vocabulary."""
    parts = re.split(r"(\s+)", text)
    places = [place for place, part in enumerate(parts) if part and not part.isspace()]
    for place in draw.sample(places, min(len(places), max(1, round(share * len(places))))):
        parts[place] = draw.choice(vocabulary)
    return "".join(parts)


def similarity(first: str, second: str, n_gram: int) -> float:
    """Return the Jaccard similarity of two texts' word n-grams, computed on the words themselves; 0 when neither has any."""
    one, other = (set(zip(*(words[at:] for at in range(n_gram)), strict=False)) for words in map(_words, (first, second)))
    return len(one & other) / max(1, len(one | other))


def _words(text: str) -> list[str]:
    return _WORD.findall(normalise(text))


def _shapes(vocabulary: Sequence[str], draw: random.Random) -> dict[str, Callable[[str], str]]:
    def wrapped(text: str) -> str:
        words = text.split()
        return "\n".join(" ".join(words[at : at + 8]) for at in range(0, len(words), 8))

    def embedded(text: str) -> str:
        filler = draw.choices(vocabulary, k=_FILLER_WORDS)
        return " ".join([*filler[: _FILLER_WORDS // 2], text, *filler[_FILLER_WORDS // 2 :]])

    return {"verbatim": str, "wrapped": wrapped, "lower_case": str.lower, "embedded": embedded}


def _batches(texts: Sequence[str], draw: random.Random) -> list[pa.RecordBatch]:
    """Return texts as documents in a drawn order, in several batches."""
    texts = draw.sample(texts, len(texts))
    documents = [Document(text=t, domain="text", kind="", source="planted", origin="", license="") for t in texts]
    size = _DOCUMENTS_PER_BATCH
    return [document_batch(documents[at : at + size]) for at in range(0, len(documents), size)]


def _removed_copies(batches: Sequence[pa.RecordBatch]) -> set[str]:
    """Return the texts of which the exact step removed a copy."""
    step = ExactDeduplicator()
    ids = {i for batch in batches for i in step.filter(batch)[1].column("document_id").to_pylist()}
    return {text for i, text in _texts(batches).items() if i in ids}


def _merged(batches: Sequence[pa.RecordBatch], config: NearDuplicateConfig) -> dict[str, str]:
    """Return the texts that the near-duplicate step removed, and the text that is kept for each."""
    found = find_near_duplicates((signatures(batch, config) for batch in batches), lambda: batches, config)
    texts = _texts(batches)
    return {texts[removed]: texts[kept] for removed, (kept, _) in found.removed.items()}


def _texts(batches: Sequence[pa.RecordBatch]) -> dict[str, str]:
    columns = [(batch.column("id").to_pylist(), batch.column("text").to_pylist()) for batch in batches]
    return {i: text for ids, texts in columns for i, text in zip(ids, texts, strict=True)}
