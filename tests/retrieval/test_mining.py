import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from word_encoder import vectors_folder

from hephaestus_dag.retrieval import mining
from hephaestus_dag.retrieval.mining import Matches, capped, mine


def brute_force(scores: np.ndarray, neighbours: int, cap: int, threshold: float) -> list[tuple[int, int, float]]:
    """Both caps, pair by pair. ``scores`` has a row for each query."""
    held: list[list[tuple[float, int]]] = [[] for _ in scores]
    for row in range(scores.shape[1]):
        eligible = sorted((-s, query) for query, s in enumerate(scores[:, row]) if s > np.float32(threshold))
        for score, query in eligible[:cap]:
            held[query].append((score, row))
    return [(query, row, float(-score)) for query, pairs in enumerate(held) for score, row in sorted(pairs)[:neighbours]]


def triples(matches: Matches) -> list[tuple[int, int, float]]:
    return list(zip(matches.query.tolist(), matches.row.tolist(), matches.score.tolist(), strict=True))


cases = given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 90), st.integers(1, 3)),
    levels=st.integers(1, 4),
    neighbours=st.integers(1, 7),
    cap=st.integers(1, 5),
    threshold=st.sampled_from([-float("inf"), -3.0, -0.0, 0.0, 1.0, 2.5, 1e9]),
    tile=st.integers(1, 40),
    room=st.integers(0, 50),
)


def mining_is_brute_force(
    seed: int, sizes: tuple[int, int, int], levels: int, neighbours: int, cap: int, threshold: float, tile: int, room: int
):
    """Small integers make scores exact and ties frequent; tiny tiles and lists make bars rise in the middle."""
    num_queries, num_pages, shards = sizes
    generator = np.random.default_rng(seed)
    queries = generator.integers(-levels, levels + 1, size=(num_queries, 3)).astype(np.float32)
    pages = generator.integers(-levels, levels + 1, size=(num_pages, 3)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(mining, "MIN_TILE_ROWS", 1)
        patch.setitem(mining.TILE_SCORES, "cpu", tile * num_queries)
        patch.setattr(mining, "MIN_ROOM", room)
        matches = mine(queries, vectors_folder(Path(folder), pages, shards), neighbours, cap, threshold)
    assert triples(matches) == brute_force(queries @ pages.T, neighbours, cap, threshold)


@settings(max_examples=50, deadline=None)
@cases
def test_both_caps_are_exact_and_ties_go_to_the_first(**case: Any):
    mining_is_brute_force(**case)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@cases
def test_both_caps_are_exact_in_many_cases(**case: Any):
    mining_is_brute_force(**case)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.integers(1, 6),
    neighbours=st.integers(1, 7),
    cap=st.integers(1, 5),
)
def test_caps_on_candidates_are_those_of_mining(seed: int, levels: int, neighbours: int, cap: int):
    generator = np.random.default_rng(seed)
    scores = generator.integers(-levels, levels + 1, size=(9, 30)).astype(np.float32)
    query, row = np.nonzero(scores > 0)
    order = generator.permutation(len(query))  # candidates may come in any order
    query, row = query[order], row[order]
    assert triples(capped(query, row, scores[query, row], neighbours, cap)) == brute_force(scores, neighbours, cap, 0)


@pytest.mark.parametrize("threshold", [0.1, -1.0])
def test_real_scores_over_many_tiles_agree_with_brute_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: float):
    generator = np.random.default_rng(0)
    queries, pages = (generator.normal(size=(n, 16)).astype(np.float32) for n in (130, 3_000))
    monkeypatch.setitem(mining.TILE_SCORES, "cpu", 130 * 100)
    matches = mine(queries, vectors_folder(tmp_path, pages, 3), 20, 5, threshold)
    expected = brute_force(queries @ pages.T, 20, 5, threshold)
    assert [pair[:2] for pair in triples(matches)] == [pair[:2] for pair in expected]
    np.testing.assert_allclose(matches.score, [pair[2] for pair in expected], rtol=1e-5, atol=1e-5)


def test_a_pair_below_the_bar_of_its_query_still_takes_a_place_of_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Query 0 is full after page 0; on page 1 it stands first all the same, and the page has one place."""
    monkeypatch.setitem(mining.TILE_SCORES, "cpu", 1)
    monkeypatch.setattr(mining, "MIN_TILE_ROWS", 1)
    monkeypatch.setattr(mining, "MIN_ROOM", 0)
    queries = np.array([[2, 0], [1, 0], [0, 1]], dtype=np.float32)
    pages = np.array([[9, 0], [5, 0], [0, 3]], dtype=np.float32)
    matches = mine(queries, vectors_folder(tmp_path, pages), neighbours=1, max_queries_per_document=1, threshold=0)
    assert triples(matches) == [(0, 0, 18.0), (2, 2, 3.0)]


def test_nothing_above_the_threshold_gives_no_matches(tmp_path: Path):
    matches = mine(np.eye(4, dtype=np.float32), vectors_folder(tmp_path, np.eye(4, dtype=np.float32)), 3, 2, threshold=1.0)
    assert len(matches) == 0
    assert (matches.query.dtype, matches.row.dtype, matches.score.dtype) == (np.int64, np.int64, np.float32)


def test_progress_counts_the_pages(tmp_path: Path):
    said: list[tuple[int, int]] = []
    pages = vectors_folder(tmp_path, np.ones((10, 2), dtype=np.float32), shards=2)
    mine(np.ones((1, 2), dtype=np.float32), pages, 1, 1, 0.0, progress=lambda done, total: said.append((done, total)))
    assert said == [(5, 10), (10, 10)]


@pytest.mark.parametrize(
    ("queries", "message"),
    [(np.ones((2, 3)), "dimension"), (np.full((2, 2), np.nan), "finite"), (np.ones((0, 2)), "no queries")],
)
def test_queries_that_cannot_search_are_refused(tmp_path: Path, queries: np.ndarray, message: str):
    pages = vectors_folder(tmp_path, np.ones((4, 2), dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        mine(queries.astype(np.float32), pages, 1, 1, 0.0)
