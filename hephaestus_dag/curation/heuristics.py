"""Removes what is not prose: repetition, lists of links, symbols, notices, place-holder text.

The rules are those of Gopher (Rae et al., arXiv 2112.11446, appendix A.1), C4 (Raffel et al., arXiv 1910.10683, section 2.2)
and FineWeb (Penedo et al., arXiv 2406.17557, section 3.6), with two differences. Words are runs of ``\\w``: punctuation is no
word, which leaves the share of alphabetic words meaningful in technical prose. And documents stay or go as a whole: where C4
deletes lines, their share is bounded. The rules are made for prose; code and API documentation repeat themselves by nature.

All n-gram measures of many texts are taken at once, on the hashes of `Words`; those of lines by plain string operations.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from hephaestus_dag.curation.config import HeuristicRules
from hephaestus_dag.curation.ngrams import Words
from hephaestus_dag.curation.removed import Verdict, part

_CHARACTERS_AT_ONCE = 1_000_000

_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?:\s|$)")
_STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_LINE_ENDS = (".", "!", "?", ":", '"', "'", "”", "’", ")", "。", "！", "？")
_NOTICES = (
    *("enable javascript", "javascript is disabled", "javascript is required", "javascript must be enabled"),
    *("turn on javascript", "uses cookies", "use cookies", "use of cookies", "cookie policy", "privacy policy", "terms of use"),
)

Measures = dict[str, np.ndarray]
"""A value for each text, by name."""


class HeuristicFilter:
    """Keeps the documents within the bounds of the rules for their kind, or else for their domain; others are not judged."""

    name = "heuristics"

    def __init__(self, rules: Mapping[str, HeuristicRules]) -> None:
        self._rules = dict(rules)

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows whose reason is the first broken rule and whose evidence is the measured value."""
        verdicts: list[Verdict | None] = [None] * batch.num_rows
        rows_of: dict[str, list[int]] = {}
        kinds, domains = batch.column("kind").to_pylist(), batch.column("domain").to_pylist()
        for row, (kind, domain) in enumerate(zip(kinds, domains, strict=True)):
            key = kind if kind in self._rules else domain
            if key in self._rules:
                rows_of.setdefault(key, []).append(row)
        for key, rows in rows_of.items():
            texts = batch.column("text").take(pa.array(rows)).to_pylist()
            for row, verdict in zip(rows, judge(texts, self._rules[key]), strict=True):
                verdicts[row] = verdict
        return part(batch, self.name, verdicts)


def judge(texts: Sequence[str], rules: HeuristicRules) -> list[Verdict | None]:
    """Return for each text the first rule that it breaks, in the order of the rules' fields, or None."""
    verdicts: list[Verdict | None] = []
    for first, last in _runs([len(text) for text in texts]):
        verdicts += _judge_run(texts[first:last], rules)
    return verdicts


def _judge_run(texts: Sequence[str], rules: HeuristicRules) -> list[Verdict | None]:
    words = Words.of(texts)
    measured = {**_word_measures(words, len(texts), rules), **_text_measures(texts)}
    measured["symbols_per_word"] /= np.maximum(measured["words"], 1)
    verdicts: list[Verdict | None] = [None] * len(texts)
    for name, sign, limit in _bounds(rules):
        broken = (sign * measured[name] > sign * limit) & (measured["words"] >= rules.judged_from)
        for row in np.flatnonzero(broken):
            if verdicts[row] is None:
                side = "above" if sign > 0 else "below"
                verdicts[row] = Verdict(f"{name.replace('_', ' ')} {side} {limit:g}", f"{measured[name][row]:.3g}")
    return verdicts


def _bounds(rules: HeuristicRules) -> Iterator[tuple[str, int, float]]:
    """Yield measure, sign (1: the limit is a maximum, -1: a minimum) and limit of every rule in force."""
    for field in type(rules).model_fields:
        limit, (side, _, name) = getattr(rules, field), field.partition("_")
        if side not in ("max", "min") or limit is None:
            continue
        sign = 1 if side == "max" else -1
        if isinstance(limit, Mapping):
            yield from ((f"{name}_of_{n}", sign, share) for n, share in sorted(limit.items()))
        else:
            yield name, sign, limit


def _word_measures(words: Words, count: int, rules: HeuristicRules) -> Measures:
    num_words = np.bincount(words.owner, minlength=count)
    lengths = np.concatenate([[0], np.cumsum(words.ends - words.starts)])
    characters = np.bincount(words.owner, weights=words.ends - words.starts, minlength=count)
    letters = np.bincount(words.owner, weights=np.diff(words.letters), minlength=count)
    whole = np.maximum(characters, 1)
    found: Measures = {
        "words": num_words,
        "mean_word_length": characters / np.maximum(num_words, 1),
        "alphabetic_words": letters / np.maximum(num_words, 1),
    }
    for n in sorted({*rules.max_top_ngram, *rules.max_duplicate_ngrams}):
        at, first, times = _repeated(words, n)
        found[f"top_ngram_of_{n}"] = _top(words, lengths, at, first, times, n, count) / whole
        found[f"duplicate_ngrams_of_{n}"] = _covered(words, lengths, at, first, n, count) / whole
    return found


def _repeated(words: Words, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the n-grams that occur more than once in a text: all positions, the earliest of each n-gram, and how often it is.

    The second and third have one entry for each of the first, in runs of the same n-gram.
    """
    at, hashes = words.n_grams(n)
    keys = hashes ^ (words.owner[at].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    order = np.argsort(keys)
    keys = keys[order]
    same = np.zeros(len(keys) + 1, np.bool_)
    same[1:-1] = keys[1:] == keys[:-1]
    inside = np.flatnonzero(same[1:] | same[:-1])
    starts = np.flatnonzero(~same[inside])
    places = at[order[inside]]
    if not len(starts):
        return places, places, places
    times = np.diff(np.append(starts, len(places)))
    return places, np.repeat(np.minimum.reduceat(places, starts), times), np.repeat(times, times)


def _top(
    words: Words, lengths: np.ndarray, at: np.ndarray, first: np.ndarray, times: np.ndarray, n: int, count: int
) -> np.ndarray:
    """Return the characters of each text's most frequent n-gram, in all its occurrences; of equals the longest counts."""
    owner, characters = words.owner[at], times * (lengths[first + n] - lengths[first])
    most, found = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.maximum.at(most, owner, times)
    top = times == most[owner]
    np.maximum.at(found, owner[top], characters[top])
    return found


def _covered(words: Words, lengths: np.ndarray, at: np.ndarray, first: np.ndarray, n: int, count: int) -> np.ndarray:
    """Return the characters of each text that lie in n-grams that occurred before in it, each character once."""
    later = at[at != first]
    edges = np.bincount(later, minlength=len(words.owner) + n) - np.bincount(later + n, minlength=len(words.owner) + n)
    inside = np.cumsum(edges)[: len(words.owner)] > 0
    return np.bincount(words.owner[inside], weights=np.diff(lengths)[inside], minlength=count)


def _text_measures(texts: Sequence[str]) -> Measures:
    rows = [_measures_of(text) for text in texts]
    names = rows[0].keys() if rows else ()
    return {name: np.array([row[name] for row in rows], np.float64) for name in names}


def _measures_of(text: str) -> dict[str, float]:
    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    blocks = [stripped for block in text.split("\n\n") if (stripped := block.strip())]
    different, different_blocks = set(lines), set(blocks)
    count, characters = max(len(lines), 1), max(sum(map(len, lines)), 1)
    lowered = text.lower()
    notices = [notice for notice in _NOTICES if notice in lowered]
    return {
        "duplicate_lines": 1 - len(different) / count,
        "duplicate_line_characters": 1 - sum(map(len, different)) / characters,
        "duplicate_paragraphs": 1 - len(different_blocks) / max(len(blocks), 1),
        "duplicate_paragraph_characters": 1 - sum(map(len, different_blocks)) / max(sum(map(len, blocks)), 1),
        "symbols_per_word": max(text.count("#"), text.count("...") + text.count("…")),
        "bullet_lines": sum(line.startswith(("-", "•", "* ")) for line in lines) / count,
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines) / count,
        "punctuated_lines": sum(line.endswith(_LINE_ENDS) for line in lines) / count,
        "short_lines": sum(len(line) <= 30 for line in lines) / count,
        "notice_lines": sum(any(n in line.lower() for n in notices) for line in lines) / count if notices else 0.0,
        "sentences": _up_to(_SENTENCE_END, text, 20),
        "stop_words": len(_STOP_WORDS.intersection(lowered[:20_000].split())),
        "lorem_ipsum": lowered.count("lorem ipsum"),
    }


def _up_to(pattern: re.Pattern[str], text: str, most: int) -> int:
    """Return how often a pattern occurs, at most ``most``."""
    return sum(1 for _ in zip(range(most), pattern.finditer(text), strict=False))


def _runs(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, behind the last) of runs of about a million characters, so that memory stays bounded."""
    first = size = 0
    for at, each in enumerate(sizes, 1):
        size += each
        if size >= _CHARACTERS_AT_ONCE or at == len(sizes):
            yield first, at
            first, size = at, 0
