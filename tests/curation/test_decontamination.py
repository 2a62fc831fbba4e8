"""Benchmark text in the corpus: planted in every shape it is found and named, and clean documents stay."""

import json
import random
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.function_index import BenchmarkFunction
from hephaestus_dag.curation.ngrams import Words
from hephaestus_dag.documents import Document, document_batch, signature

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
    items = [*ITEMS, ("nine", "What is the capital city of the old kingdom"), ("one", "Who")]
    index = BenchmarkIndex.build(items, functions=[benchmark_function(WEATHER)])
    index.save(tmp_path)
    loaded = BenchmarkIndex.load(tmp_path)
    texts = [embedded(ITEMS[1][1], 300), "what is the capital city of the old kingdom", prose(77, 90)]
    assert loaded.hits(texts) == index.hits(texts)
    assert (loaded.digest, loaded.num_unmatched, loaded.num_n_grams) == (index.digest, 1, index.num_n_grams)
    assert loaded.functions.rows == index.functions.rows
    assert len(loaded.functions) == 1
    assert len({INDEX.digest, index.digest, BenchmarkIndex.build(items).digest}) == 3


@given(st.integers(0, 29), st.sampled_from([str, str.lower, str.upper, str.title]), st.integers(1, 9), st.integers(0, 300))
def test_no_line_length_case_or_place_hides_an_item(number: int, case: Callable[[str], str], width: int, before: int):
    name, text = ITEMS[number]
    words = case(text).split()
    wrapped = "\n".join(" ".join(words[at : at + width]) for at in range(0, len(words), width))
    (hit,) = INDEX.hits([f"{prose(950, before)}\n{wrapped}\n{prose(951, 300 - before)}"])
    assert hit
    assert hit.item_id == name


def test_an_item_may_have_several_texts_and_each_is_found():
    short = [("short", "Name the colour of it"), ("short", "Name the colour of it A. red B. green C. blue")]
    index = BenchmarkIndex.build([*ITEMS, *short])
    assert len(index.item_ids) == len(ITEMS) + 1
    hits = index.hits(["Name the colour of it: (a) red (b) green (c) blue", "Name the colour of it!"])
    assert [hit and hit.item_id for hit in hits] == ["short", None]


WEATHER = {
    "name": "getForecast",
    "description": "Tell the weather of a place on some day.",
    "parameters": {"type": "dict", "properties": {"placeName": {"type": "string"}, "day": {"type": "string"}}},
}
CLOSE = {
    "name": "close_ticket",
    "description": "Close a ticket that an agent has dealt with.",
    "parameters": {"type": "dict", "properties": {"ticket_id": {"type": "integer", "description": "Number of the ticket."}}},
}


def benchmark_function(function: dict[str, Any]) -> BenchmarkFunction:
    same = signature(function["name"], function["parameters"]["properties"])
    return BenchmarkFunction(f"bench/1 (function {function['name']})", same, function["description"], json.dumps(function))


FUNCTIONS = BenchmarkIndex.build(ITEMS, functions=map(benchmark_function, (WEATHER, CLOSE)))


def removed(text: str, *signatures: str) -> list[dict[str, str]]:
    document = Document(
        text=text, domain="agent", kind="k", source="s", origin="o", license="MIT", signatures="\n".join(signatures)
    )
    return FUNCTIONS.filter(document_batch([document]))[1].to_pylist()


@pytest.mark.parametrize("function", [WEATHER, CLOSE], ids=["two parameters", "one parameter"])
@pytest.mark.parametrize(
    "shape",
    [str, str.lower, embedded, lambda text: "\n".join(textwrap.wrap(text, 30)), lambda text: json.dumps(text, indent=2)],
)
def test_a_function_that_is_copied_is_found_in_every_shape(function: dict[str, Any], shape: Callable[[str], str]):
    (row,) = removed(shape(json.dumps(function)))
    assert row["reason"] == f"holds benchmark item bench/1 (function {function['name']})"


def test_a_function_is_known_by_its_signature_however_it_is_described():
    (row,) = removed("weather, in our own words", "other(x)", "get_forecast(day,place_name)")
    assert (row["reason"], row["evidence"]) == (
        "has the function of benchmark item bench/1 (function getForecast)",
        "get_forecast(day,place_name)",
    )
    assert removed("weather", "get_forecast(day,place)", "forecast(day,place_name)", "") == []


def test_a_signature_of_one_parameter_needs_the_description_too():
    assert removed("Closes a support ticket you may modify.", "close_ticket(ticket_id)") == []
    (row,) = removed("close_ticket: close a TICKET that\nan agent has dealt with", "close_ticket(ticket_id)")
    assert row["reason"] == "has the function of benchmark item bench/1 (function close_ticket)"


def test_phrases_that_schemas_share_are_no_leak():
    phrase = "The maximum number of exports to return in each page of results that follows the page before"
    properties = {name: {"type": "string", "description": prose(n, 20)} for n, name in enumerate("abc")}
    properties["maxResults"] = {"type": "integer", "description": phrase}
    listing = {"name": "list_exports", "description": "Lists.", "parameters": {"type": "dict", "properties": properties}}
    index = BenchmarkIndex.build(ITEMS, functions=[benchmark_function(listing)])
    assert index.hits([f"Parameters: maxResults: {phrase}", json.dumps(listing)])[0] is None
    assert index.hits([json.dumps(listing).lower()]) != [None]
    assert BenchmarkIndex.build([("question", phrase)]).hits([f"Parameters: maxResults: {phrase}"]) != [None]


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


def test_an_answer_of_nothing_but_numbers_is_found_beside_the_question_of_the_same_item():
    answer = "1 2 3 4 5 6 7 8 9 10 11 12 13 14"
    index = BenchmarkIndex.build(
        [("b/1", "what are the first fourteen natural numbers that a child counts on its hands"), ("b/1", answer)]
    )
    assert [hit is not None for hit in index.hits([f"see {answer} there", "1 2 3 4"])] == [True, False]
