"""The data card of a mixture: which tokens a training stage is shown."""

import json

import duckdb

from hephaestus_dag.cards import markdown as md
from hephaestus_dag.cards.artifact import checks, failed, made, pictures
from hephaestus_dag.cards.training_data import mixture_stage, shown
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node

_WHAT = {
    "mixed_corpus": "The mixture of Stage I: agent data, code and text at the agent ratio.",
    "seed_mixture": "The mixture of Stage II: the seed corpus, with some of Stage I again.",
    "instruction_corpus": "The examples of Stage III: dialogues with tool calls; only the assistant's part is learned.",
}


def mixture_card(node: Node, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> str:
    """Return the data card of a mixture, its documents and licences counted through the ledgers of its token stores.

    Raises ProvenanceError when a token store is no longer in the store.
    """
    folder = node.holder("mixture.json")
    assert folder
    plan = json.loads((folder / "mixture.json").read_text())
    data = shown([mixture_stage(node, folder, plan["num_sequences"], graph)], graph, connection)
    tokens = sum(component["tokens"] for component in plan["components"].values())
    components = [
        {
            "component": name,
            "tokens": part["tokens"],
            "share": md.share(part["tokens"], tokens),
            "different tokens there are": part.get("unique_tokens"),
            "epochs": part.get("epochs"),
        }
        for name, part in plan["components"].items()
    ]
    head = {
        "pretty_name": node.key.replace("_", " "),
        **md.hub_licenses(row["license"] for row in data.by_license),
        "task_categories": ["text-generation"],
        "tags": ["agent", "function-calling", "continual-pretraining", "tokenized"],
    }
    what = next((words for name, words in _WHAT.items() if name in node.key), "A mixture.")
    where = "`sequences.npy` says which windows of the token streams come in which order" + (
        "." if node.holder("store.json") else "; the streams are those of its inputs."
    )
    return md.document(
        md.front_matter(head),
        f"# {node.key}",
        f"{what} {plan['num_sequences']:,} sequences of {plan['sequence_length']:,} tokens, {tokens:,} tokens in all. {where}",
        f"## Components\n\n{md.table(components)}",
        pictures(node.report),
        "## Sources and licences",
        f"Counted through the ledgers: {data.tokens:,} tokens of {data.documents:,} documents are shown as inputs, repeats "
        "included, padding not.",
        data.tables(),
        "## Known limits",
        "\n".join(f"- {line}" for line in [*_limits(plan), *failed(node.report)]),
        checks(node.report),
        made(node, graph),
    )


def _limits(plan: dict) -> list[str]:
    repeated = [name for name, part in plan["components"].items() if (part.get("epochs") or 0) > 1]
    lines = [f"{', '.join(repeated)}: shown more than once."] if repeated else []
    return [*lines, "A document longer than a sequence is cut at its end; what follows may be shown at another moment."]
