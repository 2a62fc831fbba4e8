import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from retrieval_pages import AGENT_PAGES, JUNK_PAGES, SEED_PAGES
from word_encoder import WordEncoder

from hephaestus_dag.documents import Document, DocumentWriter, document_id, read_document_table
from hephaestus_dag.retrieval.calibration import open_calibration
from hephaestus_dag.retrieval.config import IndexConfig, RetrievalConfig
from hephaestus_dag.retrieval.embeddings import embed_documents
from hephaestus_dag.retrieval.encoder import Encoder
from hephaestus_dag.retrieval.index import build_index
from hephaestus_dag.retrieval.queries import open_queries, write_queries
from hephaestus_dag.retrieval.search import retrieve
from hephaestus_dag.retrieval.vectors import open_vectors

WEB = [*JUNK_PAGES[:4], *AGENT_PAGES, *JUNK_PAGES[4:]]
TALES = [f"In the {n}th winter the old king walked along the frozen shore and told the same story again." for n in range(12)]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A seed corpus of tools and tales, and a web corpus of tools and prose."""
    documents = [(text, "agent", "seed") for text in SEED_PAGES] + [(text, "text", "tales") for text in TALES]
    for name, rows in (("seed", documents), ("web", [(text, "agent", f"site{n % 2}") for n, text in enumerate(WEB)])):
        with DocumentWriter(tmp_path / name, documents_per_shard=5) as writer:
            for text, domain, source in rows:
                writer.write([Document(text=text, domain=domain, kind="page", source=source, origin=text, license="MIT")])
    return tmp_path


def encoded(world: Path, encoder: Any, config: RetrievalConfig) -> None:
    """Write queries and web vectors, with an index."""
    write_queries(world / "seed", encoder, config, world / "queries", world / "work")
    embed_documents(world / "web", encoder, world / "index", world / "work")
    build_index(open_vectors(world / "index"), world / "index", config.index)


def run(world: Path, encoder: Any = None, name: str = "found", **settings: Any) -> tuple[Path, dict[str, Any]]:
    config = RetrievalConfig(**{"neighbours": 6, "random_pair_quantile": 0.85, **settings})
    if not (world / "index").exists():
        encoded(world, encoder or WordEncoder(), config)
    figures = retrieve(world / "queries", world / "web", world / "index", config, world / name)
    return world / name, figures


def found_texts(folder: Path) -> list[str]:
    return read_document_table(folder, ["text"])["text"].to_pylist()


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


@pytest.mark.parametrize("search", ["exact", "index"])
def test_planted_agent_pages_are_found_and_junk_is_not(world: Path, encoder: Encoder, search: str):
    folder, figures = run(world, encoder, search=search)
    assert sorted(found_texts(folder)) == sorted(AGENT_PAGES)
    assert figures["retrieved"] == len(AGENT_PAGES)
    assert figures["web_documents"] == len(WEB)
    assert figures["retrieved_share"] == len(AGENT_PAGES) / len(WEB)
    assert figures["distances"]["difference_low"] > 0
    assert figures["distances"]["retrieved"] > figures["distances"]["rest"] + 0.1
    assert figures["recall"] == 1.0
    for example in figures["examples"]:
        assert example["page"] in {" ".join(text.split())[:160] for text in AGENT_PAGES}
        assert example["query"] in {text[:160] for text in SEED_PAGES}


def test_every_pair_written_is_what_the_vectors_say(world: Path):
    """Matches, best matches and reach against plain arithmetic on the vectors."""
    folder, figures = run(world, neighbours=3, max_queries_per_document=2, random_pair_quantile=0.4)
    queries, pages = open_queries(world / "queries"), open_vectors(world / "index")
    scores = queries.vectors @ pages.take(np.arange(len(pages))).T
    allowed = np.zeros_like(scores, dtype=bool)
    for row, column in enumerate(scores.T):
        best = np.argsort(-column, kind="stable")[:2]
        allowed[best[column[best] > np.float32(figures["threshold"])], row] = True
    expected = {}
    for query, identity in enumerate(queries.ids):
        rows = [row for row in np.argsort(-scores[query], kind="stable") if allowed[query, row]][:3]
        expected |= {(identity, pages.ids[row].as_py()): (rank + 1, scores[query, row]) for rank, row in enumerate(rows)}

    matches = table(folder, "matches")
    assert {(m["query_id"], m["document_id"]): m["rank"] for m in matches} == {pair: e[0] for pair, e in expected.items()}
    percentile = open_calibration(folder).percentile
    for match in matches:
        assert match["score"] == pytest.approx(expected[match["query_id"], match["document_id"]][1], abs=1e-6)
        assert match["percentile"] == percentile(np.array([match["score"]]))[0]
    assert figures["matches"] == len(matches) == len(expected)

    retrieved = table(folder, "retrieved")
    assert [row["best_score"] for row in retrieved] == sorted((row["best_score"] for row in retrieved), reverse=True)
    assert {row["document_id"] for row in retrieved} == {m["document_id"] for m in matches}
    for row in retrieved:
        own = [m for m in matches if m["document_id"] == row["document_id"]]
        best = max(own, key=lambda m: m["score"])
        assert (row["best_score"], row["best_query_id"], row["num_hits"]) == (best["score"], best["query_id"], len(own))
        assert row["best_percentile"] == best["percentile"]

    reach = {row["query_id"]: row["score"] for row in table(folder, "reach")}
    assert list(reach) == queries.ids
    for identity in queries.ids:
        own = [m["score"] for m in matches if m["query_id"] == identity]
        assert reach[identity] == (min(own) if len(own) == 3 else np.float32(figures["threshold"]))
    assert figures["full_queries"] == sum(len([m for m in matches if m["query_id"] == i]) == 3 for i in queries.ids) > 0


def test_the_index_finds_what_exact_search_finds(world: Path):
    exact, figures = run(world, name="exact", search="exact", neighbours=20, random_pair_quantile=0.5)
    index, indexed = run(world, name="indexed", search="index", neighbours=20, random_pair_quantile=0.5)
    assert (figures["method"], indexed["method"]) == ("exact", "index (flat)")
    pairs = [[(m["document_id"], m["query_id"], m["rank"]) for m in table(folder, "matches")] for folder in (exact, index)]
    assert pairs[0] == pairs[1]
    assert indexed["recall"] == 1.0


def test_a_query_of_the_index_reaches_no_further_than_its_last_neighbour(world: Path):
    folder, found = run(world, search="index", neighbours=2, max_queries_per_document=1, random_pair_quantile=0.1)
    queries, pages = open_queries(world / "queries"), open_vectors(world / "index")
    second = np.sort(queries.vectors @ pages.take(np.arange(len(pages))).T, axis=1)[:, -2]
    expected = np.maximum(second, np.float32(found["threshold"]))
    np.testing.assert_allclose([row["score"] for row in table(folder, "reach")], expected, atol=1e-6)
    assert found["full_queries"] == (second > found["threshold"]).sum() > 0
    brought = [row["query_id"] for row in table(folder, "matches")]
    assert any(brought.count(identity) < 2 for identity in queries.ids)  # others were nearer to what it found


def test_auto_searches_exactly_up_to_a_number_of_pairs(world: Path):
    pairs = len(SEED_PAGES) * len(WEB)
    assert run(world, name="a", exact_up_to_pairs=pairs)[1]["method"] == "exact"
    over = run(world, name="b", exact_up_to_pairs=pairs - 1)[1]
    assert (over["method"], over["pairs"]) == ("index (flat)", pairs)


def test_what_an_approximate_index_misses_is_reported(tmp_path: Path):
    generator = np.random.default_rng(0)
    words = [" ".join(f"w{n}" for n in generator.integers(0, 400, size=12)) for _ in range(1_500)]
    for name, texts in (("seed", words[:60]), ("web", words[60:])):
        with DocumentWriter(tmp_path / name) as writer:
            for text in texts:
                writer.write([Document(text=text, domain="agent", kind="k", source="s", origin=text, license="MIT")])
    settings = {"neighbours": 20, "random_pair_quantile": 0.5, "index": IndexConfig(kind="ivf_pq", min_recall=0)}
    exact, figures = run(tmp_path, name="exact", **settings)
    index, indexed = run(tmp_path, name="indexed", search="index", **settings)
    assert (figures["recall"], indexed["method"]) == (1.0, "index (ivf_pq)")
    assert 0.1 < indexed["recall"] < 1.0
    assert indexed["recall_at"] == 20
    known = {(m["document_id"], m["query_id"]): m["score"] for m in table(exact, "matches")}
    shared = [m for m in table(index, "matches") if (m["document_id"], m["query_id"]) in known]
    assert shared
    for match in shared:
        assert match["score"] == pytest.approx(known[match["document_id"], match["query_id"]], abs=1e-5)


def test_a_stricter_quantile_retrieves_less(world: Path):
    loose, loose_figures = run(world, name="loose", random_pair_quantile=0.1, neighbours=20)
    strict, strict_figures = run(world, name="strict", random_pair_quantile=0.9, neighbours=20)
    assert set(found_texts(strict)) < set(found_texts(loose))
    assert strict_figures["threshold"] > loose_figures["threshold"]


def test_each_retrieved_page_is_written_once_in_the_order_of_the_web(world: Path):
    folder, figures = run(world, random_pair_quantile=0.3, neighbours=20)
    texts = found_texts(folder)
    assert texts == [text for text in WEB if text in texts]
    assert figures["retrieved"] == len(texts) > 3
    assert sum(figures["by_source"].values()) == len(texts)
    assert figures["characters"] == sum(map(len, texts))


def test_nothing_above_the_threshold_leaves_a_valid_empty_result(world: Path):
    folder, figures = run(world, random_pair_quantile=0.999999999)
    assert figures["retrieved"] == figures["matches"] == figures["full_queries"] == figures["max_hits_per_query"] == 0
    assert found_texts(folder) == table(folder, "matches") == table(folder, "retrieved") == figures["examples"] == []
    assert {row["score"] for row in table(folder, "reach")} == {np.float32(figures["threshold"])}
    assert figures["distances"]["retrieved"] is None
    assert figures["distances"]["general_documents"] == len(TALES)


def test_figures_are_plain_values(world: Path):
    assert json.loads(json.dumps(run(world)[1]))["queries"] == len(SEED_PAGES)


@pytest.mark.parametrize("search", ["exact", "index"])
def test_the_same_inputs_give_the_same_files(world: Path, search: str):
    one, other = run(world, name="one", search=search)[0], run(world, name="other", search=search)[0]
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert [name for name in names if not name.startswith("documents/")] == [
        "calibration.json",
        "matches.parquet",
        "projection.png",
        "reach.parquet",
        "rejects.parquet",
        "retrieved.parquet",
    ]
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize(
    ("other", "message"), [(WordEncoder("other"), "encoders .* differ in model"), (WordEncoder(dimension=8), "dimension")]
)
def test_queries_of_another_encoder_are_refused(world: Path, other: WordEncoder, message: str):
    run(world)
    write_queries(world / "seed", other, RetrievalConfig(), world / "queries", world / "work")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=message):
        run(world, name="again")
    assert not (world / "again").exists()


def test_an_index_over_other_pages_than_the_documents_is_refused(world: Path, corpus: Callable[..., Path]):
    run(world)
    pq.write_table(
        pq.read_table(world / "web/documents/part-00001.parquet").slice(0, 0), world / "web/documents/part-00001.parquet"
    )
    with pytest.raises(ValueError, match="web corpus lacks"):
        run(world, name="again", random_pair_quantile=0.01, neighbours=20)


def test_seed_documents_are_the_queries_named(world: Path):
    folder, _ = run(world)
    assert {m["query_id"] for m in table(folder, "matches")} <= {document_id(text) for text in SEED_PAGES}


def test_contradicting_settings_are_refused():
    with pytest.raises(ValueError, match="num_queries"):
        RetrievalConfig(num_candidates=5, num_queries=6)
    with pytest.raises(ValueError, match="num_candidates"):
        RetrievalConfig(num_candidates=5, num_queries=None)
    with pytest.raises(ValueError, match="min_keep_share"):
        RetrievalConfig(min_keep_share=0.9, max_keep_share=0.2)


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (0.3, True), (0.99, False)])
def test_share_outside_the_band_is_implausible(share: float, expected: bool):
    assert RetrievalConfig().plausible(share) is expected
