from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agent_and_prose import BAD, GOOD, PROSE_WORDS, SMALL, TOOL_WORDS, texts
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.documents import document_id
from hephaestus_dag.quality.config import ClassifierConfig
from hephaestus_dag.quality.examples import Example
from hephaestus_dag.quality.fasttext_model import (
    ADDED,
    POSITIVE,
    fold,
    prepare,
    probabilities,
    train,
    write_training_file,
)

EXAMPLES = [Example(document_id(t), t, "annotated_good") for t in GOOD] + [Example(document_id(t), t, "random") for t in BAD]
MIXED = [text for n in range(30) for text in texts(TOOL_WORDS[: n % 8 + 1] + PROSE_WORDS[: 8 - n % 8], 3, n)]


def trained(tmp_path: Path, **settings: Any) -> Any:
    config = ClassifierConfig.model_validate({**SMALL, **settings})
    write_training_file(EXAMPLES, config, tmp_path / "train.txt")
    return train(tmp_path / "train.txt", config)


@pytest.mark.parametrize("word_ngrams", [1, 2])
def test_folding_keeps_the_scores_and_shrinks_the_model(tmp_path: Path, word_ngrams: int):
    import fasttext

    model = trained(tmp_path, word_ngrams=word_ngrams, epochs=2)
    lines = [prepare(text) for text in MIXED]
    labels, values = model.predict([line.decode() for line in lines], k=2)
    rows = zip(labels, values, strict=True)
    before = np.array([dict(zip(names, row, strict=True))[POSITIVE] for names, row in rows]) - ADDED
    model.save_model(str(tmp_path / "whole.bin"))
    numbers = fold(model)
    model.save_model(str(tmp_path / "folded.bin"))
    after = probabilities(fasttext.load_model(str(tmp_path / "folded.bin")), lines)
    assert np.ptp(before) > 0.1
    assert after == pytest.approx(before, abs=1e-5)
    saved = (tmp_path / "whole.bin").stat().st_size - (tmp_path / "folded.bin").stat().st_size
    assert saved == pytest.approx(4 * numbers * 7 / 8, rel=0.01)


def test_pages_that_are_surely_good_still_have_an_order(tmp_path: Path):
    model = trained(tmp_path)
    model.set_matrices(5 * model.get_input_matrix(), model.get_output_matrix())
    lines = [prepare(text) for text in MIXED]
    _, values = model.predict([line.decode() for line in lines])
    sure = np.concatenate(values) >= 1
    fold(model)
    assert len(np.unique(probabilities(model, lines)[sure])) > 15


def test_a_text_is_read_as_small_words_with_names_paths_and_calls_in_one_piece():
    assert prepare("Call `create_user(name: str = 'Bob')`;\n\tsee /v1/users, --force.").split() == (
        b"call create_user( name: str bob see /v1/users --force.".split()
    )


@given(st.text() | st.lists(st.sampled_from(["__label__positive", "</s>", "__LABEL__x", "\n", "\0", "é", "a"])).map(" ".join))
def test_no_text_breaks_a_line(text: str):
    assert not any(sign in prepare(text) for sign in (b"\n", b"\r", b"\0", b"</s>"))


def test_no_word_of_a_text_passes_for_a_label(tmp_path: Path):
    text = "__label__positive a\n__LABEL__negative b__label__c (__label__x\0__label__"
    write_training_file([Example(document_id(text), text, "random")], ClassifierConfig(), tmp_path / "train.txt")
    assert (tmp_path / "train.txt").read_text().split() == ["__label__negative", "a", "b__label__c", "("]


def test_annotated_pages_weigh_more(tmp_path: Path):
    write_training_file(EXAMPLES, ClassifierConfig(annotated_weight=3), tmp_path / "train.txt")
    lines = (tmp_path / "train.txt").read_text().splitlines()
    assert sum(line.startswith(POSITIVE) for line in lines) == 3 * len(GOOD)
    assert len(lines) == 3 * len(GOOD) + len(BAD)


def test_divergence_names_the_remedy(tmp_path: Path):
    with pytest.raises(ValueError, match="lower lr"):
        trained(tmp_path, lr=1e8, epochs=20)


def test_a_model_without_a_known_word_says_neither(tmp_path: Path):
    model = trained(tmp_path, min_count=1_000, word_ngrams=1)
    fold(model)
    assert probabilities(model, [b"unheardof", b""]).tolist() == [0.5, 0.5]
