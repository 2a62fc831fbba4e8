import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard

from hephaestus_dag.artifacts import Identity, Report, Workspace
from hephaestus_dag.cards import card
from hephaestus_dag.documents import read_document_table
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node
from tests.provenance.provenance_store import TinyRun, documents


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    return TinyRun(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def graph(run: TinyRun) -> ArtifactGraph:
    return ArtifactGraph(run.store.root)


def rows(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose header begins with ``first``."""
    _, _, after = text.partition(f"\n| {first} |")
    lines = after.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_data_card_counts_what_the_shards_hold(run: TinyRun, graph: ArtifactGraph) -> None:
    text = card(graph.resolve("seed_corpus")[0], graph)
    kept = read_document_table(run.seed, ["license", "source", "text"]).to_pylist()
    assert f"{len(kept):,} documents, {sum(len(row['text']) for row in kept):,} characters" in text
    licenses = {row[0]: int(row[1]) for row in rows(text, "license")}
    assert licenses == {name: sum(row["license"] == name for row in kept) for name in {row["license"] for row in kept}}
    removed = {(row[0], row[1]): int(row[2]) for row in rows(text, "step")}
    assert removed["exact duplicates", "the same text came earlier"] == 1
    assert sum(removed.values()) == len(documents()) - len(kept)
    head = DatasetCard(text).data.to_dict()
    assert head["size_categories"] == ["n<1K"]
    assert set(head["license"]) == {"mit", "other"}
    assert "min_characters: 10" in text
    assert f"`{run.made['text_documents'][:12]}`" in text


def test_a_mixture_card_counts_tokens_by_licence(graph: ArtifactGraph) -> None:
    text = card(graph.resolve("mixed_corpus")[0], graph)
    assert "20 sequences of 8 tokens, 160 tokens in all" in text
    assert sum(int(row[4]) for row in rows(text, "source")) == sum(int(row[2]) for row in rows(text, "license")) == 160


def test_a_model_card_has_data_scores_and_valid_front_matter(graph: ArtifactGraph) -> None:
    text = card(graph.resolve("tiny/stage2_checkpoint")[0], graph)
    assert "All that the 3 checkpoints up to this one were shown: 208 tokens" in text  # 18 and 8 sequences of 8
    assert "| BFCL | all | 33.3 %" in text
    head = ModelCard(text).data.to_dict()
    (result,) = head["model-index"][0]["results"]
    assert (result["dataset"]["type"], [metric["name"] for metric in result["metrics"]]) == ("bfcl", ["all"])
    assert result["metrics"][0]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert head["license"] == "other"


def test_only_the_overlap_of_the_models_own_mixtures_counts(tmp_path: Path) -> None:
    run = TinyRun(tmp_path)
    model = "tiny/stage2_checkpoint"
    assert "no training document of this project overlaps" in card(*of(tmp_path, model))
    overlap = next((tmp_path / "tiny" / "benchmark_overlap").iterdir())
    inputs = {key: run.made[key] for key in ("mixed_corpus", "tokenized_seed", "benchmark_items")}
    identity = Identity(key="tiny/benchmark_overlap", code="other", inputs=inputs)  # of a variant with other stages

    def write(workspace: Workspace) -> Report:
        shutil.copy(overlap / "overlap.parquet", workspace.folder)
        return Report(headline="overlap")

    run.store.build(identity, write)
    shutil.rmtree(overlap)
    assert "was not measured" in card(*of(tmp_path, model))


def of(root: Path, name: str) -> tuple[Node, ArtifactGraph]:
    graph = ArtifactGraph(root)
    return graph.resolve(name)[0], graph


def test_a_published_model_says_that_nothing_of_its_training_happened_here(graph: ArtifactGraph) -> None:
    text = card(graph.resolve("backbone")[0], graph)
    assert "None of its training happened here." in text


def test_any_other_artifact_gets_a_card_of_its_report(graph: ArtifactGraph) -> None:
    text = card(graph.resolve("tiny/bfcl_scores")[0], graph)
    assert text.startswith("# tiny/bfcl_scores\n\nAll 0.333.")
    assert "| tiny/stage2_checkpoint |" in text
    assert "rows.parquet" in text


def test_a_model_whose_training_data_are_gone_says_so(tmp_path: Path) -> None:
    run = TinyRun(tmp_path)
    run.tokens.rename(tmp_path / "elsewhere")
    graph = ArtifactGraph(tmp_path)
    text = card(graph.resolve("tiny/stage2_checkpoint")[0], graph)
    assert "They cannot be counted" in text
    assert re.search(r"tokenized_seed(@\w+)? is no longer in the store", text)
