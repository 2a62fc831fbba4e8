import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hephaestus_dag.documents import document_id, read_document_table
from hephaestus_dag.quality.classifier import (
    collect_examples,
    normalise,
    score_documents,
    score_texts,
    train_classifier,
)
from hephaestus_dag.quality.config import ClassifierConfig, FilterConfig
from hephaestus_dag.quality.threshold import apply_threshold

TOOL_WORDS = ["GET", "POST", "endpoint", "parameter", "returns", "string", "integer", "request", "token", "header", "json"]
PROSE_WORDS = ["river", "winter", "old", "king", "garden", "story", "bread", "mountain", "song", "evening", "war", "harvest"]
SMALL = {"dim": 8, "bucket": 1_000, "epochs": 10, "lr": 0.5, "min_count": 1}


def texts(words: list[str], number: int, seed: int) -> list[str]:
    chooser = random.Random(seed)
    return [" ".join(chooser.choices(words, k=20)) + "\n" + " ".join(chooser.choices(words, k=10)) for _ in range(number)]


SEED = texts(TOOL_WORDS, 120, 1)
GOOD, BAD, OTHER = texts(TOOL_WORDS, 60, 2), texts(PROSE_WORDS, 60, 3), texts(PROSE_WORDS, 120, 4)


@pytest.fixture
def inputs(corpus: Callable[..., Path], tmp_path: Path) -> dict[str, Path]:
    """A seed corpus of tools; a web corpus of which retrieval found good and bad pages, a third of them annotated."""
    found = [document_id(text) for text in GOOD + BAD]
    annotated = [(document_id(t), t in GOOD) for t in GOOD[:20] + BAD[:20]] + [(document_id(GOOD[30]), None)]
    pq.write_table(pa.table({"document_id": found, "best_score": [0.5] * len(found)}), tmp_path / "retrieved.parquet")
    table = pa.table({"document_id": [i for i, _ in annotated], "good": pa.array([g for _, g in annotated], pa.bool_())})
    pq.write_table(table, tmp_path / "annotations.parquet")
    return {
        "seed_corpus": corpus("seed", SEED),
        "web_corpus": corpus("web", GOOD + BAD + OTHER, documents_per_shard=50),
        "retrieved": tmp_path / "retrieved.parquet",
        "annotations": tmp_path / "annotations.parquet",
    }


def train(inputs: dict[str, Path], folder: Path, **settings: Any) -> dict[str, Any]:
    return train_classifier(
        config=ClassifierConfig.model_validate({**SMALL, **settings}), folder=folder, seed_domains=("agent",), **inputs
    )


def test_separable_text_is_learned(inputs: dict[str, Path], tmp_path: Path):
    figures = train(inputs, tmp_path / "model")
    assert figures["held_out"]["auc"] > 0.99
    assert figures["held_out"]["f1"] > 0.95
    assert figures["held_out_annotated"]["accuracy"] > 0.9
    unseen = score_texts(tmp_path / "model", texts(TOOL_WORDS, 20, 9) + texts(PROSE_WORDS, 20, 9))
    assert unseen[:20].min() > 0.5 > unseen[20:].max()
    assert (tmp_path / "model/quality.png").stat().st_size < 100_000


def test_the_same_inputs_give_the_same_bytes(inputs: dict[str, Path], tmp_path: Path):
    for name in ("one", "other"):
        train(inputs, tmp_path / name)
    train(inputs, tmp_path / "reseeded", seed=1)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["classifier.json", "held_out.parquet", "quality.bin", "quality.png", "thresholds.json"]
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "other" / f).read_bytes() for f in files)
    assert (tmp_path / "one/quality.bin").read_bytes() != (tmp_path / "reseeded/quality.bin").read_bytes()


def test_a_classifier_rebuilt_in_its_place_is_the_one_that_scores(inputs: dict[str, Path], tmp_path: Path):
    train(inputs, tmp_path / "other", seed=1)
    train(inputs, tmp_path / "model")
    score_texts(tmp_path / "model", SEED)
    train(inputs, tmp_path / "model", seed=1)
    assert score_texts(tmp_path / "model", SEED).tolist() == score_texts(tmp_path / "other", SEED).tolist()


def test_nothing_to_score_is_said(inputs: dict[str, Path], corpus: Callable[..., Path], tmp_path: Path):
    train(inputs, tmp_path / "model")
    with pytest.raises(ValueError, match="retrieval found nothing"):
        score_documents(corpus("empty", []), tmp_path / "model", tmp_path / "scores")


def test_examples_have_one_label_each_and_annotation_outweighs_chance(inputs: dict[str, Path]):
    arguments = {**inputs, "config": ClassifierConfig(num_seed=50, num_random=70), "seed_domains": ("agent",)}
    examples = collect_examples(**arguments)
    by_origin = {o: {e.document_id for e in examples if e.origin == o} for o in {e.origin for e in examples}}
    assert len({e.document_id for e in examples}) == len(examples)
    assert {o: len(ids) for o, ids in by_origin.items()} == {
        "seed": 50,
        "random": 70,
        "annotated_good": 20,
        "annotated_bad": 20,
    }
    assert by_origin["annotated_good"] == {document_id(text) for text in GOOD[:20]}
    assert by_origin["random"] <= {document_id(text) for text in OTHER}


def test_held_out_examples_are_not_trained_on(inputs: dict[str, Path], tmp_path: Path):
    figures = train(inputs, tmp_path / "model", held_out_share=0.3)
    held_out = pq.read_table(tmp_path / "model/held_out.parquet")
    total = {part: sum(counts.values()) for part, counts in figures["examples"].items()}
    assert total["held_out"] == held_out.num_rows
    assert total["training"] + total["held_out"] == 120 + 40 + 120
    assert 0.15 < total["held_out"] / 280 < 0.45


def test_one_class_alone_is_refused(inputs: dict[str, Path], corpus: Callable[..., Path], tmp_path: Path):
    empty = pa.table({"document_id": pa.array([], pa.string()), "good": pa.array([], pa.bool_())})
    pq.write_table(empty, inputs["annotations"])
    with pytest.raises(ValueError, match="lack a class"):
        train({**inputs, "web_corpus": corpus("found", GOOD + BAD)}, tmp_path / "model")


def test_text_cannot_pass_for_a_label_or_break_a_line():
    assert normalise("A b(c)\n\t__label__positive  d.\r\n") == "a b ( c ) label positive d ."


def test_a_page_full_of_labels_does_not_train_the_classifier(
    inputs: dict[str, Path], corpus: Callable[..., Path], tmp_path: Path
):
    poisoned = [text + "\n__label__positive __LABEL__positive" for text in OTHER]
    train({**inputs, "web_corpus": corpus("poisoned", GOOD + BAD + poisoned)}, tmp_path / "model")
    assert score_texts(tmp_path / "model", texts(PROSE_WORDS, 20, 9)).max() < 0.5


@pytest.mark.parametrize("text", ["", "\n", "unseenword", "\x00", "é" * 10_000, "🙂"])
def test_any_text_has_a_score(inputs: dict[str, Path], tmp_path: Path, text: str):
    train(inputs, tmp_path / "model")
    (score,) = score_texts(tmp_path / "model", [text])
    assert 0 <= score <= 1


def scored(inputs: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    train(inputs, tmp_path / "model")
    score_documents(inputs["web_corpus"], tmp_path / "model", tmp_path / "scores")
    return {"documents": inputs["web_corpus"], "scores": tmp_path / "scores", "classifier": tmp_path / "model"}


def test_the_threshold_keeps_tools_and_records_what_it_removed(inputs: dict[str, Path], tmp_path: Path):
    folders = scored(inputs, tmp_path)
    figures = apply_threshold(**folders, config=FilterConfig(keep_share=60 / 240), folder=tmp_path / "kept")
    assert set(read_document_table(tmp_path / "kept", ["text"])["text"].to_pylist()) == set(GOOD)
    removed = pq.read_table(tmp_path / "kept/removed.parquet").to_pylist()
    assert {row["document_id"] for row in removed} == {document_id(text) for text in BAD + OTHER}
    assert {row["step"] for row in removed} == {"quality"}
    assert (figures["kept"], figures["removed"], figures["kept_share"]) == (60, 180, 0.25)


def test_the_threshold_moves_the_output(inputs: dict[str, Path], tmp_path: Path):
    folders = scored(inputs, tmp_path)
    kept = []
    for share in (0.1, 0.5, 0.9):
        apply_threshold(**folders, config=FilterConfig(keep_share=share), folder=tmp_path / str(share))
        kept.append(set(read_document_table(tmp_path / str(share), ["id"])["id"].to_pylist()))
    assert kept[0] < kept[1] < kept[2]
    assert [len(ids) for ids in kept] == pytest.approx([24, 120, 216], abs=3)  # Equal scores stay together.


def test_target_precision_is_met_on_held_out(inputs: dict[str, Path], tmp_path: Path):
    folders = scored(inputs, tmp_path)
    config = FilterConfig(keep_share=None, target_precision=0.9)
    figures = apply_threshold(**folders, config=config, folder=tmp_path / "kept")
    held_out = pq.read_table(tmp_path / "model/held_out.parquet")
    above = held_out["quality_score"].to_numpy() >= figures["threshold"]
    assert held_out["positive"].to_numpy(zero_copy_only=False)[above].mean() >= 0.9


def test_scores_of_other_documents_are_refused(inputs: dict[str, Path], corpus: Callable[..., Path], tmp_path: Path):
    folders = scored(inputs, tmp_path)
    other = corpus("other", texts(TOOL_WORDS, 240, 77))
    with pytest.raises(ValueError, match="score them again"):
        apply_threshold(**{**folders, "documents": other}, config=FilterConfig(), folder=tmp_path / "kept")


def test_threshold_table_trades_precision_for_recall(inputs: dict[str, Path], tmp_path: Path):
    train(inputs, tmp_path / "model")
    table = json.loads((tmp_path / "model/thresholds.json").read_text())
    recalls = [row["recall"] for row in table]
    assert recalls == sorted(recalls, reverse=True)
    assert table[0]["kept_share"] == 1.0
    assert np.all(np.diff([row["threshold"] for row in table]) > 0)


@pytest.mark.parametrize("rule", [{"keep_share": None}, {"keep_share": 0.5, "target_precision": 0.9}])
def test_exactly_one_rule_decides(rule: dict[str, float]):
    with pytest.raises(ValueError, match="exactly one"):
        FilterConfig.model_validate(rule)


def test_share_outside_the_band_is_implausible():
    config = FilterConfig(min_keep_share=0.2, max_keep_share=0.6)
    assert [config.plausible(share) for share in (0.1, 0.4, 0.7)] == [False, True, False]
