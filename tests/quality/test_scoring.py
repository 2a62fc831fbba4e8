import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from agent_and_prose import BAD, GOOD, OTHER, SEED, score, train, write_inputs, write_pages

from hephaestus_dag.documents import document_id
from hephaestus_dag.quality.scoring import score_documents, score_texts
from resources.compute import LocalPool


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Documents, classifier and scores. Only to be read."""
    folder = tmp_path_factory.mktemp("scored")
    return score(write_inputs(folder), folder)


def test_scores_stand_in_the_order_of_the_documents(folders: dict[str, Path]):
    table = pq.read_table(folders["scores"] / "scores.parquet")
    assert table["document_id"].to_pylist() == [document_id(text) for text in GOOD + BAD + OTHER]
    alone = [float(score_texts(folders["classifier"], [text])[0]) for text in GOOD + BAD + OTHER]
    assert table["quality_score"].to_pylist() == alone


def test_progress_and_quartiles_are_of_all_documents(folders: dict[str, Path], tmp_path: Path):
    told: list[tuple[int, int]] = []
    found = score_documents(
        folders["documents"], folders["classifier"], tmp_path / "scores", lambda done, of: told.append((done, of))
    )
    assert told[-1] == (360, 360)
    scores = pq.read_table(tmp_path / "scores/scores.parquet")["quality_score"].to_numpy()
    assert (found["documents"], found["quartiles"]) == (360, np.quantile(scores, (0.25, 0.5, 0.75)).tolist())


def test_two_workers_write_the_same_scores(folders: dict[str, Path], tmp_path: Path):
    map_over = LocalPool(num_workers=2).map
    score_documents(folders["documents"], folders["classifier"], tmp_path / "scores", map_over=map_over)
    assert (tmp_path / "scores/scores.parquet").read_bytes() == (folders["scores"] / "scores.parquet").read_bytes()


def test_only_the_first_characters_count(folders: dict[str, Path], tmp_path: Path):
    model = shutil.copytree(folders["classifier"], tmp_path / "model")
    settings = json.loads((model / "classifier.json").read_text())
    (model / "classifier.json").write_text(json.dumps({**settings, "max_characters": 100}))
    start = GOOD[0][:100]
    assert len(set(score_texts(model, [start, start + BAD[0]]))) == 1
    assert len(set(score_texts(folders["classifier"], [start, start + BAD[0]]))) == 2


def test_a_classifier_rebuilt_in_its_place_is_the_one_that_scores(folders: dict[str, Path], tmp_path: Path):
    model = shutil.copytree(folders["classifier"], tmp_path / "model")
    train(write_inputs(tmp_path), tmp_path / "other", seed=1)
    before = score_texts(model, SEED).tolist()
    shutil.copytree(tmp_path / "other", model, dirs_exist_ok=True)
    assert score_texts(model, SEED).tolist() == score_texts(tmp_path / "other", SEED).tolist() != before


def test_any_text_has_a_score(folders: dict[str, Path]):
    model = folders["classifier"]
    strange = ["", "\n", "unseenword", "\x00", "é" * 10_000, "🙂", "__label__positive", "</s>", "\ud800"]
    scores = score_texts(model, strange)
    assert len(scores) == len(strange)
    assert np.all((scores >= 0) & (scores <= 1))
    assert score_texts(model, []).tolist() == []


def test_nothing_to_score_is_said(folders: dict[str, Path], tmp_path: Path):
    with pytest.raises(ValueError, match="retrieval found nothing"):
        score_documents(write_pages(tmp_path / "empty", []), folders["classifier"], tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
