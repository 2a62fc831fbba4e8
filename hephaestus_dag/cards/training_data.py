"""What was shown in training, by source and licence: counted through the ledger, joined with the documents."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from hephaestus_dag.cards import markdown as md
from hephaestus_dag.identity import canonical_json
from hephaestus_dag.licenses import UNKNOWN
from hephaestus_dag.manifests import read_manifest
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node, Stage
from hephaestus_dag.provenance.trace import trained_by

Rows = list[dict[str, Any]]
NONE_HELD = pa.table({"id": pa.array([], pa.string()), "license": pa.array([], pa.string())})
_HUB_DATASET = re.compile(r"hf:(?://datasets/)?([\w.-]+/[\w.-]+)@")


def mixture_stage(node: Node, folder: Path, sequences: int, graph: ArtifactGraph) -> Stage:
    """Return the whole of a mixture as if a stage had shown it once."""
    holders = [each.holder("store.json") for each in [node, *graph.inputs(node)]]
    stores = tuple(dict.fromkeys(holder for holder in holders if holder))
    return Stage(checkpoint=node, mixture=folder, mixture_node=node, stores=stores, sequences=sequences, batch=1)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What was shown in training."""

    documents: int
    tokens: int
    """Repeats included."""
    by_source: Rows
    """Source, domain, licence, documents and tokens, most tokens first."""
    by_license: Rows

    def tables(self) -> str:
        """Return both lists as Markdown, with shares of the tokens."""
        listed = [
            [{**row, "share": md.share(row["tokens"], self.tokens)} for row in rows]
            for rows in (self.by_source, self.by_license)
        ]
        return f"{md.table(listed[0], 60)}\n\nBy licence:\n\n{md.table(listed[1])}"


def shown(stages: Sequence[Stage], graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> Shown:
    """Return what some stages showed. A document that no corpus holds, such as one made of a benchmark, has an unknown licence.

    Raises ProvenanceError when an artifact on the way is no longer in the store.
    """
    trained = trained_by(stages, graph)
    shards = [shard for corpus in graph.corpora(stages) for shard in corpus.shards]
    connection.register("trained", trained)
    held = (
        "SELECT id, any_value(license) AS license FROM read_parquet($shards) SEMI JOIN trained ON id = document_id GROUP BY id"
    )
    licensed = connection.sql(held, params={"shards": shards}).to_arrow_table() if shards else NONE_HELD
    connection.register("held", licensed)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE shown AS
        SELECT trained.*, coalesce(license, '{UNKNOWN}') AS license FROM trained LEFT JOIN held ON id = document_id
    """)
    return Shown(
        documents=len(set(trained["document_id"].to_pylist())),
        tokens=sum(trained["tokens"].to_pylist()),
        by_source=_grouped(connection, "source, domain, license"),
        by_license=_grouped(connection, "license"),
    )


def _grouped(connection: duckdb.DuckDBPyConnection, by: str) -> Rows:
    counted = "count(DISTINCT document_id) AS documents, sum(tokens)::BIGINT AS tokens"
    return (
        connection.sql(f"SELECT {by}, {counted} FROM shown GROUP BY ALL ORDER BY tokens DESC, {by}")
        .to_arrow_table()
        .to_pylist()
    )


def hub_datasets(nodes: Sequence[Node], graph: ArtifactGraph) -> list[str]:
    """Return the data sets of the Hugging Face Hub that some artifacts, or what they were made from, were read from."""
    found, waiting, seen = set(), list(nodes), set()
    while waiting:
        node = waiting.pop()
        if node.fingerprint not in seen:
            seen.add(node.fingerprint)
            values = canonical_json(read_manifest(node.folder)["identity"]["values"])
            found.update(_HUB_DATASET.findall(values))
            waiting += graph.inputs(node)
    return sorted(found)
