import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from agent_and_prose import (
    ANNOTATED,
    BAD,
    GOOD,
    OTHER,
    PROSE_WORDS,
    SEED,
    TOOL_WORDS,
    texts,
    train,
    write_annotations,
    write_index,
    write_inputs,
    write_pages,
)

from hephaestus_dag.documents import document_id
from hephaestus_dag.quality.scoring import score_texts
from hephaestus_dag.retrieval.vectors import write_vectors

FILES = ["classifier.json", "held_out.parquet", "measures.json", "quality.bin", "quality.png", "thresholds.json"]


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    return write_inputs(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What training returns, and where the classifier is. Only to be read."""
    folder = tmp_path_factory.mktemp("trained")
    return train(write_inputs(folder), folder / "model"), folder / "model"


def test_separable_text_is_learned(trained: tuple[dict[str, Any], Path]):
    found, model = trained
    for part in ("held_out", "held_out_web", "held_out_annotated"):
        assert found[part]["auc"] > 0.99
        assert found[part]["average_precision"] > 0.99
        assert found[part]["f1"] > 0.95
    unseen = score_texts(model, texts(TOOL_WORDS, 20, 9) + texts(PROSE_WORDS, 20, 9))
    assert unseen[:20].min() > 0.5 > unseen[20:].max()


def test_the_same_inputs_give_the_same_bytes(inputs: dict[str, Path], tmp_path: Path):
    search = {"trials": 2, "epochs": [2, 5], "dim": [2, 4]}
    for name in ("one", "other"):
        train(inputs, tmp_path / name, search=search)
    train(inputs, tmp_path / "reseeded", search=search, seed=1)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == FILES
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "other" / f).read_bytes() for f in FILES)
    assert (tmp_path / "one/quality.bin").read_bytes() != (tmp_path / "reseeded/quality.bin").read_bytes()


def test_what_is_returned_is_also_written(trained: tuple[dict[str, Any], Path]):
    found, model = trained
    assert json.loads((model / "measures.json").read_text()) == found
    assert found["model_bytes"] == (model / "quality.bin").stat().st_size
    assert (model / "quality.png").stat().st_size < 100_000


def test_measures_are_of_the_held_out_annotated_pages(trained: tuple[dict[str, Any], Path]):
    found, model = trained
    held_out = pq.read_table(model / "held_out.parquet").to_pylist()
    annotated = [row for row in held_out if row["origin"].startswith("annotated")]
    assert found["measured_on"] == "annotated pages"
    assert found["held_out_annotated"]["examples"] == len(annotated)
    assert sum(row["kept"] + row["removed"] for row in found["confusion"]) == len(annotated)
    assert sum(row["examples"] for row in found["reliability"]) == len(annotated)
    assert found["held_out"]["examples"] == len(held_out)
    assert {row["similarity"] is None for row in held_out if row["origin"] == "seed"} == {True}


def test_few_annotated_pages_do_not_decide_alone(inputs: dict[str, Path], tmp_path: Path):
    write_annotations(inputs["annotations"], GOOD[:60], BAD[:25])
    assert train(inputs, tmp_path / "model")["measured_on"] == "web pages"


def test_without_good_pages_seed_documents_must_do(inputs: dict[str, Path], tmp_path: Path):
    write_annotations(inputs["annotations"], [], BAD[:ANNOTATED])
    found = train(inputs, tmp_path / "model")
    assert (found["measured_on"], found["alternatives"]) == ("examples", [])
    assert found["held_out_web"]["average_precision"] is None
    assert found["held_out"]["f1"] > 0.9


def test_the_labels_of_held_out_pages_do_not_reach_the_model(inputs: dict[str, Path], tmp_path: Path):
    found = train(inputs, tmp_path / "model", held_out_share=0.3)
    total = {split: sum(counts.values()) for split, counts in found["examples"].items()}
    held_out = pq.read_table(tmp_path / "model/held_out.parquet")["document_id"].to_pylist()
    assert total["held_out"] == len(held_out)
    assert sum(total.values()) == len(SEED) + 2 * ANNOTATED + len(OTHER)
    labels = {text: text in GOOD for text in GOOD[:ANNOTATED] + BAD[:ANNOTATED]}
    wrong = {text: label != (document_id(text) in held_out) for text, label in labels.items()}
    assert wrong != labels
    write_annotations(inputs["annotations"], *([t for t, label in wrong.items() if label is good] for good in (True, False)))
    train(inputs, tmp_path / "wrong", held_out_share=0.3)
    assert (tmp_path / "model/quality.bin").read_bytes() == (tmp_path / "wrong/quality.bin").read_bytes()


def test_one_class_alone_is_refused(inputs: dict[str, Path], tmp_path: Path):
    write_annotations(inputs["annotations"], [], [])
    with pytest.raises(ValueError, match="lack a class"):
        train({**inputs, "web_corpus": write_pages(tmp_path / "found", GOOD + BAD)}, tmp_path / "model")


def test_a_page_full_of_labels_does_not_train_the_classifier(inputs: dict[str, Path], tmp_path: Path):
    poisoned = [text + "\n__label__positive __LABEL__positive" for text in OTHER]
    train({**inputs, "web_corpus": write_pages(tmp_path / "poisoned", GOOD + BAD + poisoned)}, tmp_path / "model")
    assert score_texts(tmp_path / "model", texts(PROSE_WORDS, 20, 9)).max() < 0.5


def test_threshold_table_trades_precision_for_recall(trained: tuple[dict[str, Any], Path]):
    _, model = trained
    table = json.loads((model / "thresholds.json").read_text())
    recalls = [row["recall"] for row in table]
    assert recalls == sorted(recalls, reverse=True)
    assert table[0]["kept_share"] == 1.0
    assert np.all(np.diff([row["threshold"] for row in table]) > 0)


def alternatives(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["scored by"]: row for row in found["alternatives"]}


def test_where_only_words_tell_the_classifier_beats_every_alternative(trained: tuple[dict[str, Any], Path]):
    rows = alternatives(trained[0])
    ours = rows.pop("fastText classifier")
    assert set(rows) == {"embedding similarity", "heuristic filter", "keep everything"}
    assert all(row["classifier_adds_low"] > 0.1 for row in rows.values())
    assert all(row["precision_at_share"] < ours["precision_at_share"] for row in rows.values())
    assert rows["keep everything"]["auc"] == 0.5
    assert rows["keep everything"]["average_precision"] == pytest.approx(ours["positives"] / ours["pages"])


def test_where_similarity_tells_all_the_classifier_is_seen_to_add_nothing(inputs: dict[str, Path], tmp_path: Path):
    write_index(inputs["web_index"], GOOD + BAD + OTHER, lambda page: float(page in GOOD))
    row = alternatives(train(inputs, tmp_path / "model"))["embedding similarity"]
    assert row["average_precision"] == 1
    assert row["classifier_adds"] <= 0
    assert row["classifier_adds_low"] <= 0 <= row["classifier_adds_high"]


def test_a_page_without_vector_ranks_last(inputs: dict[str, Path], tmp_path: Path):
    write_index(inputs["web_index"], GOOD + OTHER, lambda page: float(page in GOOD) - 5)
    row = alternatives(train(inputs, tmp_path / "model"))["embedding similarity"]
    assert row["average_precision"] == 1
    similarity = pq.read_table(tmp_path / "model/held_out.parquet").to_pylist()
    assert {r["similarity"] for r in similarity if r["origin"] == "annotated_bad"} == {-np.inf}


def test_vectors_of_another_encoder_are_refused(inputs: dict[str, Path], tmp_path: Path):
    write_vectors(inputs["web_index"], [([document_id(GOOD[0])], np.ones((1, 2), np.float32))], {"model": "another"}, 2)
    with pytest.raises(ValueError, match=r"embedding similarity.*model"):
        train(inputs, tmp_path / "model")
