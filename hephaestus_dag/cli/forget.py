"""``hephaestus forget``: the recipe that builds everything without some documents."""

import json
import shlex
from pathlib import Path

import click

from hephaestus_dag.cli.find import question_of, show_found, with_question
from hephaestus_dag.cli.options import example, with_json, with_store


@click.command(
    epilog=example(
        "hephaestus forget PSF-2.0 --recipe laptop --out without.yaml",
        "hephaestus run without.yaml",
        "hephaestus find PSF-2.0 --recipe without.yaml",
    )
)
@with_question
@click.option("--recipe", default="laptop", envvar="HEPHAESTUS_RECIPE", show_default=True, help="Recipe that is extended.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="without.yaml", show_default=True, help="Recipe to write; must not exist."
)
@click.option(
    "--near-copies/--exact",
    default=True,
    help="With documents and texts also their near-duplicates, which may replace them.",
)
@with_store
@with_json
def command(
    what: str | None, recipe: str, out: Path, near_copies: bool, store: Path, as_json: bool, **given: str | None
) -> None:
    """Write a recipe that extends another and excludes a document, text, licence, source or origin from all corpora.

    Nothing in the store changes: run the new recipe, check it with `hephaestus find --recipe`, then `hephaestus prune` what was
    made with the documents.
    """
    from hephaestus_dag.provenance.artifact_graph import ArtifactGraph
    from hephaestus_dag.provenance.find import find
    from hephaestus_dag.provenance.forget import emptied, exclusion, left_over, write_recipe
    from hephaestus_dag.provenance.question import open_database
    from hephaestus_dag.store_contents import named

    graph, connection = ArtifactGraph(store), open_database()
    question = question_of(what, given, graph, connection)
    found = find(question, graph, connection)
    near = tuple(each["id"] for each in found.near_copies) if near_copies else ()
    excluded = exclusion(question, graph, connection, near)
    why = "a passage of text" if question.text else question.what
    written = write_recipe(recipe, excluded, out, f"Written by `hephaestus forget`: {why}")
    warnings = [*left_over(written), *emptied(written, question, graph, connection)]
    if found.nowhere:
        warnings.append(f"no table in {named(store)} holds {question.what}: is it written right?")
    if as_json:
        models = [each.artifact for each in found.models]
        click.echo(json.dumps({"recipe": str(out), "exclude": excluded, "models": models, "warnings": warnings}, indent=2))
        return
    show_found(found)
    click.echo(f"\n{out} is written: the recipe {recipe} without " + _told(excluded))
    for warning in warnings:
        click.echo(f"mind: {warning}")
    path = shlex.quote(str(out))
    click.echo(f"next: hephaestus run {path}, then the same question to hephaestus find with --recipe {path}")


def _told(excluded: dict[str, list[str]]) -> str:
    if documents := excluded.get("documents"):
        return f"{len(documents):,} document{'s' * (len(documents) != 1)}"
    return "; ".join(f"{name} {', '.join(values)}" for name, values in excluded.items())
