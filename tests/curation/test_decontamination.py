"""Benchmark text in the corpus: planted in every shape it is found and named, and clean documents stay."""

import random
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.ngrams import Words
from hephaestus_dag.documents import Document, document_batch

WORDS = [
    f"{a}{b}" for a in ("ba", "ke", "li", "mo", "nu", "so", "ta", "vi") for b in ("dor", "fen", "gas", "lim", "nok", "rup")
]


def prose(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) + rng.choice(("", "", "", ",", ".")) for _ in range(count)).capitalize()


ITEMS = [(f"bench/{n}", prose(n, 40)) for n in range(30)]
INDEX = BenchmarkIndex.build(ITEMS)


def embedded(text: str, around: int = 5_000) -> str:
    return f"{prose(901, around // 2)} {text} {prose(902, around // 2)}"


@pytest.mark.parametrize(
    "shape",
    [
        str,
        lambda text: "\n".join(textwrap.wrap(text, 60)),
        lambda text: "\n".join(" ".join(text.split()[i : i + 8]) for i in range(0, 40, 8)),
        str.lower,
        str.upper,
        lambda text: text.replace(",", ";").replace(".", " -- "),
        lambda text: "".join(
            f"<p>{word}</p>" if n == 7 else f"{word} " for n, word in enumerate(text.replace(" ", " | ").split())
        ),
        lambda text: f"“{text}” — naïve",
        embedded,
        lambda text: embedded(" ".join(text.split()[10:24])),
        lambda text: embedded("\n> ".join(text.lower().split())),
    ],
    ids=[
        "verbatim",
        "wrapped",
        "8 words a line",
        "lower",
        "upper",
        "punctuation",
        "markup",
        "unicode",
        "diluted",
        "part",
        "quoted",
    ],
)
def test_a_planted_item_is_found_and_named_in_every_shape(shape):
    hits = INDEX.hits([shape(text) for _, text in ITEMS])
    assert [hit and hit.item_id for hit in hits] == [name for name, _ in ITEMS]


def test_clean_documents_stay():
    assert INDEX.hits([prose(seed, 3_000) for seed in range(100, 130)] + ["", "short", "?!"]) == [None] * 33


def test_the_matched_text_and_its_share_are_told():
    part = " ".join(ITEMS[3][1].split()[5:25])
    (hit,) = INDEX.hits([f"Before it. {part} After it."])
    assert hit
    assert hit.matched.replace(",", "").replace(".", "") == part.lower().replace(",", "").replace(".", "")
    assert hit.coverage == pytest.approx(8 / 28)
    assert "29% of the item" in hit.verdict().evidence


def test_one_word_less_than_the_n_gram_is_no_hit_and_the_length_is_what_the_recipe_says():
    words = ITEMS[0][1].split()
    assert INDEX.hits([" ".join(words[:12])]) == [None]
    assert INDEX.hits([" ".join(words[:13])]) != [None]
    assert BenchmarkIndex.build(ITEMS, n_gram=12).hits([" ".join(words[:12])]) != [None]


def test_short_items_match_in_full_and_shorter_ones_are_counted():
    index = BenchmarkIndex.build([*ITEMS, ("nine", "What is the capital city of the old kingdom"), ("three", "Who was it")])
    assert index.num_unmatched == 1
    hits = index.hits(
        ["So: what is the capital\ncity of the OLD kingdom?", "what is the capital city of the kingdom", "Who was it"]
    )
    assert [hit and hit.item_id for hit in hits] == ["nine", None, None]


def test_n_grams_do_not_cross_documents():
    words = ITEMS[0][1].split()
    parts = [" ".join(words[at : at + 10]) for at in range(0, 40, 10)]
    assert INDEX.hits(parts) == [None] * 4
    assert INDEX.hits([" ".join(parts)]) != [None]


def test_stock_phrases_and_number_series_are_ignored_but_no_item_becomes_undetectable():
    stock = "Which of the following statements about the thing below is true for all of them"
    series = " ".join(map(str, range(1, 20)))
    items = [(f"q{n}", f"{stock} {prose(n, 20)} {series}") for n in range(11)]
    index = BenchmarkIndex.build([*items, ("numbers", " ".join(map(str, range(50, 90))))], stock_items=10)
    assert index.hits([f"Exam. {stock}?", series]) == [None, None]
    assert [hit and hit.item_id for hit in index.hits([items[4][1]])] == ["q4"]
    assert [hit and hit.item_id for hit in index.hits([" ".join(map(str, range(60, 80)))])] == ["numbers"]
    assert BenchmarkIndex.build(items, stock_items=11).hits([stock]) != [None]
    only_stock = BenchmarkIndex.build([(f"s{n}", stock) for n in range(11)], stock_items=10)
    assert only_stock.hits([stock]) != [None]


def test_filter_parts_a_batch_and_keeps_the_reason():
    texts = [prose(500, 50), embedded(ITEMS[2][1], 200), prose(501, 50)]
    documents = [
        Document(text=t, domain="text", kind="k", source="s", origin=f"o{n}", license="MIT") for n, t in enumerate(texts)
    ]
    kept, removed = INDEX.filter(document_batch(documents))
    assert kept.column("origin").to_pylist() == ["o0", "o2"]
    (row,) = removed.to_pylist()
    assert row["document_id"] == documents[1].id
    assert (row["step"], row["reason"]) == ("decontamination", "holds benchmark item bench/2")


def test_a_saved_index_finds_the_same(tmp_path: Path):
    index = BenchmarkIndex.build([*ITEMS, ("nine", "What is the capital city of the old kingdom"), ("one", "Who")])
    index.save(tmp_path)
    loaded = BenchmarkIndex.load(tmp_path)
    texts = [embedded(ITEMS[1][1], 300), "what is the capital city of the old kingdom", prose(77, 90)]
    assert loaded.hits(texts) == index.hits(texts)
    assert (loaded.digest, loaded.num_unmatched, loaded.num_n_grams) == (index.digest, 1, index.num_n_grams)
    assert index.digest != INDEX.digest


@pytest.mark.parametrize("items", [[], [("a", "too short"), ("b", "")]])
def test_an_index_that_can_match_nothing_is_refused(items: list[tuple[str, str]]):
    with pytest.raises(ValueError, match="benchmark items"):
        BenchmarkIndex.build(items)


@given(st.lists(st.text("ab c\n.", max_size=30), max_size=6), st.integers(1, 4))
def test_equal_n_grams_and_only_those_have_equal_hashes(texts: list[str], n: int):
    words = Words.of(texts)
    at, hashes = words.n_grams(n)
    expected = [tuple(part) for text in texts for part in _windows("".join(c if c.isalnum() else " " for c in text).split(), n)]
    found = [tuple(words.text(first, first + n - 1).replace(".", " ").split()) for first in at.tolist()]
    assert found == expected
    assert len(set(zip(found, hashes.tolist(), strict=True))) == len(set(found)) == len(set(hashes.tolist()))


def _windows(words: list[str], n: int) -> list[list[str]]:
    return [words[i : i + n] for i in range(len(words) - n + 1)]
