import numpy as np
import pytest
from agent_and_prose import BAD, GOOD, PROSE_WORDS, SEED, SMALL, TOOL_WORDS, texts

from hephaestus_dag.documents import document_id
from hephaestus_dag.quality.config import ClassifierConfig
from hephaestus_dag.quality.examples import Example, Origin
from hephaestus_dag.quality.fasttext_model import prepare, probabilities
from hephaestus_dag.quality.measures import average_precision
from hephaestus_dag.quality.search import SEARCHED, drawn_settings, search


def examples(pages: list[str], origin: Origin) -> list[Example]:
    return [Example(document_id(text), text, origin) for text in pages]


MIXED = texts([*TOOL_WORDS[:4], *PROSE_WORDS[:4]], 200, 7)  # What is good there depends on one word, and by chance on others.
LABELLED = examples([t for t in MIXED if t.split().count("get") > 3], "annotated_good") + examples(
    [t for t in MIXED if t.split().count("get") <= 3], "annotated_bad"
)
TRAINING = examples(SEED + GOOD, "seed") + examples(BAD, "random") + LABELLED[::2]
VALIDATION = LABELLED[1::2]


def config(trials: int, **settings: object) -> ClassifierConfig:
    return ClassifierConfig.model_validate({**SMALL, **settings, "search": {"trials": trials, "lr": [0.3, 0.9]}})


def test_without_trials_the_given_settings_are_used():
    found = search(TRAINING, VALIDATION, config(0))
    assert found.best.settings == config(0)
    assert [row["chosen"] for row in found.trials] == [True]


def test_settings_that_hardly_train_are_replaced_by_drawn_ones():
    found = search(TRAINING, VALIDATION, config(3, lr=1e-6, epochs=1))
    chosen = next(row for row in found.trials if row["chosen"])
    assert len(found.trials) == 4
    assert not found.trials[0]["chosen"]
    assert chosen["average_precision"] == max(row["average_precision"] for row in found.trials)
    assert {name: getattr(found.best.settings, name) for name in SEARCHED} == {name: chosen[name] for name in SEARCHED}


def test_the_model_is_the_one_that_the_table_speaks_of():
    found = search(TRAINING, VALIDATION, config(2))
    scores = probabilities(found.best.model, [prepare(e.text) for e in VALIDATION])
    reached = average_precision(scores, np.array([e.positive for e in VALIDATION]))
    assert reached == next(row["average_precision"] for row in found.trials if row["chosen"])
    assert found.judged_on == "annotated pages"


def test_luck_on_few_pages_does_not_replace_the_given_settings():
    noise = examples(texts(PROSE_WORDS, 20, 8), "annotated_good") + examples(texts(PROSE_WORDS, 20, 9), "annotated_bad")
    found = search(TRAINING, noise, config(4, lr=0.3))
    assert found.trials[0]["chosen"] or found.trials[0]["average_precision"] < 0.8 * found.best.average_precision


def test_drawn_settings_lie_in_their_ranges_and_follow_the_seed():
    ranges = {"trials": 200, "lr": [0.1, 0.5], "epochs": [2, 4], "word_ngrams": [1, 2], "dim": [3, 3], "min_count": [1, 2]}
    seeded = [ClassifierConfig.model_validate({"search": ranges, "seed": seed}) for seed in (0, 0, 1)]
    one, same, other = ([[getattr(drawn, name) for name in SEARCHED] for drawn in drawn_settings(c)] for c in seeded)
    assert one == same != other
    lr, *whole = (sorted({row[place] for row in one}) for place in range(len(SEARCHED)))
    assert whole == [[2, 3, 4], [1, 2], [3], [1, 2]]
    assert 0.1 <= lr[0] < 0.12 < 0.45 < lr[-1] <= 0.5


@pytest.mark.parametrize("bounds", [[0.5, 0.1], [0, 1], [-1, 1]])
def test_a_range_goes_upwards_from_above_zero(bounds: list[float]):
    with pytest.raises(ValueError, match="lowest, highest"):
        ClassifierConfig.model_validate({"search": {"lr": bounds}})
