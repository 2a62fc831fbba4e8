"""Curation from end to end: what is taken out, in which order, and what is told about it."""

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from hephaestus_dag.curation.config import CurationConfig, ExclusionConfig, HeuristicRules
from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.exact import ExactDeduplicator
from hephaestus_dag.curation.figure import waterfall_figure
from hephaestus_dag.curation.filters import document_steps
from hephaestus_dag.curation.pipeline import CurationCounts, curate
from hephaestus_dag.curation.removed import REMOVED_SCHEMA
from hephaestus_dag.curation.rules import LengthRule, LicenseRule
from hephaestus_dag.documents import Document, DocumentWriter, document_batch, document_id, read_document_table

QUESTION = "A farmer has seventeen sheep and all but nine run away how many sheep are then left on the farm"
LONG = " ".join(f"word{n}" for n in range(20))
INDEX = BenchmarkIndex.build([("riddles/1", QUESTION)])


def document(text: str, **values: str) -> Document:
    return Document(**{"text": text, "domain": "text", "kind": "k", "source": "s", "origin": "o", "license": "MIT", **values})  # type: ignore[arg-type]


def documents() -> list[list[Document]]:
    first = [document("the first text of all of them", origin="1"), document("x" * 199, origin="2")]
    second = [
        document("the first text of all of them", source="other", origin="3"),
        document("a text that nobody may use at all", license="unknown", origin="4"),
        document("tiny", origin="5"),
        document(f"Here it is: {QUESTION}!", origin="6"),
        document("the last text that may stay", license="GPL-3.0-only OR MIT", origin="7"),
        document(f"{LONG} and one word more", origin="8"),
        document(LONG, origin="9"),
        *(
            document(f"how to brew tea in way number {n}", kind="api_documentation", provider="tea", origin="10")
            for n in range(9)
        ),
    ]
    return [first, second]


CONFIG = CurationConfig(licenses=("MIT",), min_characters=10, max_characters=198, max_documents_per_provider=6)


def in_order(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
    yield from map(function, items)


def run(folder: Path, map_over: Callable[..., Iterator[Any]] = in_order, known: Path | None = None) -> CurationCounts:
    inputs = []
    for number, found in enumerate(documents()):
        inputs.append(folder / f"input{number}")
        if not inputs[-1].exists():
            with DocumentWriter(inputs[-1]) as writer:
                writer.write(found)
    index = folder / "index"
    if not index.exists():
        index.mkdir(parents=True)
        INDEX.save(index)
    return curate(inputs, folder / "out", folder / "work", CONFIG, index, map_over, known)


def test_every_removal_is_kept_with_step_reason_and_evidence(tmp_path: Path):
    counts = run(tmp_path)
    kept = read_document_table(tmp_path / "out")
    assert kept["origin"].to_pylist() == ["1", "7", "8", *["10"] * 6]
    table = pq.read_table(tmp_path / "out/removed.parquet")
    assert table.schema.equals(REMOVED_SCHEMA)
    rows = {row["step"]: row for row in table.to_pylist()}
    assert {step: rows[step]["evidence"] for step in ("license", "exact_duplicates", "provider_cap")} == {
        "license": "unknown",
        "exact_duplicates": "other: 3",
        "provider_cap": "tea: 6 of 9 kept",
    }
    assert rows["decontamination"]["reason"] == "holds benchmark item riddles/1"
    assert "seventeen sheep" in rows["decontamination"]["evidence"]
    assert rows["near_duplicates"]["document_id"] == document_id(LONG)
    assert [(step.step, step.removed, step.kept) for step in counts.steps] == [
        ("license", 1, 17),
        ("length", 2, 15),
        ("language", 0, 15),
        ("heuristics", 0, 15),
        ("decontamination", 1, 14),
        ("exact_duplicates", 1, 13),
        ("near_duplicates", 1, 12),
        ("provider_cap", 3, 9),
    ]
    assert counts.steps[5].removed_by_source == {"other": 1}
    assert (counts.read, counts.kept, len(table)) == (18, 9, 9)
    assert counts.removed_share == pytest.approx(1 / 2)
    assert json.loads(json.dumps(counts.as_dict()))["steps"][1]["removed_by_source"] == {"s": 2}
    clusters = pq.read_table(tmp_path / "out/clusters.parquet")
    assert set(clusters["document_id"].to_pylist()) == {document_id(LONG), document_id(f"{LONG} and one word more")}
    assert len(pq.read_table(tmp_path / "out/signatures.parquet")) == 9


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    assert run(tmp_path / "a") == run(tmp_path / "b")
    for path in sorted((tmp_path / "a/out").rglob("*.parquet")):
        assert path.read_bytes() == (tmp_path / "b/out" / path.relative_to(tmp_path / "a/out")).read_bytes()


def test_a_stopped_curation_filters_only_the_files_that_are_missing(tmp_path: Path):
    def stops(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
        yield function(items[0])
        raise KeyboardInterrupt

    filtered: list[Any] = []

    def counts(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
        filtered.extend(items)
        yield from map(function, items)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stops)
    assert run(tmp_path / "stopped", counts) == run(tmp_path / "whole")
    assert len(filtered) == 1


def test_copies_and_near_duplicates_of_what_is_known_go_and_what_is_known_stays(tmp_path: Path):
    run(tmp_path)
    (tmp_path / "seed").mkdir()
    with DocumentWriter(tmp_path / "more") as writer:
        writer.write(
            [
                document(f"{LONG} and one word more", source="web"),
                document(f"{LONG} and one word more or less", source="web"),
                document("something else that is new to everybody here", source="web"),
            ]
        )
    counts = curate(
        [tmp_path / "more"], tmp_path / "web", tmp_path / "web-work", CONFIG, tmp_path / "index", in_order, tmp_path / "out"
    )
    assert read_document_table(tmp_path / "web")["text"].to_pylist() == ["something else that is new to everybody here"]
    assert [step.removed for step in counts.steps][-3:] == [1, 1, 0]


def test_nothing_read_is_an_error(tmp_path: Path):
    with DocumentWriter(tmp_path / "empty"):
        pass
    INDEX.save(tmp_path)
    with pytest.raises(ValueError, match="no documents to curate"):
        curate([tmp_path / "empty"], tmp_path / "out", tmp_path / "work", CONFIG, tmp_path, in_order)


def test_the_waterfall_is_a_small_picture_that_does_not_change(tmp_path: Path):
    counts = run(tmp_path)
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


def test_licences_are_compared_as_expressions_and_unknown_has_to_be_listed():
    batch = document_batch([document(name, license=name) for name in ("MIT", "GPL-3.0-only OR mit", "GPL-3.0-only", "unknown")])
    stays, gone = LicenseRule(["MIT"]).filter(batch)
    assert stays.column("text").to_pylist() == ["MIT", "GPL-3.0-only OR mit"]
    assert gone.column("evidence").to_pylist() == ["GPL-3.0-only", "unknown"]
    assert LicenseRule(["MIT", "unknown"]).filter(batch)[1].column("evidence").to_pylist() == ["GPL-3.0-only"]
    assert LicenseRule(None).filter(batch)[0].num_rows == 4


@pytest.mark.parametrize(("low", "high", "kept"), [(3, 5, ["abc", "äöüßé"]), (4, 5, ["äöüßé"]), (1, 2, ["ab"])])
def test_bounds_of_length_count_characters_and_are_included(low: int, high: int, kept: list[str]):
    batch = document_batch([document(text) for text in ("ab", "abc", "äöüßé", "abcdef")])
    assert LengthRule(low, high).filter(batch)[0].column("text").to_pylist() == kept


def test_steps_survive_the_way_to_another_process():
    config = CurationConfig(languages={"text": ("en",)}, heuristics={"text": HeuristicRules()})
    steps = pickle.loads(pickle.dumps(document_steps(config, INDEX)))
    batch = document_batch(documents()[1])
    for step, copy in zip(document_steps(config, INDEX), steps, strict=True):
        assert [part.to_pylist() for part in copy.filter(batch)] == [part.to_pylist() for part in step.filter(batch)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_characters": 9, "max_characters": 8}, "min_characters 9 is above max_characters 8"),
        ({"n_gram": 8, "shortest_item": 9}, "shortest_item 9 is above n_gram 8"),
        ({"licenses": ()}, "licenses is empty"),
        ({"licenses": ("Apache 2",)}, "'Apache 2' is no SPDX identifier"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        CurationConfig.model_validate(values)


def test_what_a_recipe_excludes_goes_first_with_the_entry_that_excludes_it(tmp_path: Path):
    batch = document_batch(
        [
            document("named by its id"),
            document("one side of its licence is named", license="MIT OR GPL-3.0-only"),
            document("of a source that is named", source="forum"),
            document("where it came from begins so", origin="pack==1.0/docs"),
            document("nothing of it is named", origin="pack==1.1/docs"),
        ]
    )
    exclude = ExclusionConfig(
        documents=(document_id("named by its id"),), licenses=("GPL-3.0-only",), sources=("forum",), origins=("pack==1.0/",)
    )
    config = CurationConfig(exclude=exclude)
    stays, gone = document_steps(config, INDEX)[0].filter(batch)
    assert stays.column("text").to_pylist() == ["nothing of it is named"]
    assert gone.column("evidence").to_pylist() == [document_id("named by its id"), "GPL-3.0-only", "forum", "pack==1.0/"]
    assert gone.column("reason").to_pylist() == [
        f"the recipe excludes the {n}" for n in ("document", "licence", "source", "origin")
    ]
    assert [step.name for step in document_steps(config, INDEX)][1:] == [
        s.name for s in document_steps(CurationConfig(), INDEX)
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"documents": ("abc",)}, "'abc' is no document id"),
        ({"licenses": ("GPL three",)}, "no SPDX identifier"),
        ({"origins": ("",)}, "an empty name would mean every document"),
    ],
)
def test_exclusions_that_mean_nothing_or_everything_are_refused(values: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        ExclusionConfig.model_validate(values)
