from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from agent_and_prose import ANNOTATED, BAD, GOOD, OTHER, SEED, write_annotations, write_inputs
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.documents import document_id
from hephaestus_dag.quality.config import ClassifierConfig
from hephaestus_dag.quality.examples import (
    ENOUGH,
    ENOUGH_OF_A_CLASS,
    POSITIVE_ORIGINS,
    Example,
    Origin,
    collect_examples,
    in_part,
    most_honest_part,
    split,
    split_of,
)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    found = write_inputs(tmp_path)
    return {name: found[name] for name in ("seed_corpus", "web_corpus", "retrieved", "annotations")}


def collect(inputs: dict[str, Path], **settings: int) -> list[Example]:
    return collect_examples(**inputs, config=ClassifierConfig.model_validate(settings), seed_domains=["agent"])


def test_examples_have_one_label_each(inputs: dict[str, Path]):
    examples = collect(inputs, num_seed=50, num_random=70)
    assert [e.document_id for e in examples] == sorted({e.document_id for e in examples})
    counts = Counter(e.origin for e in examples)
    assert counts == {"seed": 50, "random": 70, "annotated_good": ANNOTATED, "annotated_bad": ANNOTATED}
    ids = {origin: {e.document_id for e in examples if e.origin == origin} for origin in counts}
    assert ids["annotated_good"] == {document_id(text) for text in GOOD[:ANNOTATED]}
    assert ids["random"] <= {document_id(text) for text in OTHER}
    assert ids["seed"] <= {document_id(text) for text in SEED}
    assert all(document_id(e.text) == e.document_id for e in examples)


def test_an_annotation_outweighs_chance(inputs: dict[str, Path]):
    write_annotations(inputs["annotations"], OTHER[:10], BAD[:10])
    origins = {e.document_id: e.origin for e in collect(inputs)}
    assert {origins[document_id(text)] for text in OTHER[:10]} == {"annotated_good"}
    assert {origins[document_id(text)] for text in OTHER[10:]} == {"random"}


def test_only_the_beginning_of_a_text_is_read(inputs: dict[str, Path]):
    assert max(len(e.text) for e in collect(inputs, max_characters=100)) == 100


def test_every_example_is_in_one_split_and_its_id_alone_decides(inputs: dict[str, Path]):
    examples, config = collect(inputs), ClassifierConfig()
    parts = split(examples, config)
    assert sorted(e.document_id for part in parts.values() for e in part) == [e.document_id for e in examples]
    assert {name: set(part) for name, part in parts.items()} == {n: set(p) for n, p in split(examples[::-1], config).items()}


def test_a_larger_validation_share_moves_nothing_into_or_out_of_the_held_out_split():
    ids = [document_id(str(number)) for number in range(2_000)]
    small, large = ([split_of(i, ClassifierConfig(validation_share=share)) for i in ids] for share in (0.1, 0.3))
    assert [s == "held_out" for s in small] == [s == "held_out" for s in large]
    assert small.count("held_out") / 2_000 == pytest.approx(0.2, abs=0.03)
    assert large.count("validation") / 2_000 == pytest.approx(0.3, abs=0.03)


def test_splits_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="validation_share together"):
        ClassifierConfig(held_out_share=0.5, validation_share=0.5)


numbers = st.integers(0, 60)


@given(st.fixed_dictionaries(dict.fromkeys(("seed", "annotated_good", "annotated_bad", "random"), numbers)))
def test_the_deciding_part_has_enough_of_both_classes(counts: dict[Origin, int]):
    origins = np.array([origin for origin, count in counts.items() for _ in range(count)], dtype=object)
    labels = np.isin(origins, POSITIVE_ORIGINS)
    part = most_honest_part(origins, labels)
    chosen = labels[in_part(origins, part)]
    if part != "examples":
        assert len(chosen) >= ENOUGH
        assert ENOUGH_OF_A_CLASS <= chosen.sum() <= len(chosen) - ENOUGH_OF_A_CLASS
    if part != "annotated pages":
        good, bad = counts["annotated_good"], counts["annotated_bad"]
        assert good + bad < ENOUGH or min(good, bad) < ENOUGH_OF_A_CLASS
