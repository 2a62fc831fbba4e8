from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest

from hephaestus_dag.retrieval.config import IndexConfig
from hephaestus_dag.retrieval.index import Index, Kind, build_index, choose_kind, index_recall, open_index
from hephaestus_dag.retrieval.vectors import Vectors, open_vectors, write_vectors

KINDS: list[Kind] = ["flat", "hnsw", "ivf_pq"]


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Vectors]:
    """Write vectors as a folder, in shards of 700."""

    def write(array: np.ndarray, name: str = "vectors") -> Vectors:
        blocks = (
            ([f"d{row}" for row in range(start, min(start + 700, len(array)))], array[start : start + 700])
            for start in range(0, len(array), 700)
        )
        write_vectors(tmp_path / name, blocks, {"model": "m"}, array.shape[1])
        return open_vectors(tmp_path / name)

    return write


@pytest.fixture
def use_threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads of FAISS, until the test ends."""
    before = faiss.omp_get_max_threads()
    yield faiss.omp_set_num_threads
    faiss.omp_set_num_threads(before)


def clustered(count: int, dimension: int = 16, seed: int = 0, normalize: bool = True) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(20, dimension))
    vectors = centres[generator.integers(20, size=count)] + generator.normal(scale=0.5, size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if normalize else vectors).astype(np.float32)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_flat_search_agrees_with_brute_force(stored: Callable[..., Vectors], tmp_path: Path, normalize: bool):
    vectors = clustered(1_500, normalize=normalize)
    figures = build_index(stored(vectors), tmp_path, IndexConfig())
    assert (figures["kind"], figures["recall"], figures["vectors"]) == ("flat", 1.0, 1_500)
    scores, rows = open_index(tmp_path, open_vectors(tmp_path / "vectors")).search(vectors[:20], 7)
    exact = vectors[:20] @ vectors.T
    np.testing.assert_array_equal(rows, np.argsort(-exact, axis=1)[:, :7])
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :7], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_near_vectors_with_their_exact_scores_best_first(
    stored: Callable[..., Vectors], tmp_path: Path, kind: Kind
):
    vectors = clustered(3_000)
    figures = build_index(stored(vectors), tmp_path, IndexConfig(kind=kind))
    assert figures["kind"] == kind
    assert figures["recall"] >= 0.9
    assert figures["bytes"] == (tmp_path / "index.faiss").stat().st_size
    index = open_index(tmp_path, open_vectors(tmp_path / "vectors"))
    assert (index.kind, index.breadth) == (kind, figures["breadth"])
    scores, rows = index.search(vectors[:900], 10)
    assert (rows[:, 0] == np.arange(900)).mean() > 0.99
    assert (np.diff(scores, axis=1) <= 0).all()
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", vectors[:900], vectors[rows]), atol=1e-5)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_vectors_give_the_same_bytes_whatever_the_number_of_threads(
    stored: Callable[..., Vectors], tmp_path: Path, kind: Kind, use_threads: Callable[[int], None]
):
    vectors = stored(clustered(2_000))
    figures, contents = [], set()
    for threads in (4, 4, 1):
        use_threads(threads)
        figures.append(build_index(vectors, tmp_path / "index", IndexConfig(kind=kind), seed=3))
        contents.add((tmp_path / "index" / "index.faiss").read_bytes())
    assert figures[0] == figures[1] == figures[2]
    assert len(contents) == 1


def test_the_seed_draws_the_training_sample(stored: Callable[..., Vectors], tmp_path: Path):
    vectors = stored(clustered(2_000))
    for seed in (0, 1):
        build_index(vectors, tmp_path / str(seed), IndexConfig(kind="ivf_pq"), seed=seed)
    assert (tmp_path / "0" / "index.faiss").read_bytes() != (tmp_path / "1" / "index.faiss").read_bytes()


@pytest.mark.parametrize(
    ("num", "kind"),
    [(1, "flat"), (200_000, "flat"), (200_001, "hnsw"), (4_464_285, "hnsw"), (4_464_286, "ivf_pq"), (10**9, "ivf_pq")],
)
def test_auto_takes_flat_then_hnsw_while_it_fits_then_ivf_pq(num: int, kind: Kind):
    assert choose_kind(num, 384, IndexConfig()) == kind


def test_auto_follows_its_settings(stored: Callable[..., Vectors], tmp_path: Path):
    vectors = stored(clustered(600))
    assert build_index(vectors, tmp_path, IndexConfig(flat_up_to=599))["kind"] == "hnsw"
    assert build_index(vectors, tmp_path, IndexConfig(flat_up_to=599, max_memory_gb=1e-5))["kind"] == "ivf_pq"


@pytest.mark.parametrize("kind", KINDS)
def test_more_neighbours_than_vectors_leave_empty_places(stored: Callable[..., Vectors], tmp_path: Path, kind: Kind):
    vectors = stored(clustered(300))
    build_index(vectors, tmp_path, IndexConfig(kind=kind, min_recall=1))
    scores, rows = open_index(tmp_path, vectors).search(clustered(4, seed=1), 400)
    assert scores.shape == rows.shape == (4, 400)
    assert ((rows < 0) == (scores == -np.inf)).all()
    for line in rows:
        found = line[line >= 0]
        assert 0 < len(set(found)) == len(found) <= 300
    if kind == "flat":
        assert (np.sort(rows[:, :300], axis=1) == np.arange(300)).all()


@pytest.mark.parametrize("queries", [np.ones((2, 15)), np.ones(16), np.ones((2, 17))])
def test_queries_of_another_dimension_are_refused(stored: Callable[..., Vectors], tmp_path: Path, queries: np.ndarray):
    vectors = stored(clustered(20))
    build_index(vectors, tmp_path, IndexConfig())
    with pytest.raises(ValueError, match=r"queries have shape \(.*dimension 16"):
        open_index(tmp_path, vectors).search(queries, 3)


def test_a_missing_a_damaged_and_a_foreign_index_are_told_apart(stored: Callable[..., Vectors], tmp_path: Path):
    vectors = stored(clustered(300))
    with pytest.raises(FileNotFoundError, match=r"no index\.faiss"):
        open_index(tmp_path, vectors)
    build_index(vectors, tmp_path, IndexConfig())
    for other in (clustered(299), clustered(300, dimension=8)):
        with pytest.raises(ValueError, match="build the index again"):
            open_index(tmp_path, stored(other, "other"))
    whole = (tmp_path / "index.faiss").read_bytes()
    for broken in (whole[:-100], b"", b"junk" + whole[4:]):
        (tmp_path / "index.faiss").write_bytes(broken)
        with pytest.raises(ValueError, match=r"index\.faiss cannot be read .* build it again"):
            open_index(tmp_path, vectors)


def test_no_vectors_and_too_few_for_compression_are_refused(stored: Callable[..., Vectors], tmp_path: Path):
    with pytest.raises(ValueError, match="corpus is empty"):
        build_index(stored(np.zeros((0, 4), dtype=np.float32)), tmp_path, IndexConfig())
    with pytest.raises(ValueError, match=r"index\.kind .* 256 vectors, but there are 255: set it to auto"):
        build_index(stored(clustered(255)), tmp_path, IndexConfig(kind="ivf_pq"))
    assert not (tmp_path / "index.faiss").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_the_smallest_corpora_are_indexed(stored: Callable[..., Vectors], tmp_path: Path, count: int):
    vectors = stored(clustered(count))
    for kind in ("flat", "hnsw"):
        assert build_index(vectors, tmp_path, IndexConfig(kind=kind))["recall"] == 1.0
        assert open_index(tmp_path, vectors).search(clustered(1), 1)[1].tolist() == [[0]]


# Recall


def test_recall_is_the_share_of_exact_neighbours_found(stored: Callable[..., Vectors], tmp_path: Path):
    array, queries = clustered(3_000), clustered(100, seed=9)
    vectors = stored(array)
    build_index(vectors, tmp_path, IndexConfig(kind="ivf_pq"))
    index = open_index(tmp_path, vectors)
    index.index.nprobe = 1
    exact = np.argsort(-(queries @ array.T), axis=1)[:, :10]
    found = index.search(queries, 10)[1]
    by_rows = np.mean([len({*a} & {*b}) / 10 for a, b in zip(exact.tolist(), found.tolist(), strict=True)])
    recall = index_recall(index, vectors, queries, 10)
    assert recall == pytest.approx(by_rows)
    assert recall < 0.95
    while index.widen():
        pass
    assert index_recall(index, vectors, queries, 10) > 0.99


def test_a_build_widens_until_the_recall_asked_for(stored: Callable[..., Vectors], tmp_path: Path):
    vectors = stored(np.random.default_rng(0).normal(size=(6_000, 24)).astype(np.float32))
    easy = build_index(vectors, tmp_path, IndexConfig(kind="ivf_pq", min_recall=0))
    hard = build_index(vectors, tmp_path, IndexConfig(kind="ivf_pq", min_recall=0.97))
    assert easy["recall"] < 0.97 <= hard["recall"]
    assert easy["breadth"] < hard["breadth"] == open_index(tmp_path, vectors).breadth


class OnlyItself(Index):
    """Finds the nearest vector and nothing else."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, rows = super().search(queries, 1)
        rest = (len(queries), k - 1)
        return np.hstack([scores, np.full(rest, -np.inf, np.float32)]), np.hstack([rows, np.full(rest, -1)])


def test_a_query_is_not_its_own_neighbour(stored: Callable[..., Vectors], tmp_path: Path):
    vectors = stored(np.eye(16, dtype=np.float32) + 0.1)
    build_index(vectors, tmp_path, IndexConfig())
    index = OnlyItself(open_index(tmp_path, vectors).index, "flat", vectors)
    queries, own = vectors.take(np.arange(16)), np.arange(16)
    assert index_recall(index, vectors, queries, 1) == 1.0
    assert index_recall(index, vectors, queries, 1, own=own) == 0.0


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_of_equal_vectors_any_will_do(stored: Callable[..., Vectors], tmp_path: Path, kind: Kind):
    vectors = stored(np.repeat(clustered(40), 25, axis=0))
    assert build_index(vectors, tmp_path, IndexConfig(kind=kind))["recall"] == 1.0
