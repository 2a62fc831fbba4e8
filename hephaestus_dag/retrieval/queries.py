"""Choose the seed documents that search the web corpus.

Candidates are drawn evenly over (kind, source), in an order that hashes decide, so that no large source crowds out a small
one. Their vectors are clustered (k-means), and the candidate nearest to each centre becomes a query: the queries cover the
candidates' variety, and near-copies share one query.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hephaestus_dag.documents import read_document_table, read_documents
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.retrieval.encoder import Encoder

KMEANS_ITERATIONS = 20


@dataclass(frozen=True, slots=True)
class Queries:
    """Seed documents as vectors."""

    candidate_ids: list[str]
    candidate_vectors: np.ndarray
    """float32 (candidates, dimension)"""
    rows: np.ndarray
    """Which candidates are the queries, ascending."""

    @property
    def ids(self) -> list[str]:
        """Document ids of the queries."""
        return [self.candidate_ids[row] for row in self.rows]

    @property
    def vectors(self) -> np.ndarray:
        """float32 (queries, dimension)"""
        return self.candidate_vectors[self.rows]


def choose_queries(
    seed_corpus: Path, encoder: Encoder, config: RetrievalConfig, progress: Callable[[int, int], None] | None = None
) -> Queries:
    """Encode the candidates of a seed corpus and choose queries among them.

    Raises ValueError when the seed corpus has no document in ``query_domains``.
    """
    ids = draw_candidates(seed_corpus, config)
    wanted = set(ids)
    texts: dict[str, str] = {}
    for batch in read_documents(seed_corpus, ["id", "text"]):
        rows = zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
        texts |= {identity: text for identity, text in rows if identity in wanted}
    vectors = encoder.encode([texts[identity] for identity in ids], progress)
    return Queries(ids, vectors, medoids(vectors, config.num_queries, config.seed, spherical=config.encoder.normalize))


def draw_candidates(seed_corpus: Path, config: RetrievalConfig) -> list[str]:
    """Return ids of candidates: the same number from every (kind, source) as far as it has them, sorted."""
    table = read_document_table(seed_corpus, ["id", "domain", "kind", "source"])
    strata: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for row in table.to_pylist():
        if row["domain"] in config.query_domains:
            strata[row["kind"], row["source"]].add(row["id"])
    if not strata:
        raise ValueError(f"the seed corpus has no document in query_domains {list(config.query_domains)}: nothing can search")
    ranked = [
        (rank, stratum, identity)
        for stratum, members in strata.items()
        for rank, identity in enumerate(sorted(members, key=lambda identity: seeded_order(identity, config.seed)))
    ]
    return sorted(identity for _, _, identity in sorted(ranked)[: config.num_candidates])


def seeded_order(identity: str, seed: int) -> bytes:
    """Return a sort key that shuffles ids the same way wherever they stand."""
    return hashlib.blake2b(f"{seed}:{identity}".encode(), digest_size=8).digest()


def medoids(vectors: np.ndarray, number: int, seed: int, spherical: bool) -> np.ndarray:
    """Return rows of the vectors nearest to ``number`` k-means centres, ascending and without repetition."""
    import faiss

    if len(vectors) <= number:
        return np.arange(len(vectors))
    clustering = faiss.Kmeans(
        vectors.shape[1],
        number,
        niter=KMEANS_ITERATIONS,
        seed=seed,
        spherical=spherical,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    clustering.train(vectors)
    _, nearest = faiss.knn(np.asarray(clustering.centroids), vectors, 1)
    return np.unique(nearest)
