"""Which corpora, token stores, models and scores were made with some documents: what a request to take them down needs.

A document counts as in a corpus when it was kept there, in a token store when its tokens are in the ledger, in a model when
sequences that it was shown hold its tokens, in its last stage or an earlier one, and in a score when that is of such a model.
What was removed on the way is told with the step and the reason.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node
from hephaestus_dag.provenance.found import Found, InCorpus, InScore, InTokens
from hephaestus_dag.provenance.question import CACHED_SHARDS, Condition, Question, condition_of, select
from hephaestus_dag.provenance.shown import Selected, in_models

EXAMPLES = 5


def find(
    question: Question, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection, within: ArtifactGraph | None = None
) -> Found:
    """Return where the documents of a question went; with ``within``, in the artifacts of that graph alone.

    Raises ProvenanceError when the question means nothing in the store.
    """
    condition, looked = condition_of(question, graph, connection), within or graph
    ask = _Ask(condition, graph, connection)
    corpora = [*ask.cache(), *(found for node in looked.nodes.values() if (found := ask.corpus(node)))]
    selected, tokens = dict[Path, Selected](), list[InTokens]()
    for node in looked.nodes.values():
        if folder := node.holder("store.json"):
            selected[folder] = ask.ledger(node, folder)
            tokens += _in_tokens(node.name, folder, selected[folder])
    in_part = ask.in_part(question, looked)
    models, unknown = in_models(looked, selected, {node.holder("store.json") for node in in_part})
    shown = {model.artifact: model for model in models}
    holders = {each.artifact for each in (*(each for each in corpora if each.kept and each.curated), *tokens)}
    return Found(
        question=question.what,
        documents=None if condition.ids is None else len(condition.ids),
        examples=select(graph, connection, condition.where, condition.values, EXAMPLES, "left(text, 160)"),
        corpora=corpora,
        tokens=tokens,
        models=models,
        scores=[
            InScore(
                artifact=node.name,
                model=model.artifact,
                tokens=model.tokens,
                complete=model.complete,
                headline=node.report.headline,
            )
            for node in looked.nodes.values()
            if node.is_score and (scored := looked.model_of(node)) and (model := shown.get(scored.name))
        ],
        derived=_derived(looked, holders),
        near_copies=ask.near_copies(),
        unknown=[*looked.damaged, *(f"{node.name}: {gone}" for node in in_part for gone in graph.gone(node)), *unknown],
    )


class _Ask:
    """Asks the tables of a store about the documents of a condition."""

    def __init__(self, condition: Condition, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> None:
        self.condition, self.graph, self.connection = condition, graph, connection

    def cache(self) -> Iterator[InCorpus]:
        """Yield what was read of the web and lies in the cache, for other recipes too."""
        if cached := sorted(map(str, self.graph.root.glob(CACHED_SHARDS))):
            query = f"SELECT count(DISTINCT id) FROM read_parquet($own) WHERE {self.condition.where}"
            ((kept,),) = self._rows(query, {"own": cached, **self.condition.values})
            if kept:
                yield InCorpus(artifact=CACHED_SHARDS.partition("/*")[0], curated=False, kept=kept, removed=[])

    def corpus(self, node: Node) -> InCorpus | None:
        """Return what a corpus kept and removed; None when it had nothing to do with the documents."""
        kept, removed = 0, []
        if node.shards:
            query = f"SELECT count(*) FROM read_parquet($own) WHERE {self.condition.where}"
            ((kept,),) = self._rows(query, {"own": node.shards, **self.condition.values})
        if "removed.parquet" in node.files:
            where, values = self.condition.of_ids(self._read_by(node))
            query = f"SELECT step, reason, count(*) FROM read_parquet($own) WHERE {where} GROUP BY ALL ORDER BY ALL"
            rows = self._rows(query, {"own": str(node.path / "removed.parquet"), **values})
            removed = [{"step": step, "reason": reason, "documents": count} for step, reason, count in rows]
        curated = any(each.shards for each in self.graph.inputs(node)) or "removed.parquet" in node.files
        return InCorpus(artifact=node.name, curated=curated, kept=kept, removed=removed) if kept or removed else None

    def ledger(self, node: Node, folder: Path) -> Selected:
        """Return where the documents stand in the streams of a token store."""
        names = list(TokenStore(folder).streams)
        if self.condition.ledger:
            where, values = self.condition.ledger, self.condition.values
        else:
            where, values = self.condition.of_ids(self._read_by(node))
        query = f'SELECT list_position($names, stream) AS stream, "offset", length FROM read_parquet($own) WHERE {where}'
        values = {"own": str(folder / "ledger.parquet"), "names": names, **values}
        found = self.connection.sql(query, params=values).to_arrow_table()
        streams, offsets, lengths = (column.to_numpy() for column in found.itercolumns())
        mine = [np.flatnonzero(streams == number) for number in range(1, len(names) + 1)]
        return {name: (offsets[rows], lengths[rows]) for name, rows in zip(names, mine, strict=True) if len(rows)}

    def in_part(self, question: Question, looked: ArtifactGraph) -> list[Node]:
        """Return the artifacts that know some of the documents only: corpora are gone that say which are meant. Ids say it."""
        asked = [] if question.document else [node for node in looked.nodes.values() if self.graph.gone(node)]
        return [n for n in asked if "removed.parquet" in n.files or (n.holder("store.json") and not self.condition.ledger)]

    def near_copies(self) -> list[dict[str, Any]]:
        """Return the near-duplicates that curation knows of; none for whole licences, sources or origins."""
        if self.condition.ids is None:
            return []
        found: dict[str, dict[str, Any]] = {}
        for node in self.graph.nodes.values():
            if "clusters.parquet" in node.files:
                query = """
                    SELECT document_id, min(jaccard) FROM read_parquet($own) WHERE cluster IN (
                        SELECT cluster FROM read_parquet($own) WHERE document_id IN (SELECT unnest($ids))
                    ) AND document_id NOT IN (SELECT unnest($ids)) GROUP BY document_id ORDER BY document_id
                """
                for identity, jaccard in self._rows(
                    query, {"own": str(node.path / "clusters.parquet"), **self.condition.values}
                ):
                    found.setdefault(identity, {"id": identity, "jaccard": round(jaccard, 3), "artifact": node.name})
        return list(found.values())

    def _read_by(self, node: Node) -> list[str]:
        """Return the shards with the documents that an artifact was made of; the pages of a web corpus are in the cache."""
        shards = [shard for each in self.graph.inputs(node) for shard in each.shards]
        cached = self.graph.root.glob(CACHED_SHARDS) if node.key == "web_corpus" else ()
        return shards + sorted(map(str, cached))

    def _rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, values).fetchall()


def _in_tokens(artifact: str, folder: Path, selected: Selected) -> Iterator[InTokens]:
    streams = TokenStore(folder).streams
    counts = {name: len(lengths) for name, (_, lengths) in selected.items()}
    if counts:
        yield InTokens(
            artifact=artifact,
            documents=sum(counts.values()),
            heldout=sum(count for name, count in counts.items() if streams[name].split == "heldout"),
            tokens=sum(int(lengths.sum()) for _, lengths in selected.values()),
        )


def _derived(graph: ArtifactGraph, holders: set[str]) -> list[str]:
    """Return what was made from some artifacts, directly or not, models, scores and the artifacts themselves left out."""
    waiting = [node for node in graph.nodes.values() if node.name in holders]
    reached: dict[str, Node] = {}
    for node in waiting:
        for follower in graph.followers.get(node.fingerprint, ()):
            if follower.fingerprint not in reached:
                reached[follower.fingerprint] = follower
                waiting.append(follower)
    return [n.name for n in reached.values() if n.name not in holders and not n.is_model and not n.is_score]
