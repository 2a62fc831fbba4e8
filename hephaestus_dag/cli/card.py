"""``hephaestus card``: a data card, a model card, or the report of any other artifact."""

import json
from pathlib import Path

import click

from hephaestus_dag.cli.options import example, with_json, with_store


@click.command(epilog=example("hephaestus card seed_corpus", "hephaestus card hephaestus/stage3_checkpoint -o README.md"))
@click.argument("artifact")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write instead of the terminal.")
@click.option("--force", is_flag=True, help="Write over the file where there is one.")
@with_store
@with_json
def command(artifact: str, output: Path | None, force: bool, store: Path, as_json: bool) -> None:
    """Print a card of ARTIFACT (a key, key@fingerprint or path) in Markdown; all its numbers are measured.

    A corpus or a mixture gets a data card and a checkpoint a model card, as the Hugging Face Hub reads them, with the scores
    that are in the store; any other artifact a card of its report. Of several with one key the newest is taken.
    """
    if output and output.exists() and not force:
        raise click.UsageError(f"{output} is there already; --force writes over it")
    from hephaestus_dag.cards import card
    from hephaestus_dag.manifests import ArtifactError
    from hephaestus_dag.provenance.artifact_graph import ArtifactGraph
    from hephaestus_dag.whole_folder import whole_file

    graph = ArtifactGraph(store)
    node, _ = graph.resolve(artifact)
    text = card(node, graph)
    if output:
        try:
            with whole_file(output) as staging:
                staging.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ArtifactError(f"{output} cannot be written: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps({"artifact": node.name, "card": text, "file": str(output) if output else None}, indent=2))
    elif output:
        click.echo(f"{output}: the card of {node.name}")
    else:
        click.echo(text, nl=False)
