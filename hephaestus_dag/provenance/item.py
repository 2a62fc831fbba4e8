"""One benchmark item: what the model replied, and which documents of its training lie nearest.

*Nearest* is BM25 (Robertson and Zaragoza 2009, k1 1.2, b 0.75) over lower-case words: a document scores high when it holds many
of the item's rarer words, whatever their order. The item's words are those of its question and of the names and descriptions
of the functions it offers. Only documents of the model's ledgers that it was really shown are scored, all of them. That finds
what the model could have learnt the item's matter from; whether a document holds the item itself is for `benchmark_overlap`,
whose answer is told beside.
"""

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.curation.ngrams import Words
from hephaestus_dag.evaluation.scores import item_name
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node, ProvenanceError, Stage
from hephaestus_dag.provenance.trace import model_of, trained_by
from hephaestus_dag.store_contents import named

NEAREST = 5
K1, B = 1.2, 0.75
TEXTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedItem:
    """An item and what lies behind a model's answer to it."""

    item: str
    score: str
    """Artifact with the row."""
    model: str
    question: str
    row: dict[str, Any]
    """What the benchmark says: reply or transcript, verdict or score, reason."""
    clean: bool | None
    """Whether the item is in the clean subset of this model; None when no overlap was measured."""
    overlap: dict[str, Any] | None
    """Where a document shares words with the item: share, words, matched, document_id, source, origin."""
    compared: int
    """Documents that were compared with the item: those that the model was shown and whose text a corpus holds."""
    shown: int
    """Different documents that the model was shown."""
    nearest: list[dict[str, Any]]
    """Rows of document_id, bm25, words (of the item, in it), source, origin, license, tokens (shown), text (its beginning)."""


def trace_item(item: str, node: Node, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> TracedItem:
    """Return what lies behind a model's answer to an item, named ``bfcl/simple_python_19``.

    Raises ProvenanceError with the closest names when the score has no such item.
    """
    if not node.is_score:
        raise ProvenanceError(f"{node.name} has no items; name a score, such as hephaestus/bfcl_scores")
    row = _row(item, node)
    source = next((each for each in graph.inputs(node) if each.key == "benchmark_items"), None)
    found = _asked(item, source) if source else {}
    model = model_of(node, graph)
    stages = graph.stages(model) if model else []
    nearest, compared, shown = _nearest(_query(found), stages, graph, connection) if found else ([], 0, 0)
    clean, overlap = _overlap(item, stages, graph)
    return TracedItem(
        item=item,
        score=node.name,
        model=model.name if model else "",
        question=found.get("question") or "",
        row=row,
        clean=clean,
        overlap=overlap,
        compared=compared,
        shown=shown,
        nearest=nearest,
    )


def newest_score(item: str, graph: ArtifactGraph) -> Node:
    """Return the newest score of an item's own benchmark, or else of any, that has a row for the item.

    Raises ProvenanceError with the closest names when there is none.
    """
    scores = [node for node in graph.nodes.values() if node.is_score]
    own = [node for node in scores if node.key.endswith(f"/{item.partition('/')[0]}_scores")]
    for node in reversed([*scores, *own]):
        if any(name == item for name, _ in _rows(node)):
            return node
    known = sorted({name for node in own or scores for name, _ in _rows(node)})
    close = difflib.get_close_matches(item, known, 4, 0.3)
    there = f"did you mean {' or '.join(close)}?" if close else f"items are named as {known[0] if known else 'bfcl/simple_1'}"
    raise ProvenanceError(f"no score in {named(graph.root)} has the item {item!r}: {there}")


def _rows(node: Node) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(node.files):
        folder = (node.path / file).parent
        if file.rpartition("/")[2] == "rows.parquet":
            key = json.loads((folder / "summary.json").read_text())["key"]
            yield from ((item_name(key, row["item_id"]), row) for row in pq.read_table(node.path / file).to_pylist())


def _row(item: str, node: Node) -> dict[str, Any]:
    rows = dict(_rows(node))
    if item not in rows:
        close = difflib.get_close_matches(item, rows, 4, 0.3)
        there = (
            f"did you mean {' or '.join(close)}?"
            if close
            else f"it has {len(rows):,} items, such as {next(iter(rows), 'none')}"
        )
        raise ProvenanceError(f"{node.name} has no item {item!r}: {there}")
    return {name: value for name, value in rows[item].items() if name not in ("item_id", "prompt_sha")}


def _asked(item: str, items: Node) -> dict[str, Any]:
    """Return the columns of an item; an empty mapping when its benchmark keeps no texts in the items artifact."""
    benchmark, _, identity = item.partition("/")
    for file in sorted(items.files):
        if "/" not in file and file.endswith(".parquet"):
            table = pq.read_table(items.path / file, filters=pc.field("item_id") == identity)
            if table.num_rows and table["benchmark"][0].as_py() == benchmark:
                return table.to_pylist()[0]
    return {}


def _query(found: dict[str, Any]) -> str:
    functions = json.loads(found.get("functions") or "[]")
    told = [str(function.get(part, "")) for function in functions for part in ("name", "description")]
    return "\n".join([found["question"] or "", *told])


def _nearest(
    query: str, stages: Sequence[Stage], graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection
) -> tuple[list[dict[str, Any]], int, int]:
    """Return the documents nearest to a text among those that some stages showed, how many were compared and were shown."""
    trained = trained_by(stages, graph).group_by("document_id").aggregate([("tokens", "sum")])
    shards = [shard for node in graph.corpora(stages) for shard in node.shards]
    if not shards:
        return [], 0, trained.num_rows
    connection.register("trained", trained.rename_columns({"tokens_sum": "tokens"}))
    texts = "SELECT DISTINCT ON (id) id, text FROM read_parquet($shards) SEMI JOIN trained ON id = document_id"
    scorer = BM25(query)
    for batch in connection.sql(texts, params={"shards": shards}).to_arrow_reader(TEXTS_AT_ONCE):
        scorer.add(batch.column("id").to_pylist(), batch.column("text").to_pylist())
    best = {row["document_id"]: row for row in scorer.top(NEAREST)}
    told = """
        SELECT DISTINCT ON (id) id AS document_id, source, origin, license, tokens, left(text, 160) AS text
        FROM read_parquet($shards) JOIN trained ON id = document_id WHERE id IN (SELECT unnest($best)) ORDER BY ALL
    """
    rows = connection.sql(told, params={"shards": shards, "best": list(best)}).to_arrow_table().to_pylist()
    described = {row["document_id"]: row for row in rows}
    return [{**row, **described[identity]} for identity, row in best.items()], scorer.num_documents, trained.num_rows


class BM25:
    """Scores documents by the words of one text; of each document only the counts of these words are kept."""

    def __init__(self, query: str) -> None:
        self.terms = np.unique(Words.of([query]).n_grams(1)[1])
        self.num_documents = self.num_words = 0
        self._ids: list[str] = []
        self._counts = [np.zeros((0, len(self.terms)), np.uint16)]
        self._lengths = [np.zeros(0, np.int64)]

    def add(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Take some more documents."""
        words = Words.of(texts)
        at, hashes = words.n_grams(1)
        lengths = np.bincount(words.owner, minlength=len(texts))
        mine = np.isin(hashes, self.terms)
        counts = np.zeros((len(texts), len(self.terms)), np.uint16)
        np.add.at(counts, (words.owner[at[mine]], np.searchsorted(self.terms, hashes[mine])), 1)
        self.num_documents += len(texts)
        self.num_words += int(lengths.sum())
        held = np.flatnonzero(counts.any(axis=1))
        self._ids += [ids[row] for row in held.tolist()]
        self._counts.append(counts[held])
        self._lengths.append(lengths[held])

    def top(self, most: int) -> list[dict[str, Any]]:
        """Return rows of document_id, bm25 and words (of the text, that it holds), best first; none without a common word."""
        counts, lengths = np.concatenate(self._counts), np.concatenate(self._lengths)
        holding = (counts > 0).sum(axis=0)
        rarity = np.log(1 + (self.num_documents - holding + 0.5) / (holding + 0.5))
        norm = K1 * (1 - B + B * lengths / max(self.num_words / max(self.num_documents, 1), 1))
        scores = (rarity * counts * (K1 + 1) / (counts + norm[:, None])).sum(axis=1)
        best = sorted(range(len(scores)), key=lambda row: (-scores[row], self._ids[row]))[:most]
        held = (counts > 0).sum(axis=1)
        return [{"document_id": self._ids[n], "bm25": round(float(scores[n]), 2), "words": int(held[n])} for n in best]


def _overlap(item: str, stages: Sequence[Stage], graph: ArtifactGraph) -> tuple[bool | None, dict[str, Any] | None]:
    """Return whether an item is clean for the model of some stages, and the match that was found, if there is one."""
    mixtures = {stage.mixture_node.fingerprint for stage in stages if stage.mixture_node}
    measured = [
        node
        for node in graph.nodes.values()
        if "overlap.parquet" in node.files and mixtures and mixtures == _mixtures(node, graph)
    ]
    if not measured:
        return None, None
    table = pq.read_table(measured[-1].path / "overlap.parquet", filters=pc.field("item") == item)
    if not table.num_rows:
        return True, None
    (row,) = table.to_pylist()
    return not row.pop("seen"), {name: value for name, value in row.items() if name != "item"}


def _mixtures(node: Node, graph: ArtifactGraph) -> set[str]:
    return {each.fingerprint for each in graph.inputs(node) if each.holder("mixture.json")}
