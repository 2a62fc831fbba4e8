"""The model card of a checkpoint: what training wrote, all stages' data with licences, and every score in the store."""

from pathlib import Path

import duckdb
import yaml
from huggingface_hub import EvalResult, ModelCardData

from hephaestus_dag.cards import markdown as md
from hephaestus_dag.cards.artifact import checks, failed, made
from hephaestus_dag.cards.training_data import Shown, hub_datasets, shown
from hephaestus_dag.evaluation.card import card_with_scores
from hephaestus_dag.evaluation.scores import read_scores
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node, ProvenanceError

README = "model/README.md"


def model_card(node: Node, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> str:
    """Return the model card of a checkpoint. What is no longer in the store is said to be so."""
    written = (
        (node.path / README).read_text()
        if README in node.files
        else f"# {node.key}\n\nA published model, as it was downloaded.\n"
    )
    head, body = _front_matter(written)
    scores = _newest([each for each in graph.followers.get(node.fingerprint, []) if each.is_score])
    text = body.strip()
    if scores:
        text = card_with_scores(text, [each.path for each in scores], _overlap(node, graph))
    data = _shown(node, graph, connection)
    return md.document(
        _head(node, head, data, scores, hub_datasets(graph.corpora(graph.stages(node)), graph)),
        text,
        "" if scores else "## Measured\n\nNo benchmark score of this checkpoint is in the store.",
        _data(data, len(graph.stages(node))),
        f"## Known limits\n\n{_limits(node)}",
        checks(node.report),
        made(node, graph),
    )


def _overlap(node: Node, graph: ArtifactGraph) -> Path | None:
    """Return the newest overlap that was measured with just the mixtures that a model was trained on; None without one."""
    trained = {stage.mixture_node.fingerprint for stage in graph.stages(node) if stage.mixture_node}
    found = None
    for each in graph.nodes.values() if trained else ():
        mixtures = {one.fingerprint for one in graph.inputs(each) if one.holder("mixture.json")}
        if "overlap.parquet" in each.files and mixtures == trained:
            found = each.path
    return found


def _front_matter(card: str) -> tuple[dict, str]:
    if not card.startswith("---\n"):
        return {"library_name": "transformers", "pipeline_tag": "text-generation"}, card
    head, _, body = card.removeprefix("---\n").partition("\n---")
    return yaml.safe_load(head), body


def _newest(nodes: list[Node]) -> list[Node]:
    return list({node.key: node for node in nodes}.values())


def _shown(node: Node, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> Shown | str:
    """Return what all stages up to a checkpoint showed, or why that cannot be counted."""
    try:
        return shown(graph.stages(node), graph, connection)
    except ProvenanceError as error:
        return f"{error}"


def _head(node: Node, head: dict, data: Shown | str, scores: list[Node], datasets: list[str]) -> str:
    """Return the front matter, with the scores as the Hub's model index."""
    results = []
    for folder in scores:
        summary = read_scores(folder.path).summary
        results += [
            EvalResult(
                task_type="text-generation",
                dataset_type=summary["key"],
                dataset_name=summary["benchmark"],
                metric_type=group["metric"].replace(" ", "_"),
                metric_name=name,
                metric_value=group["score"],
                metric_args={"items": group["n"], "low": group["low"], "high": group["high"]},
            )
            for name, group in summary["groups"].items()
        ]
    licenses = md.hub_licenses([] if isinstance(data, str) else [row["license"] for row in data.by_license])
    if isinstance(licenses["license"], list):  # of a model the Hub takes one
        licenses = md.hub_licenses([])
    fields = {**head, **licenses, "model_name": node.key, "datasets": datasets or None, "eval_results": results or None}
    told = ModelCardData(**fields, metrics=sorted({result.metric_type for result in results}) or None)
    return f"---\n{told.to_yaml()}\n---"


def _data(data: Shown | str, stages: int) -> str:
    if isinstance(data, str):
        return f"## Documents behind it\n\nThey cannot be counted: {data}."
    if not data.tokens:
        return "## Documents behind it\n\nNone of its training happened here."
    said = (
        f"All that the {stages} checkpoints up to this one were shown" if stages > 1 else "All that it was shown"
    ) + f": {data.tokens:,} tokens of {data.documents:,} documents, repeats included, padding not, counted through the ledgers."
    terms = "Which terms a model takes over from its training data is not settled everywhere; these are those of the documents."
    return "\n\n".join(["## Documents behind it", f"{said} {terms}", data.tables()])


def _limits(node: Node) -> str:
    lines = [
        "Its replies can be wrong, and a call that it proposes can do harm: let nothing run that you have not checked.",
        "It was not tested for bias, for personal data or for attacks.",
        *failed(node.report),
    ]
    return "\n".join(f"- {line}" for line in lines)
