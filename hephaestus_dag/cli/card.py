"""``hephaestus card``: a data card, a model card, or the report of any other artifact."""

import json
from pathlib import Path

import click

from hephaestus_dag.cli.options import example, with_json, with_store


@click.command(epilog=example("hephaestus card seed_corpus", "hephaestus card hephaestus/stage3_checkpoint -o README.md"))
@click.argument("artifact")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write instead of the terminal.")
@with_store
@with_json
def command(artifact: str, output: Path | None, store: Path, as_json: bool) -> None:
    """Print a card of ARTIFACT (a key, key@fingerprint or path) in Markdown; all its numbers are measured.

    A corpus or a mixture gets a data card and a checkpoint a model card, as the Hugging Face Hub reads them, with the scores
    that are in the store; any other artifact a card of its report. Of several with one key the newest is taken.
    """
    from hephaestus_dag.cards import card
    from hephaestus_dag.provenance.artifact_graph import ArtifactGraph

    graph = ArtifactGraph(store)
    node, _ = graph.resolve(artifact)
    text = card(node, graph)
    if output:
        output.write_text(text)
    if as_json:
        click.echo(json.dumps({"artifact": node.name, "card": text, "file": str(output) if output else None}, indent=2))
    elif output:
        click.echo(f"{output}: the card of {node.name}")
    else:
        click.echo(text, nl=False)
