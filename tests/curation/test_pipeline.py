"""Curation from end to end: what is taken out, in which order, and what is told about it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from hephaestus_dag.curation.config import CurationConfig
from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.exact import ExactDeduplicator
from hephaestus_dag.curation.figure import waterfall_figure
from hephaestus_dag.curation.pipeline import CurationCounts, curate, curation_steps
from hephaestus_dag.curation.removed import REMOVED_SCHEMA
from hephaestus_dag.curation.rules import LengthRule, LicenseRule
from hephaestus_dag.documents import Document, document_batch, read_document_table

QUESTION = "A farmer has seventeen sheep and all but nine run away how many sheep are then left on the farm"
INDEX = BenchmarkIndex.build([("riddles/1", QUESTION)])


def document(text: str, **values: str) -> Document:
    return Document(**{"text": text, "domain": "text", "kind": "k", "source": "s", "origin": "o", "license": "MIT", **values})  # type: ignore[arg-type]


def batches() -> list[pa.RecordBatch]:
    first = [document("the first text of all of them", origin="1"), document("x" * 199, origin="2")]
    second = [
        document("the first text of all of them", source="other", origin="3"),
        document("a text that nobody may use at all", license="unknown", origin="4"),
        document("tiny", origin="5"),
        document(f"Here it is: {QUESTION}!", origin="6"),
        document("the last text that may stay", license="GPL-3.0-only OR MIT", origin="7"),
    ]
    return [document_batch(first), document_batch(second)]


CONFIG = CurationConfig(licenses=("MIT",), min_characters=10, max_characters=198)


def run(folder: Path) -> CurationCounts:
    folder.mkdir()
    return curate(batches(), folder, curation_steps(CONFIG, INDEX))


def test_every_removal_is_kept_with_step_reason_and_evidence(tmp_path: Path):
    counts = run(tmp_path / "a")
    assert read_document_table(tmp_path / "a")["origin"].to_pylist() == ["1", "7"]
    rows = pq.read_table(tmp_path / "a/removed.parquet")
    assert rows.schema.equals(REMOVED_SCHEMA)
    assert [(row["step"], row["evidence"]) for row in rows.to_pylist()][:4] == [
        ("length", "199"),
        ("exact_duplicates", "other: 3"),
        ("license", "unknown"),
        ("length", "4"),
    ]
    last = rows.to_pylist()[-1]
    assert last["reason"] == "holds benchmark item riddles/1"
    assert "seventeen sheep" in last["evidence"]
    assert [(step.step, step.removed, step.kept) for step in counts.steps] == [
        ("exact_duplicates", 1, 6),
        ("license", 1, 5),
        ("length", 2, 3),
        ("decontamination", 1, 2),
    ]
    assert counts.steps[0].removed_by_source == {"other": 1}
    assert (counts.read, counts.kept) == (7, 2)
    assert counts.removed_share == pytest.approx(5 / 7)
    assert json.loads(json.dumps(counts.as_dict()))["steps"][2]["removed_by_source"] == {"s": 2}


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    assert run(tmp_path / "a") == run(tmp_path / "b")
    for path in sorted((tmp_path / "a").rglob("*.parquet")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_nothing_read_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="no documents to curate"):
        curate([], tmp_path, curation_steps(CONFIG, INDEX))


def test_the_waterfall_is_a_small_picture_that_does_not_change(tmp_path: Path):
    counts = run(tmp_path / "a")
    picture = waterfall_figure(counts)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 100_000
    assert waterfall_figure(counts) == picture


def test_copies_are_found_inside_a_batch_and_across_and_the_first_stays():
    steps = ExactDeduplicator()
    kept, removed = steps.filter(document_batch([document("a", origin="1"), document("a", origin="2"), document("b")]))
    assert kept.column("origin").to_pylist() == ["1", "o"]
    assert removed.column("evidence").to_pylist() == ["s: 2"]
    assert steps.filter(document_batch([document("b", source="t")]))[0].num_rows == 0
    assert steps.filter(document_batch([]))[1].num_rows == 0


@pytest.mark.parametrize(
    ("expression", "permitted"),
    [
        ("MIT", True),
        ("mit", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND ISC", True),
        ("GPL-3.0-only OR MIT AND ISC", True),
        ("(MIT OR GPL-3.0-only) AND GPL-3.0-only", False),
        ("unknown", False),
    ],
)
def test_licence_expressions(expression: str, permitted: bool):
    assert LicenseRule(["MIT", "ISC"]).permits(expression) is permitted
    assert LicenseRule(None).permits(expression)


@pytest.mark.parametrize(("low", "high", "kept"), [(3, 5, ["abc", "äöüßé"]), (4, 5, ["äöüßé"]), (1, 2, ["ab"])])
def test_bounds_of_length_count_characters_and_are_included(low: int, high: int, kept: list[str]):
    batch = document_batch([document(text) for text in ("ab", "abc", "äöüßé", "abcdef")])
    assert LengthRule(low, high).filter(batch)[0].column("text").to_pylist() == kept


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_characters": 9, "max_characters": 8}, "min_characters 9 is above max_characters 8"),
        ({"n_gram": 8, "shortest_item": 9}, "shortest_item 9 is above n_gram 8"),
        ({"licenses": ()}, "licenses is empty"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        CurationConfig.model_validate(values)
