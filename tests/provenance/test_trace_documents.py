"""The way from a score, a checkpoint, a step or an item back to documents."""

from collections import Counter

import pytest
from provenance_store import BATCH, LENGTH, SEEN, TinyRun

from hephaestus_dag.manifests import ArtifactError
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, ProvenanceError
from hephaestus_dag.provenance.item import BM25, newest_score, trace_item
from hephaestus_dag.provenance.question import open_database
from hephaestus_dag.provenance.trace import TracedStep, trace, trace_step


@pytest.fixture(scope="module")
def graph(run: TinyRun) -> ArtifactGraph:
    return ArtifactGraph(run.store.root)


def step_of(graph: ArtifactGraph, step: int, **chosen: object) -> TracedStep:
    node, _ = graph.resolve("tiny/stage1_checkpoint")
    return trace_step(node, step, graph, open_database(), **chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [1, 5, 9])
def test_a_step_shows_the_documents_that_its_batch_holds(run: TinyRun, graph: ArtifactGraph, step: int):
    batch = MixtureLoader(run.mixed, [run.tokens]).batch((step - 1) * BATCH, BATCH).tokens[:, :-1]
    found = step_of(graph, step)
    held = [[0] * LENGTH for _ in range(BATCH)]
    for each in found.documents:
        for place in range(each["position"], each["position"] + each["tokens"]):
            held[each["row"]][place] = run.numbers[each["document_id"]]
        assert each["origin"].startswith(f"{each['source']}==1/")
        assert each["license"]
    assert held == batch.tolist()
    assert (found.step, found.steps) == (step, 9)


def test_rows_and_ranks_are_parts_of_the_step(graph: ArtifactGraph):
    whole = step_of(graph, 3).documents
    assert [step_of(graph, 3, row=row).documents for row in (0, 1)] == [[d for d in whole if d["row"] == row] for row in (0, 1)]
    assert [d for rank in (0, 1) for d in step_of(graph, 3, rank=(rank, 2)).documents] == whole


def test_a_score_leads_to_stages_shares_and_documents(run: TinyRun, graph: ArtifactGraph):
    found = trace(graph.resolve("bfcl:tiny")[0], graph, open_database())
    assert found.model == f"tiny/stage2_checkpoint@{run.made['tiny/stage2_checkpoint'][:12]}"
    assert [stage.checkpoint.partition("@")[0] for stage in found.stages] == [
        "backbone",
        "tiny/stage1_checkpoint",
        "tiny/stage2_checkpoint",
    ]
    assert found.stages[0].mixture == ""
    assert [stage.tokens for stage in found.stages] == [0, 18 * LENGTH, 8 * LENGTH]
    assert found.stages[2].shares["replay"] == 0.25
    batches = [MixtureLoader(m, [run.tokens]).batch(0, n).tokens[:, :-1] for m, n in ((run.mixed, 18), (run.replayed, 8))]
    held = Counter[int](token for batch in batches for token in batch.ravel().tolist())
    assert found.documents == len(held)
    assert found.tokens == held.total() == sum(row["tokens"] for row in found.sources)
    assert sum(row["tokens"] for row in found.licenses) == found.tokens
    assert max(held.values()) == found.examples[0]["tokens"] == held[run.numbers[found.examples[0]["document_id"]]]


def test_an_item_is_told_with_reply_verdict_overlap_and_nearest_documents(graph: ArtifactGraph):
    score = newest_score("bfcl/simple_2", graph)
    tiny, _ = graph.resolve("tiny/bfcl_scores")
    found = trace_item("bfcl/simple_2", tiny, graph, open_database())
    assert score.key in ("tiny/bfcl_scores", "base/bfcl_scores")
    assert (found.row["reply"], found.row["verdict"], found.clean) == ("r simple_2", False, True)
    model = trace(tiny, graph, open_database())
    assert found.compared == model.documents
    assert "zeppelin" in found.nearest[0]["text"]
    assert found.nearest == sorted(found.nearest, key=lambda row: -row["bm25"])
    seen = trace_item("bfcl/simple_1", tiny, graph, open_database())
    holds = [row for row in seen.nearest if SEEN in row["text"]]
    assert bool(holds) == (seen.clean is False) == (seen.overlap is not None)
    base = trace_item("bfcl/simple_2", graph.resolve("bfcl:base")[0], graph, open_database())
    assert (base.nearest, base.compared, base.clean) == ([], 0, None)


def test_rare_words_count_more_than_frequent_ones_and_length_is_allowed_for():
    scorer = BM25("the Zeppelin, the club")
    texts = [
        "the end",
        "a zeppelin",
        "the club of the others",
        "nothing at all",
        "a zeppelin " + "and more " * 50,
        "the x",
        "the y",
    ]
    scorer.add(list("abcd"), texts[:4])
    scorer.add(list("efg"), texts[4:])
    assert [row["document_id"] for row in scorer.top(9)] == ["c", "b", "a", "f", "g", "e"]
    assert [row["words"] for row in scorer.top(2)] == [2, 1]
    assert BM25("").top(3) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny/bfcl_score", "did you mean"),
        ("tiny/stage1_checkpoint@step=x", "write a step as a number"),
        ("tiny/stage1_checkpoint@step=", "write a step as a number"),
        ("bfcl:nosuch", "it holds base/bfcl_scores, tiny/bfcl_scores"),
        ("seed_corpus", "neither a score nor a checkpoint"),
        ("backbone@step=1", "was not trained here"),
        ("tiny/stage1_checkpoint@step=10", "trained for 9 steps"),
        ("tiny/bfcl_scores@step=1", "only a checkpoint has steps"),
    ],
)
def test_names_and_steps_that_are_not_there_are_refused(graph: ArtifactGraph, name: str, message: str):
    def ask() -> object:
        node, step = graph.resolve(name)
        return trace_step(node, step, graph, open_database()) if step else trace(node, graph, open_database())

    with pytest.raises(ArtifactError, match=message):
        ask()


def test_rows_ranks_and_items_that_are_not_there_are_refused(graph: ArtifactGraph):
    for chosen in ({"row": 2}, {"rank": (0, 3)}):
        with pytest.raises(ProvenanceError, match=r"a row from 0 to 1|divided among 3 ranks"):
            step_of(graph, 1, **chosen)
    with pytest.raises(ProvenanceError, match="did you mean bfcl/simple_"):
        newest_score("bfcl/simple_9", graph)


def test_names_mean_the_newest_and_paths_and_fingerprints_one(run: TinyRun, graph: ArtifactGraph):
    fingerprint = run.made["tiny/bfcl_scores"]
    names = (
        "tiny/bfcl_scores",
        "bfcl:tiny",
        f"tiny/bfcl_scores@{fingerprint[:6]}",
        str(run.store.root / "tiny/bfcl_scores" / fingerprint[:12]),
    )
    assert {graph.resolve(name)[0].fingerprint for name in names} == {fingerprint}
    assert graph.resolve("tiny/stage1_checkpoint@step=4")[1] == 4
