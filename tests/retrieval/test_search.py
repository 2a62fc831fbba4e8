from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from retrieval_pages import AGENT_PAGES, JUNK_PAGES, SEED_PAGES

from hephaestus_dag.documents import document_id, read_document_table
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.retrieval.embeddings import embed_documents, open_embeddings
from hephaestus_dag.retrieval.encoder import Encoder
from hephaestus_dag.retrieval.index import build_index, open_index
from hephaestus_dag.retrieval.queries import draw_candidates, medoids
from hephaestus_dag.retrieval.search import retrieve, search


def run(
    corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path, name: str = "found", **settings: Any
) -> tuple[Path, dict[str, Any]]:
    if not (tmp_path / "web").exists():
        corpus("seed", SEED_PAGES)
        corpus("web", [*JUNK_PAGES[:4], *AGENT_PAGES, *JUNK_PAGES[4:], AGENT_PAGES[0]])
        embed_documents(tmp_path / "web", encoder, tmp_path / "index")
        build_index(open_embeddings(tmp_path / "index")[0], tmp_path / "index")
    config = RetrievalConfig(**{"neighbours": 6, "random_pair_quantile": 0.85, **settings})
    folder = tmp_path / name
    figures = retrieve(tmp_path / "seed", tmp_path / "web", tmp_path / "index", encoder, config, folder)
    return folder, figures


def found_texts(folder: Path) -> set[str]:
    return set(read_document_table(folder, ["text"])["text"].to_pylist())


def test_planted_agent_pages_are_found_and_junk_is_not(corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path):
    folder, figures = run(corpus, encoder, tmp_path)
    assert found_texts(folder) == set(AGENT_PAGES)
    assert figures["retrieved"] == len(AGENT_PAGES)
    assert figures["web_documents"] == len(AGENT_PAGES) + len(JUNK_PAGES)
    assert figures["mean_similarity"]["retrieved"] > figures["mean_similarity"]["rest"] + 0.1
    assert (folder / "projection.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "projection.png").stat().st_size < 100_000


def test_each_retrieved_document_carries_its_best_match(corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path):
    folder, figures = run(corpus, encoder, tmp_path)
    matches = pq.read_table(folder / "matches.parquet").to_pylist()
    for row in pq.read_table(folder / "retrieved.parquet").to_pylist():
        own = [m for m in matches if m["document_id"] == row["document_id"]]
        best = max(own, key=lambda m: m["score"])
        assert (row["best_score"], row["best_query_id"], row["num_hits"]) == (best["score"], best["query_id"], len(own))
    assert min(m["score"] for m in matches) > figures["threshold"]
    assert {m["query_id"] for m in matches} <= {document_id(text) for text in SEED_PAGES}


def test_a_stricter_quantile_retrieves_less(corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path):
    loose, loose_figures = run(corpus, encoder, tmp_path, "loose", random_pair_quantile=0.1, neighbours=20)
    strict, strict_figures = run(corpus, encoder, tmp_path, "strict", random_pair_quantile=0.9, neighbours=20)
    assert found_texts(strict) < found_texts(loose)
    assert strict_figures["threshold"] > loose_figures["threshold"]


def test_fewer_neighbours_give_fewer_matches(corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path):
    _, few = run(corpus, encoder, tmp_path, "few", neighbours=1)
    _, many = run(corpus, encoder, tmp_path, "many", neighbours=5)
    assert few["matches"] <= len(SEED_PAGES) < many["matches"]


def test_nothing_above_the_threshold_leaves_an_empty_folder(corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path):
    folder, figures = run(corpus, encoder, tmp_path, random_pair_quantile=0.999999)
    assert figures["retrieved"] == 0
    assert found_texts(folder) == set()
    assert figures["mean_similarity"]["retrieved"] is None


def test_the_same_inputs_give_the_same_files(corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path):
    one, other = run(corpus, encoder, tmp_path, "one")[0], run(corpus, encoder, tmp_path, "other")[0]
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert len(names) == 6
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_seed_corpus_without_agent_documents_is_refused(corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path):
    corpus("seed", SEED_PAGES, domain="text")
    corpus("web", JUNK_PAGES)
    embed_documents(tmp_path / "web", encoder, tmp_path / "index")
    build_index(open_embeddings(tmp_path / "index")[0], tmp_path / "index")
    with pytest.raises(ValueError, match="query_domains"):
        retrieve(tmp_path / "seed", tmp_path / "web", tmp_path / "index", encoder, RetrievalConfig(), tmp_path / "out")


def test_known_shards_are_copied_and_give_the_bytes_of_a_fresh_run(
    corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path
):
    first = corpus("first", JUNK_PAGES[:4], documents_per_shard=2)
    grown = corpus("grown", [*JUNK_PAGES[:4], *AGENT_PAGES], documents_per_shard=2)
    embed_documents(first, encoder, tmp_path / "old")
    counts = embed_documents(grown, encoder, tmp_path / "new", earlier=[tmp_path / "old"])
    assert (counts["copied"], counts["encoded"]) == (4, 6)
    embed_documents(grown, encoder, tmp_path / "fresh")
    for name in ("embeddings.npy", "ids.parquet", "embeddings.json"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_vectors_of_another_encoder_are_not_copied(corpus: Callable[..., Path], encoder: Encoder, minilm: Path, tmp_path: Path):
    folder = corpus("pages", JUNK_PAGES)
    embed_documents(folder, encoder, tmp_path / "old")
    other = Encoder(encoder.config.model_copy(update={"max_tokens": 16}), minilm)
    assert embed_documents(folder, other, tmp_path / "new", earlier=[tmp_path / "old"])["copied"] == 0


def test_both_kinds_of_index_find_the_nearest_vector(tmp_path: Path):
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(2_000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"d{row}" for row in range(2_000)]
    for name, exact_up_to, kind in (("flat", 2_000, "flat"), ("lists", 1_999, "ivf")):
        (tmp_path / name).mkdir()
        assert build_index(vectors, tmp_path / name, exact_up_to)["kind"] == kind
        matches = search(open_index(tmp_path / name), vectors[:300], ids[:300], ids, 1, 0.0)
        assert matches["document_id"].to_pylist() == ids[:300]
        np.testing.assert_allclose(matches["score"].to_numpy(), 1, atol=1e-5)


def test_search_agrees_with_brute_force(tmp_path: Path):
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(200, 8)).astype(np.float32)
    build_index(vectors, tmp_path)
    scores = vectors[:20] @ vectors.T
    matches = search(open_index(tmp_path), vectors[:20], [str(q) for q in range(20)], [str(d) for d in range(200)], 5, 3.0)
    expected = {
        (str(q), str(d), rank + 1) for q in range(20) for rank, d in enumerate(np.argsort(-scores[q])[:5]) if scores[q, d] > 3.0
    }
    assert expected
    assert {(m["query_id"], m["document_id"], m["rank"]) for m in matches.to_pylist()} == expected


def test_candidates_are_drawn_evenly_over_sources(corpus: Callable[..., Path], tmp_path: Path):
    from hephaestus_dag.documents import Document, DocumentWriter

    sizes = {"large": 100, "small": 3}
    with DocumentWriter(tmp_path / "seed") as writer:
        for source, size in sizes.items():
            for number in range(size):
                text = f"{source} {number}"
                writer.write([Document(text=text, domain="agent", kind="k", source=source, origin=text, license="MIT")])
    ids = draw_candidates(tmp_path / "seed", RetrievalConfig(num_candidates=8, num_queries=2))
    assert len(ids) == 8
    assert {document_id(f"small {number}") for number in range(3)} <= set(ids)
    assert ids != draw_candidates(tmp_path / "seed", RetrievalConfig(num_candidates=8, num_queries=2, seed=1))


def test_one_query_stands_for_each_cluster():
    generator = np.random.default_rng(0)
    centres = np.eye(4, dtype=np.float32) * 10
    vectors = np.repeat(centres, 25, axis=0) + generator.normal(scale=0.01, size=(100, 4)).astype(np.float32)
    chosen = medoids(vectors, 4, seed=0, spherical=False)
    assert sorted(row // 25 for row in chosen) == [0, 1, 2, 3]


def test_contradicting_settings_are_refused():
    with pytest.raises(ValueError, match="num_queries"):
        RetrievalConfig(num_candidates=5, num_queries=6)
    with pytest.raises(ValueError, match="min_keep_share"):
        RetrievalConfig(min_keep_share=0.9, max_keep_share=0.2)


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (0.3, True), (0.99, False)])
def test_share_outside_the_band_is_implausible(share: float, expected: bool):
    assert RetrievalConfig().plausible(share) is expected
