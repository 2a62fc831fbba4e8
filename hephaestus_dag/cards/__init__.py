"""Cards in Markdown: of data, of models, and of any other artifact; every number is read from artifacts."""

import duckdb

from hephaestus_dag.cards.artifact import report_card
from hephaestus_dag.cards.data import data_card
from hephaestus_dag.cards.mixture import mixture_card
from hephaestus_dag.cards.model import model_card
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node


def card(node: Node, graph: ArtifactGraph) -> str:
    """Return the card of an artifact: a data card, a model card, or its report. Raises ArtifactError for a damaged one."""
    with duckdb.connect() as connection:
        if node.is_model:
            return model_card(node, graph, connection)
        if node.shards:
            return data_card(node, graph, connection)
        if node.holder("mixture.json"):
            return mixture_card(node, graph, connection)
    return report_card(node, graph)
