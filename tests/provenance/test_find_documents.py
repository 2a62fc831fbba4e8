"""Which artifacts were made with a document, and that a recipe which forgets it makes none."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from provenance_store import GPL, LENGTH, LONG, TinyRun, id_of

from hephaestus_dag.curation.config import CurationConfig, ExclusionConfig
from hephaestus_dag.documents import document_id, read_document_table
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, ProvenanceError
from hephaestus_dag.provenance.find import find
from hephaestus_dag.provenance.forget import exclusion
from hephaestus_dag.provenance.found import Found
from hephaestus_dag.provenance.question import Question, guess, open_database
from hephaestus_dag.provenance.trace import trace


def ask(run: TinyRun, **question: str) -> Found:
    return find(Question(**question), ArtifactGraph(run.store.root), open_database())


def kept(found: Found) -> dict[str, int]:
    return {each.artifact.partition("@")[0]: each.kept for each in found.corpora}


def shown_inputs(run: TinyRun) -> dict[str, Counter[int]]:
    """Tokens of each document's number in the batches of each stage, read as a training loop reads them."""
    stages = {"tiny/stage1_checkpoint": (run.mixed, 18), "tiny/stage2_checkpoint": (run.replayed, 8)}
    found = {}
    for key, (mixture, sequences) in stages.items():
        inputs = MixtureLoader(mixture, [run.tokens]).batch(0, sequences).tokens[:, :-1]
        found[key] = Counter[int](inputs.ravel().tolist())
    return found


def test_what_a_model_was_shown_of_each_document_is_what_its_batches_hold(run: TinyRun):
    by_stage = shown_inputs(run)
    assert sum(by_stage["tiny/stage1_checkpoint"].values()) == 18 * LENGTH
    heldout = id_of("manual page 3:")
    planned = MixtureLoader(run.mixed, [run.tokens])
    never = [span.document_id for row in (18, 19) for span in planned.documents_of(row)]  # the run ends before its plan does
    for identity in [*list(run.numbers)[::5], *never, heldout]:
        number = run.numbers[identity]
        found = ask(run, document=identity)
        models = {each.artifact.partition("@")[0]: each for each in found.models}
        first, second = (by_stage[key][number] for key in by_stage)
        assert {name: model.tokens for name, model in models.items()} == {
            name: tokens
            for name, tokens in {"tiny/stage1_checkpoint": first, "tiny/stage2_checkpoint": first + second}.items()
            if tokens
        }
        assert [each.artifact.partition("@")[0] for each in found.scores] == ["tiny/bfcl_scores"] * bool(first + second)
        assert kept(found) == {"text_documents": 2 if identity == document_id(GPL) else 1, "seed_corpus": 1}
        assert found.tokens[0].heldout == (identity == heldout)
    whole = ask(run, source="manual").models[-1]
    assert whole.share == sum(whole.stages.values()) / (26 * LENGTH)


def test_what_was_removed_is_told_with_step_and_reason_and_its_near_duplicate(run: TinyRun):
    found = ask(run, document=document_id(LONG))
    assert kept(found) == {"text_documents": 1, "seed_corpus": 0}
    assert found.corpora[-1].removed == [{"step": "near_duplicates", "reason": "near duplicate", "documents": 1}]
    assert (found.present, found.models, found.scores) == (False, [], [])
    assert [each["id"] for each in found.near_copies] == [document_id(f"{LONG} and more")]
    assert ask(run, document=id_of("short")).corpora[-1].removed[0]["step"] == "length"
    assert ask(run, document="f" * 32).corpora == []


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("manual", "source", "manual"),
        ("MIT", "license", "MIT"),
        ("1234abcd", "document", "1234abcd"),
        ("zeppelin club, deck 7", "text", "zeppelin club, deck 7"),
    ],
)
def test_what_is_meant_is_guessed(run: TinyRun, words: str, field: str, value: str):
    assert guess(words, ArtifactGraph(run.store.root), open_database()) == Question(**{field: value})


def test_texts_licences_sources_and_origins_mean_the_documents_that_have_them(run: TinyRun):
    assert kept(ask(run, license="MIT")) == {"text_documents": 18, "seed_corpus": 16}
    assert kept(ask(run, license="GPL-3.0-only")) == {"text_documents": 1, "seed_corpus": 1}
    assert kept(ask(run, source="notes")) == {"text_documents": 14, "seed_corpus": 14}
    assert kept(ask(run, origin="forum==1/")) == {"text_documents": 3, "seed_corpus": 2}
    assert ask(run, text="zeppelin club, deck 7").documents == 1
    assert ask(run, text="zeppelin club").documents == 12
    assert ask(run, text=GPL).examples[0]["id"] == document_id(GPL)
    assert ask(run, document=document_id(GPL)[:9]).documents == 1
    removed = {each["step"]: each["documents"] for each in ask(run, license="MIT").corpora[-1].removed}
    assert removed == {"exact_duplicates": 1, "length": 1}


def test_a_licence_is_as_much_in_a_model_as_the_trace_of_it_says(run: TinyRun):
    graph = ArtifactGraph(run.store.root)
    traced = trace(graph.resolve("bfcl:tiny")[0], graph, open_database())
    for row in traced.licenses:
        if " " not in row["license"]:
            alone = [each for each in traced.licenses if row["license"] in each["license"].split()]
            assert ask(run, license=row["license"]).models[-1].tokens == sum(each["tokens"] for each in alone)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"license": "ISC"}, "no document here names the licence 'ISC'; there are Apache-2.0 AND MIT"),
        ({"source": "nowhere"}, "is of the source 'nowhere'; there are copies, forum, manual, notes"),
        ({"origin": "elsewhere=="}, "has an origin that begins with"),
        ({"document": "1234abcd"}, "begins no document"),
        ({"document": "xyz"}, "give 8 to 32 hexadecimal digits"),
        ({"text": "and"}, "too short to search for"),
        ({"text": "a passage that is nowhere"}, "capitals, spaces and line breaks count"),
    ],
)
def test_what_means_nothing_here_is_refused_with_what_there_is(run: TinyRun, question: dict[str, str], message: str):
    with pytest.raises(ProvenanceError, match=message):
        ask(run, **question)


def test_a_checkpoint_whose_training_data_are_gone_is_told(run: TinyRun):
    graph = ArtifactGraph(run.store.root)
    without = ArtifactGraph(run.store.root, graph.nodes.keys() - {run.made["mixed_corpus"]})
    found = find(Question(source="manual"), graph, open_database(), without)
    assert any("tiny/stage1_checkpoint" in each and "mixed_corpus" in each for each in found.unknown)


@pytest.mark.parametrize(
    "question",
    [{"document": document_id(LONG)}, {"license": "GPL-3.0-only"}, {"source": "manual"}, {"origin": "notes==1/note 1"}],
)
def test_a_run_that_forgets_makes_nothing_with_it(run: TinyRun, tmp_path: Path, question: dict[str, str]):
    graph, connection = ArtifactGraph(run.store.root), open_database()
    meant = Question(**question)
    near = [each["id"] for each in find(meant, graph, connection).near_copies]
    values: dict[str, Any] = exclusion(meant, graph, connection, tuple(near))
    rules = CurationConfig(min_characters=10, exclude=ExclusionConfig.model_validate(values))
    again = TinyRun(tmp_path, rules)
    found = ask(again, **question)
    assert (found.present, found.tokens, found.models, found.scores) == (False, [], [], [])
    (seed,) = [each for each in found.corpora if each.artifact.startswith("seed_corpus")]
    assert {row["step"] for row in seed.removed} == {"exclude"}
    assert sum(row["documents"] for row in seed.removed) == kept(found)["text_documents"]
    if "document" in question:
        assert document_id(f"{LONG} and more") in near
        assert not any(text.startswith(LONG[:20]) for text in kept_texts(again))


def kept_texts(run: TinyRun) -> list[str]:
    return read_document_table(run.seed, ["text"])["text"].to_pylist()
