"""Retrieve the web documents that resemble the seed corpus.

A match counts when it scores above a quantile of random (query, page) pairs, is among the best queries of its page, and
among the best pages of its query. Which pairs are looked at is the method:

    exact    every query against every page (`mining`): nothing is missed
    index    what a FAISS index finds for every query; how much of the nearest it finds is measured with the queries

Written are::

    documents/part-*.parquet    the retrieved documents, each once, in the order of the web documents
    retrieved.parquet           document_id, best_score, best_percentile, best_query_id, num_hits; best first
    matches.parquet             document_id, query_id, score, percentile, rank (1 is nearest); by query
    reach.parquet               query_id, score: a new page that scores above it, for one of its own best queries, would be
                                a match of the query
    calibration.json            the distribution of random pairs
    projection.png              seed, retrieved, other and general documents in two dimensions
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import SCHEMA, DocumentWriter, read_documents
from hephaestus_dag.retrieval.calibration import Calibration, calibrate
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.retrieval.index import index_recall, open_index, sample_rows
from hephaestus_dag.retrieval.mining import Matches, capped, mine
from hephaestus_dag.retrieval.projection import distances, projection_figure
from hephaestus_dag.retrieval.queries import Queries, beginning, open_queries
from hephaestus_dag.retrieval.vectors import Vectors, check_same_encoder, open_vectors

QUERIES_PER_SEARCH = 256
EXAMPLES = 12
MATCH_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("query_id", pa.string()),
        ("score", pa.float32()),
        ("percentile", pa.float32()),
        ("rank", pa.int32()),
    ]
)
RETRIEVED_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("best_score", pa.float32()),
        ("best_percentile", pa.float32()),
        ("best_query_id", pa.string()),
        ("num_hits", pa.int64()),
    ]
)
REACH_SCHEMA = pa.schema([("query_id", pa.string()), ("score", pa.float32())])


def retrieve(
    queries: Path,
    web_documents: Path,
    web_index: Path,
    config: RetrievalConfig,
    folder: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Search the web documents with the queries of a folder, and write what was found into ``folder``.

    ``queries`` is a folder of `write_queries`, ``web_index`` one of `embed_documents` (and of `build_index`, for the index
    method) over ``web_documents``. ``progress`` is told pages searched (queries, with the index) and their number.

    Returns counts, method, threshold, by_source, distances (see `projection.distances`), and examples: some matches to read.
    Raises ValueError when the vectors come from different encoders, or the web documents lack what was found.
    """
    searching, pages = open_queries(queries), open_vectors(web_index)
    check_same_encoder(searching.candidates, pages, "queries and web pages must share one encoder")
    calibration = calibrate(searching.vectors, pages, config.random_pair_quantile, config.seed)
    matches, lasts, method = find_matches(searching, pages, web_index, calibration.threshold, config, device, progress)

    folder.mkdir(parents=True, exist_ok=True)
    calibration.write(folder)
    rows = np.unique(matches.row)
    ids = ids_of(pages, rows)
    write_matches(matches, rows, ids, searching, calibration, folder)
    retrieved = write_best(matches, rows, ids, searching, calibration, folder)
    full_queries = write_reach(searching, lasts, calibration.threshold, folder)
    shown = retrieved.take(np.linspace(0, len(retrieved) - 1, min(EXAMPLES, len(retrieved)), dtype=np.int64))
    with DocumentWriter(folder) as writer:
        beginnings = write_documents(web_documents, ids, set(shown["document_id"].to_pylist()), writer)
    projection_figure(searching.candidates, pages, rows, searching.general, folder / "projection.png", config.seed)
    return {
        "queries": len(searching.ids),
        "candidates": len(searching.candidates),
        "web_documents": len(pages),
        "matches": len(matches),
        "retrieved": len(rows),
        "retrieved_share": len(rows) / len(pages),
        **method,
        "threshold": calibration.threshold,
        "random_pairs": calibration.pairs,
        "random_pair_mean": calibration.mean,
        "full_queries": full_queries,
        "max_hits_per_query": int(np.bincount(matches.query, minlength=1).max()),
        "by_source": dict(sorted(writer.by_source.items())),
        "characters": writer.num_characters,
        "distances": distances(searching.candidates, pages, rows, searching.general, config.seed),
        "examples": example_rows(shown, searching, beginnings),
    }


def find_matches(
    queries: Queries,
    pages: Vectors,
    web_index: Path,
    threshold: float,
    config: RetrievalConfig,
    device: str,
    progress: Callable[[int, int], None] | None,
) -> tuple[Matches, np.ndarray, dict[str, Any]]:
    """Return the matches, the score that a further page must exceed to reach each query, and how they were found.

    That score is minus infinity for a query with room for more. How: method, pairs, recall, and the neighbours that recall is
    measured on.
    """
    pairs = len(queries.ids) * len(pages)
    neighbours = min(config.neighbours, len(pages))
    caps = (config.neighbours, config.max_queries_per_document)
    if config.search == "exact" or (config.search == "auto" and pairs <= config.exact_up_to_pairs):
        found = mine(queries.vectors, pages, *caps, threshold, device, progress)
        lasts = last_scores(found, len(queries.ids), config.neighbours)
        return found, lasts, {"method": "exact", "pairs": pairs, "recall": 1.0, "recall_at": neighbours}
    index = open_index(web_index, pages)
    parts, lasts = [], np.full(len(queries.ids), -np.inf, dtype=np.float32)
    for start in range(0, len(queries.ids), QUERIES_PER_SEARCH):
        scores, rows = index.search(queries.vectors[start : start + QUERIES_PER_SEARCH], neighbours)
        if neighbours == config.neighbours:  # What a page's own cap takes away, the next neighbour does not replace.
            lasts[start : start + len(scores)] = scores[:, -1]
        query, place = np.nonzero((scores > threshold) & (rows >= 0))
        parts.append((start + query, rows[query, place], scores[query, place]))
        if progress:
            progress(start + len(scores), len(queries.ids))
    query, row, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    found = capped(query, row, score, *caps)
    sample = sample_rows(len(queries.ids), config.index.recall_sample, config.seed)
    recall = index_recall(index, pages, queries.vectors[sample], neighbours)
    return found, lasts, {"method": f"index ({index.kind})", "pairs": pairs, "recall": recall, "recall_at": neighbours}


def ids_of(pages: Vectors, rows: np.ndarray) -> list[str]:
    """Return the document ids of ascending rows, without holding those of all."""
    ids: list[str] = []
    for first, block in pages.id_blocks():
        start, stop = np.searchsorted(rows, [first, first + len(block)])
        ids += [block[row - first] for row in rows[start:stop].tolist()]
    return ids


def write_matches(
    matches: Matches, rows: np.ndarray, ids: list[str], queries: Queries, calibration: Calibration, folder: Path
) -> None:
    """Write ``matches.parquet``. ``ids`` are the document ids of ``rows``, the distinct rows of the matches."""
    firsts = np.searchsorted(matches.query, matches.query)
    columns = [
        pa.array(ids, pa.string()).take(pa.array(np.searchsorted(rows, matches.row))),
        pa.array(queries.ids, pa.string()).take(pa.array(matches.query)),
        matches.score,
        calibration.percentile(matches.score),
        (np.arange(len(matches)) - firsts + 1).astype(np.int32),
    ]
    pq.write_table(pa.table(columns, schema=MATCH_SCHEMA), folder / "matches.parquet", compression="zstd")


def write_best(
    matches: Matches, rows: np.ndarray, ids: list[str], queries: Queries, calibration: Calibration, folder: Path
) -> pa.Table:
    """Write and return ``retrieved.parquet``: for each document its best score, whose it is, and the number of matches."""
    order = np.lexsort((matches.query, -matches.score, matches.row))
    _, first, hits = np.unique(matches.row[order], return_index=True, return_counts=True)
    best = order[first]
    columns = [
        pa.array(ids, pa.string()),
        matches.score[best],
        calibration.percentile(matches.score[best]),
        pa.array(queries.ids, pa.string()).take(pa.array(matches.query[best])),
        hits.astype(np.int64),
    ]
    table = pa.table(columns, schema=RETRIEVED_SCHEMA).take(np.lexsort((rows, -matches.score[best])))
    pq.write_table(table, folder / "retrieved.parquet", compression="zstd")
    return table


def last_scores(matches: Matches, num_queries: int, neighbours: int) -> np.ndarray:
    """Return the last score of each query that brought all its neighbours, minus infinity for the others: float32."""
    lasts = np.full(num_queries, -np.inf, dtype=np.float32)
    ends = np.flatnonzero(np.diff(matches.query, append=-1))
    full = ends[np.bincount(matches.query)[matches.query[ends]] >= neighbours] if len(ends) else ends
    lasts[matches.query[full]] = matches.score[full]
    return lasts


def write_reach(queries: Queries, lasts: np.ndarray, threshold: float, folder: Path) -> int:
    """Write ``reach.parquet``: the last score of a query that has no room for more, else the threshold.

    Returns the number of queries without room.
    """
    reach = np.maximum(lasts, np.float32(threshold))
    table = pa.table([pa.array(queries.ids, pa.string()), reach], schema=REACH_SCHEMA)
    pq.write_table(table, folder / "reach.parquet", compression="zstd")
    return int((lasts > threshold).sum())


def write_documents(web_documents: Path, ids: list[str], shown: set[str], writer: DocumentWriter) -> dict[str, str]:
    """Copy the documents named, each once, and return how the texts of those in ``shown`` begin."""
    missing, beginnings = set(ids), {}
    for batch in read_documents(web_documents, SCHEMA.names):
        keep = []
        for place, identity in enumerate(batch.column("id").to_pylist()):
            keep.append(identity in missing)
            if keep[-1] and identity in shown:
                beginnings[identity] = beginning(batch.column("text")[place].as_py())
            missing.discard(identity)
        writer.write_batch(batch.filter(pa.array(keep, pa.bool_())))
    if missing:
        raise ValueError(f"the web index names {len(missing)} documents that the web corpus lacks, such as {min(missing)}")
    return beginnings


def example_rows(shown: pa.Table, queries: Queries, pages: dict[str, str]) -> list[dict[str, Any]]:
    """Return for some retrieved documents the beginnings of query and page, score and percentile, best first."""
    texts = dict(zip(queries.ids, queries.beginnings, strict=True))
    return [
        {
            "query": texts[row["best_query_id"]],
            "page": pages[row["document_id"]],
            "score": row["best_score"],
            "percentile": row["best_percentile"],
        }
        for row in shown.to_pylist()
    ]
