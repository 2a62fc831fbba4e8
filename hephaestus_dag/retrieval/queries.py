"""Choose the seed documents that search the web corpus, and the general text that retrieval is compared with.

Candidates are drawn evenly over (kind, source), in an order that hashes decide, so that no large source crowds out a small
one. Their vectors are clustered (k-means), and of each cluster the candidate nearest to its centre becomes a query: the
queries cover the candidates' variety, and 100,000 near-copies share one query.

    candidates/         vectors of the candidates, encoded as queries
    general/            vectors of documents of domain text, encoded as pages; may be empty
    queries.parquet     document_id, row (among the candidates), kind, cluster_size (candidates that the query stands for),
                        beginning (of its text)
"""

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import Domain, document_files, read_documents
from hephaestus_dag.finished_shards import FinishedShards
from hephaestus_dag.map_over import MapOver, in_order
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.retrieval.encoder import Encoder
from hephaestus_dag.retrieval.encoding import EncodeBlock, Places, each_loads
from hephaestus_dag.retrieval.vectors import Vectors, open_vectors, write_vectors

TEXTS_PER_BLOCK = 8_192
KMEANS_ITERATIONS = 20
# Means of 64 points lie close to those of thousands. Clustering then costs 64 queries^2 x 20 x 2 d operations: 1,000 seconds
# at 100 GFLOP/s for 10,000 queries of 384 dimensions, a fraction of what encoding their 640,000 and more candidates takes.
TRAINING_POINTS_PER_QUERY = 64
SHOWN_CHARACTERS = 160
QUERY_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("row", pa.int64()),
        ("kind", pa.string()),
        ("cluster_size", pa.int64()),
        ("beginning", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Queries:
    """Seed documents as vectors."""

    ids: list[str]
    """Document ids of the queries."""
    beginnings: list[str]
    """How their texts begin."""
    vectors: np.ndarray
    """float32 (queries, dimension)"""
    candidates: Vectors
    """All seed documents that were encoded, the queries among them."""
    general: Vectors
    """Documents of general text; empty when the seed corpus has none."""


def write_queries(
    seed_corpus: Path,
    encoder: Encoder,
    config: RetrievalConfig,
    folder: Path,
    work: Path,
    progress: Callable[[int, int], None] | None = None,
    map_over: MapOver = in_order,
) -> dict[str, Any]:
    """Encode candidates and general text of a seed corpus, choose the queries, and write all into ``folder``.

    Blocks of 8,192 documents are encoded by ``map_over``, which may be the compute resource's. Finished ones wait in ``work``,
    so that a stop costs one per worker at most. ``progress`` is told documents encoded and documents in all. Returns counts:
    candidates, queries, general, largest_cluster, and by_kind: candidates and queries of each kind.
    Raises ValueError when the seed corpus has no document in ``query_domains``.
    """
    kinds = draw_candidates(seed_corpus, config)
    general = draw_general(seed_corpus, config)
    total = len(kinds) + len(general)

    def encoded(ids: Mapping[str, str], query: bool, before: int) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        finished = FinishedShards(work, [{**encoder.identity, "query": query}, encoder.dimension])
        blocks = [(block, places, finished.find(block)) for block, places in places_of(seed_corpus, ids)]
        done = before

        def report(within: int, _: int) -> None:
            if progress:
                progress(done + within, total)

        encode = EncodeBlock(work, finished.identity, encoder.dimension, {"query": query}, report)
        made = map_over(encode, [places for _, places, path in blocks if path is None], setup=each_loads(encoder))
        for block, _, path in blocks:
            yield block, np.load(path or next(made))
            done += len(block)
            report(0, 0)

    for name, blocks in (("candidates", encoded(kinds, True, 0)), ("general", encoded(general, False, len(kinds)))):
        write_vectors(folder / name, blocks, encoder.identity, encoder.dimension)
    candidates = open_vectors(folder / "candidates")
    rows, sizes = medoids(candidates, config.num_queries, config.seed, spherical=config.encoder.normalize)
    ids = candidates.ids.take(pa.array(rows)).to_pylist()
    shown = {i: beginning(text) for block in texts_of(seed_corpus, ids) for i, text in zip(*block, strict=True)}
    columns = {
        "document_id": ids,
        "row": rows,
        "kind": [kinds[identity] for identity in ids],
        "cluster_size": sizes,
        "beginning": [shown[identity] for identity in ids],
    }
    pq.write_table(pa.table(columns, schema=QUERY_SCHEMA), folder / "queries.parquet", compression="zstd")
    drawn, chosen = Counter(kinds.values()), Counter(columns["kind"])
    return {
        "candidates": len(kinds),
        "queries": len(rows),
        "general": len(general),
        "largest_cluster": int(sizes.max()),
        "by_kind": [{"kind": kind, "candidates": drawn[kind], "queries": chosen[kind]} for kind in sorted(drawn)],
    }


def open_queries(folder: Path) -> Queries:
    """Return the queries of a folder.

    Raises FileNotFoundError when it holds none, ValueError when its files do not belong together.
    """
    candidates, general = open_vectors(folder / "candidates"), open_vectors(folder / "general")
    table = pq.read_table(folder / "queries.parquet", columns=["document_id", "row", "beginning"])
    rows, ids = table["row"].to_numpy(), table["document_id"].to_pylist()
    if not len(rows) or rows.max() >= len(candidates) or candidates.ids.take(pa.array(rows)).to_pylist() != ids:
        raise ValueError(f"{folder / 'queries.parquet'} does not fit its candidates; the folder is damaged, build it again")
    return Queries(ids, table["beginning"].to_pylist(), candidates.take(rows), candidates, general)


def draw_candidates(seed_corpus: Path, config: RetrievalConfig) -> dict[str, str]:
    """Return id -> kind of the candidates: the same number from every (kind, source) as far as it has them."""
    strata: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for identity, domain, kind, source in rows_of(seed_corpus, ["id", "domain", "kind", "source"]):
        if domain in config.query_domains:
            strata[kind, source].add(identity)
    if not strata:
        raise ValueError(f"the seed corpus has no document in query_domains {list(config.query_domains)}: nothing can search")
    ranked = [
        (rank, stratum, identity)
        for stratum, members in strata.items()
        for rank, identity in enumerate(sorted(members, key=lambda identity: seeded_order(identity, config.seed)))
    ]
    return {identity: stratum[0] for _, stratum, identity in sorted(ranked)[: config.num_candidates]}


def draw_general(seed_corpus: Path, config: RetrievalConfig, domain: Domain = "text") -> dict[str, str]:
    """Return id -> kind of ``num_general`` documents of domain text (all, when there are fewer), in the order of hashes."""
    found = {i: kind for i, of, kind in rows_of(seed_corpus, ["id", "domain", "kind"]) if of == domain}
    # Another order than that which sources are sampled by: the documents of a sampled source would all come first.
    drawn = heapq.nsmallest(config.num_general, found, key=lambda identity: seeded_order(f"general:{identity}", config.seed))
    return {identity: found[identity] for identity in drawn}


def seeded_order(identity: str, seed: int) -> bytes:
    """Return a sort key that shuffles ids the same way wherever they stand."""
    return hashlib.blake2b(f"{seed}:{identity}".encode(), digest_size=8).digest()


def rows_of(folder: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the values of some columns, document by document."""
    for batch in read_documents(folder, columns):
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def beginning(text: str) -> str:
    """Return the first characters of a text on one line."""
    return " ".join(text[: 2 * SHOWN_CHARACTERS].split())[:SHOWN_CHARACTERS]


def texts_of(folder: Path, ids: Iterable[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Yield (ids, texts) of the documents named, each once, in the order of the folder and in blocks."""
    missing, block, texts = set(ids), [], []
    for identity, text in rows_of(folder, ["id", "text"]):
        if identity in missing:
            missing.discard(identity)
            block.append(identity)
            texts.append(text)
        if len(block) == TEXTS_PER_BLOCK:
            yield block, texts
            block, texts = [], []
    if block:
        yield block, texts


def places_of(folder: Path, ids: Iterable[str]) -> Iterator[tuple[list[str], Places]]:
    """Yield (ids, where they lie) of the documents named, each once, in the order of the folder and in blocks."""
    missing = set(ids)
    block: list[str] = []
    places: dict[str, list[int]] = {}
    for file in document_files(folder):
        row = -1
        for batch in pq.ParquetFile(file).iter_batches(columns=["id"], use_threads=False):
            for identity in batch.column("id").to_pylist():
                row += 1
                if identity not in missing:
                    continue
                missing.discard(identity)
                block.append(identity)
                places.setdefault(file, []).append(row)
                if len(block) == TEXTS_PER_BLOCK:
                    yield block, list(places.items())
                    block, places = [], {}
    if block:
        yield block, list(places.items())


def medoids(vectors: Vectors, number: int | None, seed: int, spherical: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the vectors nearest to ``number`` k-means centres, ascending, and how many vectors share each centre.

    Centres that nothing is nearest to are left out. k-means (FAISS, k-means++ start) learns from at most 64 vectors for each
    centre, drawn by ``seed``; all vectors are assigned. ``number`` None, or no smaller than the number of vectors, returns
    all rows.
    """
    import faiss

    if number is None or len(vectors) <= number:
        return np.arange(len(vectors)), np.ones(len(vectors), dtype=np.int64)
    points = min(len(vectors), number * TRAINING_POINTS_PER_QUERY)
    sample = np.sort(np.random.default_rng(seed).choice(len(vectors), points, replace=False))
    clustering = faiss.Kmeans(
        vectors.dimension,
        number,
        niter=KMEANS_ITERATIONS,
        seed=seed,
        spherical=spherical,
        # A centre is likelier far from the others, so that small clusters get one too; drawn at random, large ones take all.
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        min_points_per_centroid=1,
        max_points_per_centroid=TRAINING_POINTS_PER_QUERY,
    )
    clustering.train(vectors.take(sample))
    centres = np.ascontiguousarray(clustering.centroids)

    best, distance = np.full(number, -1), np.full(number, np.inf, dtype=np.float32)
    sizes = np.zeros(number, dtype=np.int64)
    for first, block in vectors.blocks():
        found = faiss.knn(block, centres, 1)
        far, centre = found[0][:, 0], found[1][:, 0]
        sizes += np.bincount(centre, minlength=number)
        order = np.lexsort((far, centre))  # stable: of equals the first
        members, starts = np.unique(centre[order], return_index=True)
        nearest = order[starts]
        closer = far[nearest] < distance[members]
        best[members[closer]], distance[members[closer]] = first + nearest[closer], far[nearest[closer]]
    taken = np.flatnonzero(best >= 0)
    taken = taken[np.argsort(best[taken])]
    return best[taken], sizes[taken]
