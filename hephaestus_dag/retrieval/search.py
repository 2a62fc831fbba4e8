"""Retrieve the web documents that resemble the seed corpus.

A match counts when it is among a query's nearest ``neighbours`` and scores above a quantile of random (query, document)
pairs: the encoder's own scale of similarity says what "near" means, so one setting serves cosine and dot product.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import SCHEMA, DocumentWriter, read_documents
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.retrieval.embeddings import open_embeddings
from hephaestus_dag.retrieval.encoder import Encoder
from hephaestus_dag.retrieval.figure import projection_figure
from hephaestus_dag.retrieval.index import open_index
from hephaestus_dag.retrieval.queries import choose_queries

RANDOM_PAIRS = 100_000
QUERIES_PER_SEARCH = 256
MATCH_SCHEMA = pa.schema(
    [("document_id", pa.string()), ("query_id", pa.string()), ("score", pa.float32()), ("rank", pa.int32())]
)
RETRIEVED_SCHEMA = pa.schema(
    [("document_id", pa.string()), ("best_score", pa.float32()), ("best_query_id", pa.string()), ("num_hits", pa.int64())]
)


def retrieve(
    seed_corpus: Path,
    web_corpus: Path,
    web_index: Path,
    encoder: Encoder,
    config: RetrievalConfig,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Search the web corpus with the seed corpus, and write what was found into ``folder``.

    ``web_index`` holds the files of ``embed_documents`` and ``build_index`` over ``web_corpus``. Written are::

        documents/part-*.parquet    the retrieved documents
        retrieved.parquet           document_id, best_score, best_query_id, num_hits; best first
        matches.parquet             document_id, query_id, score, rank (1 is nearest)
        queries.parquet             document_id of the seed documents that searched
        projection.png              seed, retrieved and other documents in two dimensions

    Returns the counts, the threshold and the mean similarities.
    """
    vectors, ids = open_embeddings(web_index)
    queries = choose_queries(seed_corpus, encoder, config, progress)
    threshold, random_mean = random_pair_threshold(queries.vectors, vectors, config.random_pair_quantile, config.seed)
    matches = search(open_index(web_index), queries.vectors, queries.ids, ids, config.neighbours, threshold)
    retrieved = best_matches(matches)

    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"document_id": queries.ids}), folder / "queries.parquet", compression="zstd")
    pq.write_table(matches, folder / "matches.parquet", compression="zstd")
    pq.write_table(retrieved, folder / "retrieved.parquet", compression="zstd")
    with DocumentWriter(folder) as writer:
        write_retrieved(web_corpus, retrieved, writer)
    found = np.isin(np.array(ids), retrieved["document_id"].to_numpy())
    projection_figure(queries.candidate_vectors, vectors, found, folder / "projection.png", seed=config.seed)
    return {
        "candidates": len(queries.candidate_ids),
        "queries": len(queries.ids),
        "web_documents": len(ids),
        "matches": len(matches),
        "retrieved": len(retrieved),
        "retrieved_share": len(retrieved) / len(ids),
        "threshold": threshold,
        "random_pair_mean": random_mean,
        "mean_similarity": mean_similarity(queries.vectors, vectors, found),
        "by_source": dict(sorted(writer.by_source.items())),
        "characters": writer.num_characters,
    }


def random_pair_threshold(queries: np.ndarray, vectors: np.ndarray, quantile: float, seed: int) -> tuple[float, float]:
    """Return the quantile and the mean of the scores of random (query, document) pairs."""
    generator = np.random.default_rng(seed)
    left = generator.integers(len(queries), size=RANDOM_PAIRS)
    right = generator.integers(len(vectors), size=RANDOM_PAIRS)
    scores = np.concatenate(
        [
            np.einsum("ij,ij->i", queries[left[start : start + 8_192]], vectors[right[start : start + 8_192]])
            for start in range(0, RANDOM_PAIRS, 8_192)
        ]
    )
    return float(np.quantile(scores, quantile)), float(scores.mean())


def search(
    index: Any, queries: np.ndarray, query_ids: list[str], document_ids: list[str], neighbours: int, threshold: float
) -> pa.Table:
    """Return the matches above a threshold, query by query, best first."""
    documents, owners = np.array(document_ids, dtype=object), np.array(query_ids, dtype=object)
    parts = []
    for start in range(0, len(queries), QUERIES_PER_SEARCH):
        block = np.ascontiguousarray(queries[start : start + QUERIES_PER_SEARCH])
        scores, rows = index.search(block, min(neighbours, len(documents)))
        query, rank = np.nonzero((scores > threshold) & (rows >= 0))
        columns = [documents[rows[query, rank]], owners[start + query], scores[query, rank], rank + 1]
        parts.append(pa.table([pa.array(c, t) for c, t in zip(columns, MATCH_SCHEMA.types, strict=True)], schema=MATCH_SCHEMA))
    return pa.concat_tables(parts).combine_chunks()


def best_matches(matches: pa.Table) -> pa.Table:
    """Return one row for each matched document: its best score, the query that gave it, and the number of matches."""
    ordered = matches.sort_by([("score", "descending"), ("query_id", "ascending")])
    grouped = ordered.group_by("document_id", use_threads=False).aggregate(
        [("score", "first"), ("query_id", "first"), ("score", "count")]
    )
    table = grouped.select(["document_id", "score_first", "query_id_first", "score_count"]).rename_columns(
        RETRIEVED_SCHEMA.names
    )
    return table.cast(RETRIEVED_SCHEMA).sort_by([("best_score", "descending"), ("document_id", "ascending")])


def write_retrieved(web_corpus: Path, retrieved: pa.Table, writer: DocumentWriter) -> None:
    """Copy the retrieved documents, each once, in the order of the web corpus."""
    missing = set(retrieved["document_id"].to_pylist())
    for batch in read_documents(web_corpus, SCHEMA.names):
        keep = []
        for identity in batch.column("id").to_pylist():
            keep.append(identity in missing)
            missing.discard(identity)
        writer.write_batch(batch.filter(pa.array(keep, pa.bool_())))
    if missing:
        raise ValueError(f"the web index names {len(missing)} documents that the web corpus lacks, such as {min(missing)}")


def mean_similarity(queries: np.ndarray, vectors: np.ndarray, found: np.ndarray) -> dict[str, float | None]:
    """Return the mean similarity of queries to retrieved documents and to the rest; None for an empty group."""
    centre = queries.mean(axis=0)
    groups = {"retrieved": found, "rest": ~found}
    return {
        name: float((members.astype(np.float32) @ vectors) @ centre / members.sum()) if members.any() else None
        for name, members in groups.items()
    }
