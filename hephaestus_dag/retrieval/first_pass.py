"""A cheap pass over a very large web corpus: only its best share goes on to the encoder.

What that loses is measured: the encoder reads a random sample of all pages, and of those that it would want (their best score
exceeds the threshold that random pairs set) a share passes. A page that never reaches the encoder cannot be retrieved.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.curation.removed import REMOVED_SCHEMA, removed_batch
from hephaestus_dag.documents import DocumentWriter, count_documents, document_files, read_documents
from hephaestus_dag.evaluation.statistics import wilson_interval
from hephaestus_dag.map_over import MapOver, in_order
from hephaestus_dag.retrieval.calibration import calibrate
from hephaestus_dag.retrieval.config import FirstPassConfig, RetrievalConfig
from hephaestus_dag.retrieval.encoding import TextEncoder
from hephaestus_dag.retrieval.lexical import LexicalScorer
from hephaestus_dag.retrieval.queries import Queries, open_queries, texts_of
from hephaestus_dag.retrieval.static_vectors import StaticScorer
from hephaestus_dag.retrieval.vectors import check_same_encoder, open_vectors, write_vectors

Scorer = Callable[[Sequence[str]], np.ndarray]
SCORE_SCHEMA = pa.schema([("document_id", pa.string()), ("first_pass_score", pa.float32())])
COUNTED_PAGES = 10_000  # Web pages that the words of the seed corpus are compared with.
COMPARED_SHARES = (0.1, 0.25, 0.5)


def first_pass(
    seed_corpus: Path,
    web_corpus: Path,
    queries: Path,
    encoder: TextEncoder,
    config: RetrievalConfig,
    folder: Path,
    static_model: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    map_over: MapOver = in_order,
) -> dict[str, Any]:
    """Score every page of the web corpus cheaply, keep the best ``keep_share``, and measure what is lost. Written are::

        documents/part-*.parquet    the pages that go on, in the order of the web corpus
        removed.parquet             the others, with their scores
        scores.parquet              document_id, first_pass_score (null: no words) of every page
        sample/                     vectors of the pages that loss was measured with

    ``queries`` is the folder of ``write_queries``, of the same encoder; ``static_model`` the folder of word vectors, for kind
    static; ``map_over`` maps a function over document shards. ``progress`` gets (pages scored and copied, twice the pages).
    Memory: 5 bytes per page (4 for its score, 1 for whether it stays), one shard of scores, and the samples. Pages of equal
    score at the cut go on in the order of the corpus.

    Returns counts, and the recall: the share of the sample's wanted pages that go on, with its 95 % interval (Wilson), beside
    the best that any pass of this ``keep_share`` could reach, and in ``by_keep_share`` the same for other shares. Where the
    encoder wants no page of the sample, recall is None. Raises ValueError when there is nothing to score, or for a recipe
    without a first pass.
    """
    settings = config.first_pass
    if settings is None:
        raise ValueError("first_pass is null in this recipe: name its kind, lexical or static")
    chosen, pages = open_queries(queries), count_documents(web_corpus)
    if not pages:
        raise ValueError("the web corpus has no pages: there is nothing to score")
    sample, counted = draw_pages(web_corpus, settings.recall_sample, config.seed)
    scorer = make_scorer(settings, seed_corpus, counted["text"].to_pylist(), chosen, static_model)

    def report(done: int) -> None:
        if progress:
            progress(done, 2 * pages)

    folder.mkdir(parents=True, exist_ok=True)
    scores = score_pages(web_corpus, scorer, settings.characters, pages, folder / "scores.parquet", report, map_over)
    kept = best(scores, settings.keep_share)
    if not kept.any():
        raise ValueError("no page of the web corpus has words: there is nothing to keep")
    by_source = write_kept(web_corpus, scores, kept, settings.keep_share, folder, report)
    return {
        "kind": settings.kind,
        "pages": pages,
        "kept": int(kept.sum()),
        "without_words": int(np.isneginf(scores).sum()),
        "lowest_kept_score": float(scores[kept].min()),
        "by_source": by_source,
        **measure_loss(sample, scores, chosen, encoder, config, settings.keep_share, folder / "sample"),
    }


def draw_pages(web_corpus: Path, number: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """Return two samples of all pages, with row, id and text: ``number`` to measure loss with, and 10,000 to count words in.

    Which pages, a hash of their ids decides, another one than that which sources are sampled by. The samples have pages in
    common only where the corpus is no larger than both.
    """

    def order(identity: str) -> bytes:
        return hashlib.blake2b(f"first pass:{seed}:{identity}".encode(), digest_size=8).digest()

    ids = (identity for batch in read_documents(web_corpus, ["id"]) for identity in batch.column("id").to_pylist())
    drawn = heapq.nsmallest(number + COUNTED_PAGES, ids, key=order)
    wanted, parts, first = set(drawn), [], 0
    for batch in read_documents(web_corpus, ["id", "text"]):
        rows = np.array([row for row, identity in enumerate(batch.column("id").to_pylist()) if identity in wanted], np.int64)
        if len(rows):
            parts.append(pa.table(batch.take(pa.array(rows))).append_column("row", pa.array(first + rows)))
        first += batch.num_rows
    pages = pa.concat_tables(parts)
    measured, counted = (pages.filter(pc.field("id").isin(i)) for i in (drawn[:number], drawn[-COUNTED_PAGES:]))
    return measured, counted


def make_scorer(
    settings: FirstPassConfig, seed_corpus: Path, web_texts: Sequence[str], queries: Queries, static_model: Path | None
) -> Scorer:
    """Return what scores texts, made from seed documents: lexical from all candidates, static from the queries."""

    def seed_texts(ids: Sequence[str]) -> Iterator[list[str]]:
        return ([text[: settings.characters] for text in texts] for _, texts in texts_of(seed_corpus, ids))

    if settings.kind == "lexical":
        web = [text[: settings.characters] for text in web_texts]
        return LexicalScorer(seed_texts(queries.candidates.ids.to_pylist()), [web], settings.longest_run)
    if static_model is None:
        raise ValueError("a static first pass needs the folder of its word vectors, which first_pass.model names")
    return StaticScorer(static_model, seed_texts(queries.ids))


def score_pages(
    web_corpus: Path,
    scorer: Scorer,
    characters: int,
    pages: int,
    path: Path,
    report: Callable[[int], None],
    map_over: MapOver = in_order,
) -> np.ndarray:
    """Write the table of scores, and return them: float32, one for each page, minus infinity where it has no words."""
    scores, done = np.empty(pages, dtype=np.float32), 0
    with pq.ParquetWriter(path, SCORE_SCHEMA, compression="zstd") as writer:
        for part in chain.from_iterable(map_over(partial(score_file, scorer, characters), document_files(web_corpus))):
            writer.write_batch(part)
            scores[done : done + len(part)] = part.column("first_pass_score").fill_null(-np.inf).to_numpy()
            done += len(part)
            report(done)
    return scores


def score_file(scorer: Scorer, characters: int, file: str) -> list[pa.RecordBatch]:
    """Return document_id and first_pass_score (null: no words) of a document shard, in batches."""
    found = []
    for batch in pq.ParquetFile(file).iter_batches(4_096, columns=["id", "text"], use_threads=False):
        texts = pc.call_function("utf8_slice_codeunits", [batch.column("text")], pc.SliceOptions(0, characters))
        scores = scorer(texts.to_pylist())
        column = pa.array(scores, pa.float32(), mask=np.isneginf(scores))
        found.append(pa.record_batch([batch.column("id"), column], schema=SCORE_SCHEMA))
    return found


def best(scores: np.ndarray, share: float) -> np.ndarray:
    """Tell which pages are the best ``share`` of all, one at least, and have words; of equal ones at the cut, the first."""
    number = max(1, round(share * len(scores)))
    cut = np.partition(scores, len(scores) - number)[len(scores) - number]
    kept = scores > cut
    kept[np.flatnonzero(scores == cut)[: number - int(kept.sum())]] = True
    return kept & (scores > -np.inf)


def write_kept(
    web_corpus: Path, scores: np.ndarray, kept: np.ndarray, share: float, folder: Path, report: Callable[[int], None]
) -> list[dict[str, Any]]:
    """Part the corpus into what goes on and the table of what does not; return counts by source."""
    cut, done = scores[kept].min(), 0
    of_source: dict[str, int] = {}
    with (
        DocumentWriter(folder) as writer,
        pq.ParquetWriter(folder / "removed.parquet", REMOVED_SCHEMA, compression="zstd") as removed,
    ):
        for batch in read_documents(web_corpus):
            part = slice(done, done + batch.num_rows)
            writer.write_batch(batch.filter(pa.array(kept[part])))
            gone = batch.column("id").filter(pa.array(~kept[part])).to_pylist()
            values = scores[part][~kept[part]].tolist()
            reasons = [f"not among the best {share:.0%}" if value > -np.inf else "no words" for value in values]
            evidence = [f"score {value:.4f}, the lowest that stays is {cut:.4f}" for value in values]
            removed.write_batch(removed_batch("first_pass", gone, reasons, evidence))
            for entry in batch.column("source").value_counts().to_pylist():
                of_source[entry["values"]] = of_source.get(entry["values"], 0) + entry["counts"]
            done += batch.num_rows
            report(len(scores) + done)
    return [{"source": name, "pages": of_source[name], "kept": writer.by_source[name]} for name in sorted(of_source)]


def measure_loss(
    sample: pa.Table,
    scores: np.ndarray,
    queries: Queries,
    encoder: TextEncoder,
    config: RetrievalConfig,
    keep_share: float,
    folder: Path,
) -> dict[str, Any]:
    """Encode a sample of pages into ``folder``, and return the share of those wanted by the encoder that pass the cut."""
    encoded = encoder.encode(sample["text"].to_pylist())
    write_vectors(folder, [(sample["id"].to_pylist(), encoded)], encoder.identity, encoder.dimension)
    vectors = open_vectors(folder)
    check_same_encoder(queries.candidates, vectors, "the sample of the first pass")
    threshold = calibrate(queries.vectors, vectors, config.random_pair_quantile, config.seed).threshold
    nearest = np.concatenate([(block @ queries.vectors.T).max(axis=1) for _, block in vectors.blocks(rows=64)])
    wanted, tenth = nearest > threshold, best(nearest, 0.1)

    def passing(share: float) -> dict[str, Any]:
        passes = best(scores, share)[sample["row"].to_numpy()]
        low, high = wilson_interval(int(passes[wanted].sum()), int(wanted.sum())) if wanted.any() else (None, None)
        return {
            "keep_share": share,
            "recall": float(passes[wanted].mean()) if wanted.any() else None,
            "recall_low": low,
            "recall_high": high,
            "best_possible_recall": min(1.0, share / float(wanted.mean())) if wanted.any() else None,
            "recall_of_best_tenth": float(passes[tenth].mean()),
        }

    return {
        "sample": len(wanted),
        "wanted": int(wanted.sum()),
        "wanted_share": float(wanted.mean()),
        "threshold": threshold,
        **passing(keep_share),
        "by_keep_share": [passing(share) for share in sorted({*COMPARED_SHARES, keep_share})],
    }
