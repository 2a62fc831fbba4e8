from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from word_encoder import WordEncoder, vectors_folder

from hephaestus_dag.documents import Document, DocumentWriter, Domain, document_id
from hephaestus_dag.retrieval import queries as queries_module
from hephaestus_dag.retrieval.calibration import RANDOM_PAIRS, calibrate, open_calibration
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.retrieval.queries import draw_candidates, medoids, open_queries, write_queries

TOPICS = ["users account", "invoice payment", "storage bucket", "flight airport"]


def seed_corpus(folder: Path, rows: Sequence[tuple[str, Domain, str, str]]) -> Path:
    """Write (text, domain, kind, source) as documents, five a shard."""
    with DocumentWriter(folder, documents_per_shard=5) as writer:
        for text, domain, kind, source in rows:
            writer.write([Document(text=text, domain=domain, kind=kind, source=source, origin=text, license="MIT")])
    return folder


@pytest.fixture
def corpus_of_topics(tmp_path: Path) -> Path:
    agent = [(f"{TOPICS[n % 4]} {n}", "agent", ("api", "call")[n % 2], f"s{n % 3}") for n in range(40)]
    text = [(f"old tale number {n} of the sea", "text", "book", "novels") for n in range(15)]
    return seed_corpus(tmp_path / "seed", [*agent, *text, *agent[:3]])


def test_queries_candidates_and_general_text_are_written(corpus_of_topics: Path, tmp_path: Path):
    encoder, said = WordEncoder(), []
    config = RetrievalConfig(num_candidates=30, num_queries=6, num_general=10)
    figures = write_queries(corpus_of_topics, encoder, config, tmp_path / "q", tmp_path / "work", lambda *now: said.append(now))
    queries = open_queries(tmp_path / "q")
    assert (len(queries.candidates), len(queries.general)) == (30, 10)
    assert figures["queries"] == len(queries.ids) <= 6
    assert (figures["candidates"], figures["general"]) == (30, 10)
    assert encoder.calls == [(True, 30), (False, 10)]
    assert said[-1] == (40, 40)
    table = pq.read_table(tmp_path / "q" / "queries.parquet").to_pylist()
    assert sum(row["cluster_size"] for row in table) == 30
    assert max(row["cluster_size"] for row in table) == figures["largest_cluster"]
    for row, identity, vector in zip(table, queries.ids, queries.vectors, strict=True):
        assert row["document_id"] == identity == document_id(row["beginning"])
        np.testing.assert_array_equal(vector, encoder.encode([row["beginning"]])[0])
    assert {row["kind"]: row["candidates"] for row in figures["by_kind"]} == {"api": 15, "call": 15}
    assert sum(row["queries"] for row in figures["by_kind"]) == len(queries.ids)


def test_a_stopped_build_encodes_only_what_is_missing(corpus_of_topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queries_module, "TEXTS_PER_BLOCK", 10)
    config, encoder = RetrievalConfig(num_candidates=30, num_queries=6, num_general=10), WordEncoder()

    def stop(done: int, total: int) -> None:
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_queries(corpus_of_topics, encoder, config, tmp_path / "stopped", tmp_path / "work", stop)
    again = WordEncoder()
    write_queries(corpus_of_topics, again, config, tmp_path / "q", tmp_path / "work")
    assert again.calls == [(True, 10), (True, 10), (False, 10)]
    write_queries(corpus_of_topics, WordEncoder(), config, tmp_path / "undisturbed", tmp_path / "other work")
    for name in ("queries.parquet", "candidates/vectors/part-00000.npy", "general/vectors/part-00000.npy"):
        assert (tmp_path / "q" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_the_whole_seed_searches_when_both_numbers_are_null(
    corpus_of_topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(queries_module, "TEXTS_PER_BLOCK", 7)
    config = RetrievalConfig(num_candidates=None, num_queries=None, query_domains=("agent", "text"))
    figures = write_queries(corpus_of_topics, WordEncoder(), config, tmp_path / "q", tmp_path / "work")
    assert figures["candidates"] == figures["queries"] == 55
    assert len(open_queries(tmp_path / "q").vectors) == 55


def test_no_general_text_leaves_an_empty_set(corpus: Callable[..., Path], tmp_path: Path):
    figures = write_queries(corpus("seed", TOPICS), WordEncoder(), RetrievalConfig(), tmp_path / "q", tmp_path / "work")
    assert figures["general"] == len(open_queries(tmp_path / "q").general) == 0


def test_a_seed_corpus_without_agent_documents_is_refused(corpus: Callable[..., Path], tmp_path: Path):
    with pytest.raises(ValueError, match="query_domains"):
        write_queries(
            corpus("seed", TOPICS, domain="text"), WordEncoder(), RetrievalConfig(), tmp_path / "q", tmp_path / "work"
        )


def test_the_same_inputs_give_the_same_files(corpus_of_topics: Path, tmp_path: Path):
    config = RetrievalConfig(num_candidates=20, num_queries=4)
    for name in ("one", "other"):
        write_queries(corpus_of_topics, WordEncoder(), config, tmp_path / name, tmp_path / f"work of {name}")
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 7
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes() for file in files)


def test_damaged_queries_are_refused(corpus_of_topics: Path, tmp_path: Path):
    write_queries(
        corpus_of_topics, WordEncoder(), RetrievalConfig(num_candidates=20, num_queries=4), tmp_path / "q", tmp_path / "work"
    )
    path = tmp_path / "q" / "queries.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "row", table["row"].take(list(range(table.num_rows))[::-1])), path)
    with pytest.raises(ValueError, match="damaged"):
        open_queries(tmp_path / "q")


def test_candidates_are_drawn_evenly_over_sources(tmp_path: Path):
    sizes = {"large": 100, "small": 3}
    rows = [(f"{source} {n}", "agent", "k", source) for source, size in sizes.items() for n in range(size)]
    seed = seed_corpus(tmp_path / "seed", rows)
    ids = draw_candidates(seed, RetrievalConfig(num_candidates=8, num_queries=2))
    assert len(ids) == 8
    assert {document_id(f"small {number}") for number in range(3)} <= set(ids)
    assert ids != draw_candidates(seed, RetrievalConfig(num_candidates=8, num_queries=2, seed=1))


def test_one_query_stands_for_each_cluster(tmp_path: Path):
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.eye(4, dtype=np.float32) * 10, [10, 20, 30, 400], axis=0)
    vectors = clusters + generator.normal(scale=0.01, size=clusters.shape).astype(np.float32)
    rows, sizes = medoids(vectors_folder(tmp_path, vectors, shards=3), 4, seed=0, spherical=False)
    assert np.searchsorted([10, 30, 60], rows, side="right").tolist() == [0, 1, 2, 3]
    assert sizes.tolist() == [10, 20, 30, 400]
    for row, start, stop in zip(rows, [0, 10, 30, 60], [10, 30, 60, 460], strict=True):
        members = vectors[start:stop]
        own = np.linalg.norm(vectors[row] - members.mean(axis=0))
        assert own <= np.quantile(np.linalg.norm(members - members.mean(axis=0), axis=1), 0.2)


def test_copies_share_one_query(tmp_path: Path):
    vectors = np.repeat(np.eye(3, dtype=np.float32), 50, axis=0)
    rows, sizes = medoids(vectors_folder(tmp_path, vectors), 10, seed=0, spherical=True)
    assert rows.tolist() == [0, 50, 100]
    assert sizes.tolist() == [50, 50, 50]


def test_a_threshold_is_the_quantile_of_all_pairs_of_a_small_corpus(tmp_path: Path):
    generator = np.random.default_rng(0)
    queries, pages = (generator.normal(size=(n, 6)).astype(np.float32) for n in (40, 500))
    calibration = calibrate(queries, vectors_folder(tmp_path, pages, shards=2), 0.9)
    scores = queries @ pages.T
    assert calibration.pairs == scores.size
    assert calibration.threshold == pytest.approx(np.quantile(scores, 0.9), abs=1e-5)
    assert calibration.mean == pytest.approx(scores.mean(), abs=1e-5)
    for score in (-2.0, 0.0, 1.0, 5.0):
        assert calibration.percentile(np.array([score]))[0] == pytest.approx((scores < score).mean(), abs=2e-3)


def test_random_pairs_stand_for_all_pairs_of_a_larger_corpus_and_can_be_read_again(tmp_path: Path):
    generator = np.random.default_rng(1)
    queries, pages = (generator.normal(size=(n, 6)).astype(np.float32) for n in (200, 3_000))
    folder = vectors_folder(tmp_path, pages, shards=3)
    calibration = calibrate(queries, folder, 0.99, seed=3)
    scores = queries @ pages.T
    assert calibration.pairs == RANDOM_PAIRS < scores.size
    assert (scores > calibration.threshold).mean() == pytest.approx(0.01, abs=2e-3)
    assert calibrate(queries, folder, 0.99, seed=3).threshold == calibration.threshold
    assert calibrate(queries, folder, 0.99, seed=4).threshold != calibration.threshold
    calibration.write(tmp_path)
    again = open_calibration(tmp_path)
    assert (again.threshold, again.mean, again.pairs) == (calibration.threshold, calibration.mean, calibration.pairs)
    np.testing.assert_array_equal(again.percentile(scores[0]), calibration.percentile(scores[0]))


@settings(max_examples=20, deadline=None)
@given(scores=st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=30))
def test_percentiles_rise_with_the_score_and_stay_within_bounds(scores: list[float], tmp_path_factory: pytest.TempPathFactory):
    pages = np.repeat(np.arange(-3, 4, dtype=np.float32), 3)[:, None]
    calibration = calibrate(np.ones((2, 1), dtype=np.float32), vectors_folder(tmp_path_factory.mktemp("v"), pages), 0.5)
    shares = calibration.percentile(np.sort(np.array(scores)))
    assert (np.diff(shares) >= 0).all()
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert calibration.percentile(np.array([-3.5, 3.5])).tolist() == [0, 1]


def test_an_empty_web_corpus_cannot_be_calibrated(tmp_path: Path):
    with pytest.raises(ValueError, match="empty"):
        calibrate(np.ones((2, 3), dtype=np.float32), vectors_folder(tmp_path, np.zeros((0, 3), dtype=np.float32)), 0.9)
