import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.quality.heuristic import heuristic_scores

PROSE = "The river was frozen in winter, and (so the old king said) nobody could bake bread until the song was over."
SIGNS = [
    "Call create_user(name, age) to add somebody to the list.",
    "The parameter is required; returns nothing.",
    "Run it:\n```\nls\n```\n",
    "Send GET /v1/users to the server to list them.",
    "Give --force to overwrite what is there already.",
]


def test_every_sign_counts():
    assert heuristic_scores([PROSE]).tolist() == [0]
    assert heuristic_scores(SIGNS).min() > 0


def test_a_sign_counts_per_word():
    short, long = heuristic_scores([SIGNS[0], SIGNS[0] + " " + PROSE])
    assert 0 < long < short


@given(st.lists(st.text(), max_size=5))
def test_any_text_has_a_score(texts: list[str]):
    scores = heuristic_scores(texts)
    assert scores.shape == (len(texts),)
    assert np.all((scores >= 0) & np.isfinite(scores))
