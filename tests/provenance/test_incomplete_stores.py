"""What is answered where part of a store is gone or damaged: what is not known is said, never left out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from provenance_store import GPL, LENGTH, TinyRun, id_of

from hephaestus_dag.artifacts import Identity, Report, Store, Workspace
from hephaestus_dag.cli.main import main
from hephaestus_dag.documents import document_id
from hephaestus_dag.mixture.config import Component, MixtureConfig
from hephaestus_dag.mixture.plan import plan_mixture
from hephaestus_dag.mixture.store import StreamWriter, write_store
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, ProvenanceError
from hephaestus_dag.provenance.find import find
from hephaestus_dag.provenance.forget import MOST_IDS, exclusion
from hephaestus_dag.provenance.found import Found
from hephaestus_dag.provenance.item import trace_item
from hephaestus_dag.provenance.question import Question, open_database
from hephaestus_dag.provenance.trace import trace, trace_step


@pytest.fixture
def holed(run: TinyRun, tmp_path: Path) -> Path:
    """A copy of the run that may be damaged."""
    shutil.copytree(run.store.root, tmp_path / "store")
    return tmp_path / "store"


def ask(root: Path, **question: str) -> Found:
    return find(Question(**question), ArtifactGraph(root), open_database())


def call(store: Path, *words: str, charset: str = "utf-8") -> Result:
    return CliRunner(charset=charset).invoke(main, [*words, "--store", str(store)], env={"COLUMNS": "100"})


def damage(root: Path, key: str) -> None:
    (manifest,) = (root / key).glob("*/manifest.json")
    manifest.write_text(manifest.read_text().replace("headline", "headlime"))


def test_what_only_a_pruned_corpus_could_say_is_unknown(holed: Path):
    shutil.rmtree(holed / "seed_corpus")
    found = ask(holed, license="GPL-3.0-only")
    assert (found.models, found.present) == ([], None)
    assert any("tokenized_seed@" in each and "seed_corpus@" in each for each in found.unknown)
    result = call(holed, "find", "GPL-3.0-only", "--json")
    assert (result.exit_code, json.loads(result.stdout)["present"]) == (3, None)
    (passage,) = ask(holed, text=GPL[5:]).models[:1]  # other documents of the pruned corpus may hold it too
    assert (passage.complete, passage.share) == (False, None)
    by_id = ask(holed, document=document_id(GPL))  # the ledger itself says where an id is
    assert (by_id.present, by_id.unknown) == (True, [])


def test_ledgers_know_ids_and_sources_whose_corpora_are_gone(run: TinyRun, holed: Path):
    whole = ask(run.store.root, source="manual")
    for key in ("seed_corpus", "text_documents"):
        shutil.rmtree(holed / key)
    assert ask(holed, source="manual").models == whole.models
    assert ask(holed, document=id_of("manual page 1:")[:10]).tokens[0].documents == 1
    shutil.rmtree(holed / "tokenized_seed")
    with pytest.raises(ProvenanceError, match=r"not looked into: tokenized_seed@\w+ is no longer in the store"):
        ask(holed, source="manual")


def test_that_a_damaged_corpus_was_not_asked_is_said(holed: Path):
    for key in ("seed_corpus", "text_documents"):
        damage(holed, key)
    for question in ({"license": "MIT"}, {"origin": "notes"}, {"text": "zeppelin club, deck"}, {"document": "01234567"}):
        with pytest.raises(ProvenanceError, match=r"not looked into: .*text_documents.*was changed"):
            ask(holed, **question)


def test_numbers_of_a_model_with_a_hole_in_its_training_are_lower_bounds(run: TinyRun, holed: Path):
    whole = ask(run.store.root, source="manual").models[-1]
    assert (whole.complete, whole.share is None) == (True, False)
    damage(holed, "tiny/stage1_checkpoint")
    found = ask(holed, source="manual")
    (model,) = found.models
    assert (model.complete, model.share, model.times) == (False, None, None)
    assert model.tokens < whole.tokens
    assert not found.scores[0].complete
    assert any("tiny/stage2_checkpoint" in each and "is damaged" in each for each in found.unknown)
    shown = call(holed, "find", "manual").output
    assert shown.count(f">= {model.tokens}") == 2
    assert call(holed, "find", "manual").exit_code == 0


def test_a_mistyped_id_is_no_answer(run: TinyRun):
    with pytest.raises(ProvenanceError, match="is no document id"):
        ask(run.store.root, document="g" * 32)
    for begin in (32, 9):
        assert ask(run.store.root, document=id_of("note 1 ").upper()[:begin]).present
    result = call(run.store.root, "find", "f" * 32)
    assert "no table here holds this id" in result.output


@pytest.mark.slow  # it reads the whole graph
def test_what_a_recipe_has_not_built_is_unknown(tmp_path: Path):
    from hephaestus_dag.recipe_file import load_recipe
    from hephaestus_dag.upkeep.identities import identities

    lineage = identities(load_recipe("laptop"))

    def write(workspace: Workspace) -> Report:
        (workspace.folder / "words.txt").write_text("x")
        return Report(headline="words")

    Store(tmp_path).build(lineage.identity("text_documents"), write)
    result = call(tmp_path, "find", "f" * 32, "--recipe", "laptop", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["present"]) == (3, None)
    assert "has not built benchmark_items, " in told["unknown"][0]
    assert "text_documents" not in told["unknown"][0]


def test_padding_is_no_part_of_what_was_shown(tmp_path: Path):
    store, lengths = Store(tmp_path), [5, LENGTH, 3]
    ids = [document_id(str(length)) for length in lengths]

    def pack(workspace: Workspace) -> Report:
        writer = StreamWriter(workspace.folder / "store", "instruction", "train", np.dtype("<u2"), masked=True)
        for identity, length in zip(ids, lengths, strict=True):
            writer.record(identity, writer.tokens, length, length, "calls")
            writer.append(np.zeros(LENGTH), np.ones(LENGTH))
        writer.append(np.zeros(1), np.ones(1))
        write_store(workspace.folder / "store", 300, [writer], sequence_length=LENGTH)
        parts = (Component(domain="instruction", share=1),)
        config = MixtureConfig(tokens=3 * LENGTH, sequence_length=LENGTH, components=parts, max_epochs=1)
        plan_mixture(config, [workspace.folder / "store"], workspace.folder / "mixture")
        return Report(headline="packed")

    def train(workspace: Workspace) -> Report:
        (workspace.folder / "model").mkdir()
        (workspace.folder / "model" / "config.json").write_text("{}")
        (workspace.folder / "summary.json").write_text(json.dumps({"sequences": 3, "steps": 3}))
        return Report(headline="trained")

    packed = store.build(Identity(key="instruction_corpus", code="c"), pack).artifact
    inputs = {"instruction_corpus": packed.fingerprint}
    store.build(Identity(key="tiny/stage3_checkpoint", code="c", inputs=inputs), train)
    graph = ArtifactGraph(tmp_path)
    traced = trace(graph.resolve("tiny/stage3_checkpoint")[0], graph, open_database())
    assert (traced.tokens, [stage.tokens for stage in traced.stages]) == (16, [16])
    (model,) = ask(tmp_path, document=ids[0]).models
    assert (model.tokens, model.share) == (5, 5 / 16)


def test_a_trace_says_of_how_many_documents_the_corpora_are_gone(run: TinyRun, holed: Path):
    whole = ArtifactGraph(run.store.root)
    assert trace(whole.resolve("bfcl:tiny")[0], whole, open_database()).unknown == []
    shutil.rmtree(holed / "seed_corpus")
    graph = ArtifactGraph(holed)
    score, connection = graph.resolve("bfcl:tiny")[0], open_database()
    found = trace(score, graph, connection)
    (unknown,) = found.unknown
    assert unknown.startswith(f"origin and licence of {found.documents} documents: seed_corpus@")
    assert "not known" in call(holed, "trace", "bfcl:tiny").output
    assert trace_step(graph.resolve("tiny/stage1_checkpoint")[0], 2, graph, connection).unknown
    item = trace_item("bfcl/simple_2", score, graph, connection)
    assert (item.compared, item.shown) == (0, found.documents)
    assert f"{found.documents} documents: no corpus here" in call(holed, "trace", "bfcl:tiny", "--item", "bfcl/simple_2").output


def test_folders_that_go_away_and_broken_tables_are_named(holed: Path):
    (holed / "seed_corpus" / "0123456789ab").symlink_to("nowhere")
    assert any("0123456789ab" in each for each in ArtifactGraph(holed).damaged)
    (shard,) = (holed / "seed_corpus").glob("*/documents/*.parquet")
    content = shard.read_bytes()
    shard.write_bytes(b"x" * len(content))  # of the right size: only reading it tells
    result = call(holed, "find", "MIT")
    assert result.exit_code == 2
    assert "hephaestus verify" in result.output
    shard.write_bytes(content[:-9])
    assert any(str(shard) in each for each in ask(holed, license="GPL-3.0-only").unknown)


def test_a_terminal_that_lacks_a_character_is_no_error(run: TinyRun):
    result = call(run.store.root, "trace", "tiny/stage1_checkpoint", "--step", "2", charset="ascii")
    assert result.exit_code == 0, result.output


def test_a_forgetting_recipe_goes_through_linked_folders_and_warns(run: TinyRun, tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "far").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "base.yaml").write_text("extends: laptop\n")
    out = str(tmp_path / "far" / "with out.yaml")
    result = call(run.store.root, "forget", "notes", "--recipe", str(tmp_path / "base.yaml"), "--out", out)
    assert result.exit_code == 0, result.output
    assert "all documents of the domain agent that were tokenised are excluded" in result.output
    assert f"hephaestus run '{out}'" in result.output
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["with out.yaml"]
    few = call(run.store.root, "forget", "f" * 32, "--out", str(tmp_path / "few.yaml")).output
    assert "no table in" in few
    assert "of the domain" not in few


def test_a_recipe_names_only_so_many_documents(run: TinyRun):
    many = tuple(f"{number:032x}" for number in range(MOST_IDS))
    with pytest.raises(ProvenanceError, match="at most 10,000"):
        exclusion(Question(document="f" * 32), ArtifactGraph(run.store.root), open_database(), many)
