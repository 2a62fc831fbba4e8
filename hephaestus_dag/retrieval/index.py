"""A FAISS index over the vectors of a corpus, by inner product, for repeated queries.

    flat      exact; 4 d bytes per vector of dimension d; every search reads all of it
    hnsw      a graph of 2 x 32 links per vector; 4 d + 256 bytes; a search reads some hundred vectors
    ivf_pq    inverted lists of compressed vectors; d / 4 + 8 bytes; candidates are scored again from the vectors on disk

Scores are exact inner products whichever kind it is; only which vectors are found is approximate. How much a search reads
is widened at the build until recall reaches ``min_recall``. The same vectors, settings and seed give the same bytes.
FAISS runs on the CPU; on a GPU, bulk retrieval takes exact search (see mining).
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hephaestus_dag.retrieval.config import IndexConfig
from hephaestus_dag.retrieval.vectors import Vectors, mapped
from hephaestus_dag.whole_folder import whole_file

Kind = Literal["flat", "hnsw", "ivf_pq"]
FILE = "index.faiss"
KINDS: dict[str, Kind] = {"IndexFlatIP": "flat", "IndexHNSWFlat": "hnsw", "IndexIVFPQ": "ivf_pq"}

LINKS = 32  # Of a vector in the upper layers of the graph; twice as many in the lowest.
BUILD_BREADTH = 64  # Candidates that are held while a vector is linked.
SEARCH_BREADTH = 128  # Candidates that are held in a search, to begin with; twice k where that is more.
MAX_SEARCH_BREADTH = 2_048

DIMENSIONS_PER_BYTE = 4
PQ_CENTRES = 256
PQ_ROUNDS = 10  # Of k-means; the 25 that FAISS takes cost 2.5 times as much for 2 % less error.
TRAINING_VECTORS_PER_LIST = 40  # FAISS warns below 39.
MIN_PROBES = 16
LISTS_PER_PROBE = 32
OVERFETCH = 4  # Candidates scored exactly for each neighbour wanted,
MIN_FETCH = 100  # and at least so many.
OPEN_SHARDS = 4_096  # Kept mapped between searches; their pages belong to the operating system.
SCORED_AT_ONCE = 262_144  # Candidates, which bounds memory: 16 MB.


def build_index(
    vectors: Vectors,
    folder: Path,
    config: IndexConfig,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write ``index.faiss`` over vectors into a folder.

    Memory is that of the index, and for ivf_pq of its training sample: 40 vectors for each of 4 sqrt(n) lists. All threads
    build; since FAISS 1.15 the links of an HNSW graph do not depend on them.

    Returns kind, vectors, bytes, breadth, and ``recall`` at ``recall_at`` neighbours against exact search, measured with
    ``recall_sample`` of the vectors as queries, each without itself. It lies below ``min_recall`` only where widening has
    reached its end.

    Raises ValueError when there are no vectors, or too few for ivf_pq.
    """
    import faiss

    num, dimension = len(vectors), vectors.dimension
    if not num:
        raise ValueError(f"{vectors.folder} has no vectors to index: the corpus is empty")
    kind = choose_kind(num, dimension, config)
    if kind == "flat":
        index: Any = faiss.IndexFlatIP(dimension)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimension, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = BUILD_BREADTH, SEARCH_BREADTH
    else:
        index = trained_ivf_pq(vectors, seed)
    for first, block in vectors.blocks():
        index.add(block)
        if progress:
            progress(first + len(block), num)
    rows = sample_rows(num, config.recall_sample, seed)
    found = Index(index, kind, vectors)
    recall = widened_recall(found, vectors.take(rows), rows, config)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / FILE) as path:
        faiss.write_index(index, str(path))
    return {
        "kind": kind,
        "vectors": num,
        "bytes": (folder / FILE).stat().st_size,
        "breadth": found.breadth,
        "recall": recall,
        "recall_at": config.recall_at,
        "recall_sample": len(rows),
    }


def choose_kind(num: int, dimension: int, config: IndexConfig) -> Kind:
    """Return the kind of index for ``num`` vectors: what the settings say, or flat, then hnsw while it fits, then ivf_pq."""
    if config.kind != "auto":
        return config.kind
    if num <= config.flat_up_to:
        return "flat"
    return "hnsw" if num * (4 * dimension + 2 * LINKS * 4) <= config.max_memory_gb * 1e9 else "ivf_pq"


def trained_ivf_pq(vectors: Vectors, seed: int) -> Any:
    """Return an empty IVF-PQ index, its lists and codes trained on a sample of the vectors."""
    import faiss

    num, dimension = len(vectors), vectors.dimension
    if num < PQ_CENTRES:
        raise ValueError(f"index.kind ivf_pq needs {PQ_CENTRES} vectors, but there are {num}: set it to auto")
    lists = 2 ** int(np.log2(max(1, min(4 * num**0.5, num / TRAINING_VECTORS_PER_LIST))))
    parts = next(size for size in range(max(1, dimension // DIMENSIONS_PER_BYTE), 0, -1) if dimension % size == 0)
    index = faiss.IndexIVFPQ(faiss.IndexFlatIP(dimension), dimension, lists, parts, 8, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = min(lists, max(MIN_PROBES, lists // LISTS_PER_PROBE))
    index.pq.cp.niter = PQ_ROUNDS
    for clustering in (index.cp, index.pq.cp):
        clustering.seed = seed
        clustering.min_points_per_centroid = 1
    index.train(vectors.take(sample_rows(num, max(lists, PQ_CENTRES) * TRAINING_VECTORS_PER_LIST, seed)))
    return index


def sample_rows(num: int, count: int, seed: int) -> np.ndarray:
    """Return ``count`` of ``num`` rows (all, when there are fewer), drawn by a seed, in order."""
    return np.sort(np.random.default_rng(seed).choice(num, min(count, num), replace=False))


class Index:
    """A FAISS index beside the vectors that it was built over."""

    def __init__(self, index: Any, kind: Kind, vectors: Vectors) -> None:
        self.index, self.kind, self.vectors = index, kind, vectors
        self.load = lru_cache(maxsize=OPEN_SHARDS)(mapped)

    @property
    def breadth(self) -> int:
        """What a search reads: lists (ivf_pq), candidates that it holds (hnsw), vectors (flat)."""
        if self.kind == "flat":
            return self.index.ntotal
        return self.index.nprobe if self.kind == "ivf_pq" else self.index.hnsw.efSearch

    def widen(self) -> bool:
        """Let a search read twice as much; return False when it reads all that it can."""
        wider = 2 * self.breadth
        if self.kind == "ivf_pq" and wider <= self.index.nlist:
            self.index.nprobe = wider
        elif self.kind == "hnsw" and wider <= MAX_SEARCH_BREADTH:
            self.index.hnsw.efSearch = wider
        else:
            return False
        return True

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (q, k) float32 and rows (q, k) int64 of the nearest vectors of each query, best first.

        Where fewer are found, the rest of a line has score -inf and row -1. Raises ValueError for queries that are not of
        shape (q, dimension).
        """
        import faiss

        if queries.ndim != 2 or queries.shape[1] != self.index.d:
            raise ValueError(f"queries have shape {queries.shape}, but the index is over vectors of dimension {self.index.d}")
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self.kind == "ivf_pq":
            return self.search_again(queries, k)
        breadth = None
        if self.kind == "hnsw":
            breadth = faiss.SearchParametersHNSW(efSearch=max(self.breadth, 2 * k))  # pyright: ignore
        scores, rows = self.index.search(queries, k, params=breadth)
        scores[rows < 0] = -np.inf
        return scores, rows

    def search_again(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Search by compressed vectors for more than k, and keep the k best by the vectors themselves."""
        fetch = max(OVERFETCH * k, MIN_FETCH)
        found = np.full((len(queries), k), -np.inf, dtype=np.float32), np.full((len(queries), k), -1, dtype=np.int64)
        step = max(1, SCORED_AT_ONCE // fetch)
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            rows = self.index.search(block, fetch)[1]
            scores = self.exact_scores(block, rows)
            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            for whole, part in zip(found, (scores, rows), strict=True):
                whole[start : start + step] = np.take_along_axis(part, best, axis=1)
        return found

    def exact_scores(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the scores of queries (q, d) with some vectors each, rows (q, m), read where they lie; -inf for row -1."""
        import faiss

        scores = np.full(rows.shape, -np.inf, dtype=np.float32)
        owners, columns = np.nonzero(rows >= 0)
        for shard, places, inside in self.vectors.by_shard(rows[owners, columns], self.load):
            owner, found = owners[places], np.empty(len(places), dtype=np.float32)
            arrays = (queries, owner, shard, inside, found)
            faiss.pairwise_indexed_inner_product(queries.shape[1], len(places), *map(faiss.swig_ptr, arrays))  # pyright: ignore
            scores[owner, columns[places]] = found
        return scores


def open_index(folder: Path, vectors: Vectors) -> Index:
    """Return the index of a folder, over its vectors.

    Raises FileNotFoundError when there is none, ValueError when the file is damaged or was built over other vectors.
    """
    import faiss

    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {FILE}: build the index first")
    try:
        index = faiss.read_index(str(path))
        kind = KINDS[type(index).__name__]
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({str(error)[:200]}); the folder is damaged, build it again") from error
    if (index.ntotal, index.d) != (len(vectors), vectors.dimension):
        raise ValueError(
            f"{path} is over {index.ntotal} vectors of dimension {index.d}, but {vectors.folder} has {len(vectors)} of "
            f"{vectors.dimension}: build the index again"
        )
    return Index(index, kind, vectors)


def index_recall(index: Index, vectors: Vectors, queries: np.ndarray, k: int, own: np.ndarray | None = None) -> float:
    """Return the share of the k nearest vectors that a search finds, mean over queries, against exact search.

    A found vector counts when it scores no less than the k-th exact one (up to rounding), so that of equal vectors any will do.
    ``own`` names for each query a row that is left out: the query itself.
    """
    k = min(k, len(vectors) - (own is not None))
    return found_share(index, queries, best_scores(vectors, queries, k, own), own) if k and len(queries) else 1.0


def widened_recall(index: Index, queries: np.ndarray, own: np.ndarray, config: IndexConfig) -> float:
    """Widen an index until its recall reaches ``min_recall``, and return its recall."""
    k = min(config.recall_at, len(index.vectors) - 1)
    if not k:
        return 1.0
    exact = best_scores(index.vectors, queries, k, own)
    recall = found_share(index, queries, exact, own)
    while recall < config.min_recall and index.widen():
        recall = found_share(index, queries, exact, own)
    return recall


def found_share(index: Index, queries: np.ndarray, exact: np.ndarray, own: np.ndarray | None) -> float:
    """Return the share of exact neighbours, given by their scores (q, k), that a search finds."""
    k = exact.shape[1]
    slack = 1e-5 * np.abs(exact).max(axis=1, keepdims=True)
    scores, rows = index.search(queries, k + (own is not None))
    if own is not None:
        scores[rows == own[:, None]] = -np.inf
    hits = (scores >= exact.min(axis=1, keepdims=True) - slack).sum(axis=1)
    return float(np.minimum(hits, k).mean() / k)


def best_scores(vectors: Vectors, queries: np.ndarray, k: int, own: np.ndarray | None = None) -> np.ndarray:
    """Return the k best scores of each query over all vectors but its own, shape (q, k), in no order."""
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for first, block in vectors.blocks():
        scores = queries @ block.T
        if own is not None:
            inside = np.flatnonzero((own >= first) & (own < first + len(block)))
            scores[inside, own[inside] - first] = -np.inf
        best = np.partition(np.concatenate([best, scores], axis=1), -k, axis=1)[:, -k:]
    return best
