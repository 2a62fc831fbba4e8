import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from agent_and_prose import BAD, GOOD, OTHER, TOOL_WORDS, score, texts, write_annotations, write_inputs, write_pages

from hephaestus_dag.documents import document_id, read_document_table
from hephaestus_dag.quality.config import FilterConfig
from hephaestus_dag.quality.threshold import apply_threshold, choose_threshold

PRECISE = FilterConfig(keep_share=None, target_precision=0.9)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    return write_inputs(tmp_path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Documents, classifier and scores. Only to be read."""
    folder = tmp_path_factory.mktemp("scored")
    return score(write_inputs(folder), folder)


def test_the_threshold_keeps_tools_and_records_what_it_removed(folders: dict[str, Path], tmp_path: Path):
    found = apply_threshold(**folders, config=FilterConfig(keep_share=120 / 360), folder=tmp_path / "kept")
    assert set(read_document_table(tmp_path / "kept", ["text"])["text"].to_pylist()) == set(GOOD)
    removed = pq.read_table(tmp_path / "kept/removed.parquet").to_pylist()
    assert [row["document_id"] for row in removed] == [document_id(text) for text in BAD + OTHER]
    assert {row["step"] for row in removed} == {"quality"}
    assert (found["scored"], found["kept"], found["removed"], found["kept_share"]) == (360, 120, 240, 1 / 3)


def test_a_moved_threshold_needs_neither_model_nor_another_score(folders: dict[str, Path], tmp_path: Path):
    classifier = shutil.copytree(folders["classifier"], tmp_path / "classifier", ignore=shutil.ignore_patterns("*.bin"))
    kept = []
    for share in (0.1, 0.5, 0.9):
        apply_threshold(
            folders["documents"], folders["scores"], classifier, FilterConfig(keep_share=share), tmp_path / str(share)
        )
        kept.append(set(read_document_table(tmp_path / str(share), ["id"])["id"].to_pylist()))
    assert kept[0] < kept[1] < kept[2]
    assert [len(ids) for ids in kept] == pytest.approx([36, 180, 324], abs=3)  # Equal scores stay together.


def test_the_same_inputs_give_the_same_bytes(folders: dict[str, Path], tmp_path: Path):
    found = [apply_threshold(**folders, config=PRECISE, folder=tmp_path / name) for name in ("one", "other")]
    assert found[0] == found[1]
    for file in ("documents/part-00000.parquet", "removed.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_target_precision_is_met_on_held_out_annotated_pages(inputs: dict[str, Path], tmp_path: Path):
    good, bad = GOOD[:80] + BAD[:12], BAD[12:90] + GOOD[80:90]  # An annotator that errs.
    write_annotations(inputs["annotations"], good, bad)
    folders = score(inputs, tmp_path)
    found = choose_threshold(folders["scores"], folders["classifier"], FilterConfig(keep_share=None, target_precision=0.8))
    rows = pq.read_table(tmp_path / "model/held_out.parquet").to_pylist()
    annotated = [row for row in rows if row["origin"].startswith("annotated")]
    kept = [row["positive"] for row in annotated if row["quality_score"] >= found["threshold"]]
    assert (found["measured_on"], found["held_out"]) == ("annotated pages", len(annotated))
    assert found["precision"] == sum(kept) / len(kept) >= 0.8
    assert found["confusion"][0]["kept"] == sum(kept)
    assert found["threshold_low"] <= found["threshold"] <= found["threshold_high"]
    assert found["recall_low"] <= found["recall"] <= found["recall_high"]
    assert found["precision_low"] < 0.8 < found["precision_high"]


def test_a_share_refers_to_the_scored_pages_and_is_measured_on_held_out_ones(folders: dict[str, Path]):
    found = choose_threshold(folders["scores"], folders["classifier"], FilterConfig(keep_share=0.25))
    scores = pq.read_table(folders["scores"] / "scores.parquet")["quality_score"].to_numpy()
    assert (scores >= found["threshold"]).mean() == pytest.approx(0.25, abs=0.01)
    assert "scored web pages" in found["rule"]
    assert found["measured_on"] == "annotated pages"
    assert found["threshold_low"] < found["threshold"] < found["threshold_high"]


def test_an_unreachable_precision_names_the_best(folders: dict[str, Path], tmp_path: Path):
    rows = [("annotated_good", True, 0.2)] * 20 + [("annotated_bad", False, 0.8)] * 20 + [("seed", True, 0.9)] * 20
    columns = dict(zip(("origin", "positive", "quality_score"), zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "held_out.parquet")
    with pytest.raises(ValueError, match=r"target_precision 0.9 on the 40 held-out annotated pages \(best 0\.500\)"):
        choose_threshold(folders["scores"], tmp_path, PRECISE)


@pytest.mark.parametrize("pages", [texts(TOOL_WORDS, 360, 77), (GOOD + BAD + OTHER)[:-1], [*GOOD, *BAD, *OTHER, "one more"]])
def test_scores_of_other_documents_are_refused(folders: dict[str, Path], tmp_path: Path, pages: list[str]):
    with pytest.raises(ValueError, match="score them again"):
        apply_threshold(
            **{**folders, "documents": write_pages(tmp_path / "other", pages)}, config=FilterConfig(), folder=tmp_path / "kept"
        )


@pytest.mark.parametrize("rule", [{"keep_share": None}, {"keep_share": 0.5, "target_precision": 0.9}])
def test_exactly_one_rule_decides(rule: dict[str, float]):
    with pytest.raises(ValueError, match="exactly one"):
        FilterConfig.model_validate(rule)


def test_share_outside_the_band_is_implausible():
    config = FilterConfig(min_keep_share=0.2, max_keep_share=0.6)
    assert [config.plausible(share) for share in (0.1, 0.4, 0.7)] == [False, True, False]
