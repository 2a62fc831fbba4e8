"""Planted truth: what is planted is found, and steps that miss something are told apart from those that do not."""

import random
from dataclasses import replace

import pytest

from hephaestus_dag.curation.config import NearDuplicateConfig
from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.exact import text_ids
from hephaestus_dag.curation.planted import edit, planted_truth, similarity
from hephaestus_dag.documents import Document, document_batch, document_id

WORDS = [f"{a}{b}{c}" for a in "klmnr" for b in "aeiou" for c in ["st", "nd", "rk", "lo", "mi"]]
DRAW = random.Random(1)
TEXTS = [" ".join(DRAW.choices(WORDS, k=DRAW.randint(34, 400))).replace("o ", "o.\n") for _ in range(250)]
ITEMS = [(f"quiz/{n}", " ".join(random.Random(n).choices(WORDS, k=3 + n)).capitalize() + "?") for n in range(60)]
INDEX = BenchmarkIndex.build(ITEMS)
CONFIG = NearDuplicateConfig()


def test_all_that_is_planted_is_found():
    truth = planted_truth(TEXTS, ITEMS, CONFIG, INDEX, shortest_item=8, num_plants=150)
    assert truth.problems() == []
    assert (truth.copies, truth.copies_found) == (150, 150)
    assert truth.near_duplicates == 150
    assert truth.near_duplicates_found >= 0.95 * 150
    assert truth.unlike > 100
    assert truth.merged >= truth.near_duplicates_found
    assert truth.false_merges == 0
    assert (truth.benchmark_items, truth.unmatchable_items) == (55, 5)
    assert truth.benchmark_items_found == dict.fromkeys(("verbatim", "wrapped", "lower_case", "embedded"), 55)
    assert truth == planted_truth(TEXTS[::-1], ITEMS[::-1], CONFIG, INDEX, shortest_item=8, num_plants=150)
    assert truth.as_dict()["benchmark_items_found"]["embedded"] == 55


def test_a_step_that_misses_something_is_told():
    strict = NearDuplicateConfig(min_jaccard=0.8)
    index = BenchmarkIndex.build(ITEMS[:50])
    truth = planted_truth(TEXTS, ITEMS, strict, index, shortest_item=8, num_plants=100)
    assert truth.near_duplicates_found < 50
    assert set(truth.benchmark_items_found.values()) == {45}
    problems = truth.problems()
    assert len(problems) == 5
    assert "of 100 near-duplicates found" in problems[0]
    assert replace(truth, false_merges=2).problems()[1] == f"2 of {truth.merged} merged documents are below Jaccard 0.5"
    assert replace(truth, copies_found=99).problems()[0] == "99 of 100 exact copies found"
    assert problems[1:] == [f"45 of 55 benchmark items found ({s})" for s in truth.benchmark_items_found]


def test_a_number_of_plants_and_items_is_drawn_by_seed():
    truth = planted_truth(TEXTS, ITEMS, CONFIG, INDEX, shortest_item=8, num_plants=20, num_items=7)
    assert (truth.copies, truth.near_duplicates, truth.benchmark_items) == (20, 20, 7)


@pytest.mark.parametrize(("texts", "items"), [(["too short"] * 9, ITEMS), (TEXTS, ITEMS[:5]), ([], []), (TEXTS, [])])
def test_nothing_to_plant_must_not_pass(texts: list[str], items: list[tuple[str, str]]):
    with pytest.raises(ValueError, match="nothing to plant"):
        planted_truth(texts, items, CONFIG, INDEX, shortest_item=8)


def test_edits_replace_the_share_they_name():
    words = edit(" ".join(["old"] * 200), 0.03, ["new"], random.Random(0)).split()
    assert (words.count("new"), words.count("old")) == (6, 194)
    assert edit("one\n two", 0.01, ["x"], random.Random(0)) in ("x\n two", "one\n x")


def test_similarity_is_the_share_of_common_word_n_grams():
    assert similarity("a b c d e f", "A, b. c\nd e g", 5) == 1 / 3
    assert similarity("a b", "a b", 5) == 0


def test_ids_from_the_column_are_those_of_the_documents():
    texts = ["", "a", "ünï çödé ✓", *TEXTS[:20]]
    batch = document_batch([Document(text=t, domain="text", kind="k", source="s", origin="o", license="") for t in texts])
    assert text_ids(batch.column("text")) == batch.column("id").to_pylist() == [document_id(text) for text in texts]
    part = batch.slice(2, 5)
    assert text_ids(part.column("text")) == part.column("id").to_pylist()
    assert text_ids(batch.slice(0, 0).column("text")) == []
