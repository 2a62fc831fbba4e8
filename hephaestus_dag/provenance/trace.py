"""From a score or a checkpoint back to what made it: stages, mixtures, sources, licences, documents.

What a stage showed is counted through the ledger, from the sequences that it was really shown, as in `trained_on`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from hephaestus_dag.evaluation.trained_on import TRAINED_SCHEMA, shown_documents, tokens_shown, visits_of
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.store import MixtureError
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node, ProvenanceError, Stage

EXAMPLES = 5
HELD = pa.schema([(name, pa.string()) for name in ("document_id", "source", "origin", "license")])


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStage:
    """One stage of the training."""

    checkpoint: str
    mixture: str
    """Artifact with the plan; empty for a published model, of whose training nothing is known here."""
    steps: int
    sequences: int
    tokens: int
    """As inputs; padding of instructions is not counted."""
    shares: dict[str, float]
    """Component of the mixture -> its share of the sequences that were shown, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What made a score or a model."""

    artifact: str
    headline: str
    model: str
    """Empty for a model behind an endpoint."""
    stages: list[TracedStage] = field(default_factory=list)
    """First stage first."""
    corpora: list[str] = field(default_factory=list)
    """Artifacts with the documents that were tokenised."""
    documents: int = 0
    """Different documents that were shown."""
    tokens: int = 0
    """As inputs, repeats included; padding of instructions is not counted."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    """Rows of source, domain, license, documents, tokens, most tokens first."""
    licenses: list[dict[str, Any]] = field(default_factory=list)
    """Rows of license, documents, tokens, most tokens first."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """The documents with most tokens: rows of document_id, source, origin, license, tokens."""
    others: list[str] = field(default_factory=list)
    """Older artifacts of the same name."""
    unknown: list[str] = field(default_factory=list)
    """Of which documents origin and licence are not known because their corpora are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStep:
    """What one training step showed."""

    checkpoint: str
    step: int
    """The first is 1, as in metrics.jsonl."""
    steps: int
    documents: list[dict[str, Any]]
    """Rows of row (of the global batch), component, position, tokens, offset, document_id, source, origin, license."""
    unknown: list[str] = field(default_factory=list)
    """As in `Trace`."""


def trace(node: Node, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> Trace:
    """Return what made a score or a model. Raises ProvenanceError for any other artifact, or when part of the way is gone."""
    model = model_of(node, graph)
    others = [each.name for each in graph.nodes.values() if each.key == node.key and each is not node]
    if model is None:
        return Trace(artifact=node.name, headline=node.report.headline, model="", others=others)
    stages = graph.stages(model)
    trained = trained_by(stages, graph)
    corpora = graph.corpora(stages)
    described = _described(trained, corpora, connection)
    total = connection.from_arrow(described)
    return Trace(
        artifact=node.name,
        headline=node.report.headline,
        model=model.name,
        stages=[_traced(stage) for stage in reversed(stages)],
        corpora=[each.name for each in corpora],
        documents=len(set(trained["document_id"].to_pylist())),
        tokens=sum(trained["tokens"].to_pylist()),
        sources=_grouped(total, "source, domain, license"),
        licenses=_grouped(total, "license"),
        examples=described.sort_by([("tokens", "descending"), ("document_id", "ascending")]).slice(0, EXAMPLES).to_pylist(),
        others=others,
        unknown=_undescribed(described, stages, graph),
    )


def model_of(node: Node, graph: ArtifactGraph) -> Node | None:
    """Return the model behind a score or a checkpoint, None for an endpoint; raises ProvenanceError for anything else."""
    if not (node.is_score or node.is_model):
        raise ProvenanceError(f"{node.name} is neither a score nor a checkpoint; `hephaestus find` follows documents forwards")
    model = graph.model_of(node)
    gone = [each for each in graph.gone(node) if not each.startswith("benchmark_items@")]
    if model is None and gone:
        raise ProvenanceError(f"{node.name}: its input {gone[0]}; run its recipe again")
    return model


def trained_by(stages: Sequence[Stage], graph: ArtifactGraph) -> pa.Table:
    """Return the documents that some stages showed, of ``TRAINED_SCHEMA``, one row for each document, source and domain.

    Raises ProvenanceError when an artifact that a stage was trained on is no longer there.
    """
    tables = [TRAINED_SCHEMA.empty_table()]
    for stage in stages:
        if gone := graph.gone(stage.checkpoint):
            raise ProvenanceError(f"{stage.checkpoint.name}: its input {gone[0]}; run its recipe again")
        if stage.mixture:
            tables += shown_documents(_loader(stage), last=stage.sequences)
    totals = pa.concat_tables(tables).group_by(["document_id", "source", "domain"]).aggregate([("tokens", "sum")])
    return totals.rename_columns({"tokens_sum": "tokens"}).select(TRAINED_SCHEMA.names).sort_by("document_id")


def trace_step(
    node: Node,
    step: int,
    graph: ArtifactGraph,
    connection: duckdb.DuckDBPyConnection,
    row: int | None = None,
    rank: tuple[int, int] | None = None,
) -> TracedStep:
    """Return the documents that a step of the training of a checkpoint showed: all of its global batch, or one row of it, or
    what ``rank``, the first of two numbers, took when there were as many as the second.

    Raises ProvenanceError when the artifact has no such step, row or rank.
    """
    if not node.is_model:
        raise ProvenanceError(f"{node.name} is no checkpoint: only a checkpoint has steps")
    stage = graph.stages(node)[0]
    if stage.mixture is None:
        raise ProvenanceError(f"{node.name} was not trained here: its steps are not known")
    steps = stage.sequences // stage.batch
    if not 1 <= step <= steps:
        raise ProvenanceError(f"{node.name} was trained for {steps:,} steps: give one from 1 to {steps}, not {step}")
    loader = _loader(stage)
    start = (step - 1) * stage.batch
    try:
        first, count = loader.rank_slice(start, stage.batch, *(rank or (0, 1)))
    except ValueError as error:
        raise ProvenanceError(f"{node.name}: {error}") from error
    chosen = [each for each in range(first, first + count) if row in (None, each - start)]
    if not chosen:
        raise ProvenanceError(f"a step of {node.name} has {stage.batch} sequences: give a row from 0 to {stage.batch - 1}")
    found = []
    for sequence in chosen:
        component = loader.streams[int(loader.rows["stream"][sequence])]["component"]
        for span in loader.documents_of(sequence):
            tokens = min(span.length, loader.sequence_length - span.position)
            place = {"row": sequence - start, "component": component, "position": span.position}
            place |= {"tokens": tokens, "offset": span.offset}
            # The last target of a sequence is no input: where it alone is of a document, nothing of that was shown.
            found += [{**place, "document_id": span.document_id}] if tokens > 0 else []
    ids = pa.table({"document_id": pa.array([each["document_id"] for each in found], pa.string())})
    described = _described(ids, graph.corpora([stage]), connection)
    origins = {row["document_id"]: row for row in described.to_pylist()}
    return TracedStep(
        checkpoint=node.name,
        step=step,
        steps=steps,
        documents=[
            {**each, **origins[each["document_id"]], "source": origins[each["document_id"]]["source"] or ""} for each in found
        ],
        unknown=_undescribed(described, [stage], graph),
    )


def shown_tokens(loader: MixtureLoader, sequences: int) -> int:
    """Return the tokens that the first sequences of a mixture show as inputs; the padding of packed ones is none."""
    total = 0
    for number, stream in enumerate(loader.streams):
        visits, store = visits_of(loader, number, last=sequences), loader.stores[stream["store"]]
        if store.streams[stream["name"]].sequence_length is None:
            total += int(visits.sum()) * loader.sequence_length
        else:
            ledger = store.stream_ledger(stream["name"], ["offset", "length"])
            offsets, lengths = ledger["offset"].to_numpy(), ledger["length"].to_numpy()
            total += int(tokens_shown(offsets, lengths, visits, loader.sequence_length).sum())
    return total


def _loader(stage: Stage) -> MixtureLoader:
    assert stage.mixture
    try:
        return MixtureLoader(stage.mixture, stage.stores)
    except (MixtureError, OSError) as error:
        raise ProvenanceError(f"{stage.checkpoint.name}: {error}") from error


def _traced(stage: Stage) -> TracedStage:
    if stage.mixture is None or stage.mixture_node is None:
        return TracedStage(checkpoint=stage.checkpoint.name, mixture="", steps=0, sequences=0, tokens=0, shares={})
    loader = _loader(stage)
    mix = loader.mix(0, stage.sequences)
    return TracedStage(
        checkpoint=stage.checkpoint.name,
        mixture=stage.mixture_node.name,
        steps=stage.sequences // stage.batch,
        sequences=stage.sequences,
        tokens=shown_tokens(loader, stage.sequences),
        shares={name: round(count / stage.sequences, 4) for name, count in mix.items()},
    )


def _described(documents: pa.Table, corpora: Sequence[Node], connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Join documents, by ``document_id``, with what the corpora say of them: origin, license, and source where it lacks.

    A document that no corpus holds, such as a benchmark's reference answer, has an empty origin and licence.
    """
    shards = [shard for node in corpora for shard in node.shards]
    connection.register("asked", documents)
    query = """
        SELECT DISTINCT ON (id) id AS document_id, source, origin, license FROM read_parquet($shards)
        WHERE id IN (SELECT document_id FROM asked) ORDER BY ALL
    """
    held = connection.sql(query, params={"shards": shards}).to_arrow_table() if shards else HELD.empty_table()
    held = held.drop_columns(["source"]) if "source" in documents.column_names else held
    connection.register("held", held)
    query = "SELECT * REPLACE (coalesce(origin, '') AS origin, coalesce(license, '') AS license)"
    return connection.sql(f"{query} FROM asked LEFT JOIN held USING (document_id)").to_arrow_table()


def _undescribed(described: pa.Table, stages: Sequence[Stage], graph: ArtifactGraph) -> list[str]:
    """Return how many documents no corpus describes, where corpora are gone that may have held them."""
    gone = graph.corpora_gone(stages)
    count = len(described.filter(pc.field("origin") == "")["document_id"].unique()) if gone else 0
    return [f"origin and licence of {count:,} documents: {', '.join(gone)}"] if count else []


def _grouped(table: duckdb.DuckDBPyRelation, by: str) -> list[dict[str, Any]]:
    counted = "count(DISTINCT document_id)::INT AS documents, sum(tokens)::BIGINT AS tokens"
    return table.aggregate(f"{by}, {counted}", by).order(f"tokens DESC, {by}").to_arrow_table().to_pylist()
