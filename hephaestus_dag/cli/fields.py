"""``hephaestus fields``: every field of a recipe."""

import click

from hephaestus_dag.cli.options import example


@click.command(epilog=example("hephaestus fields > docs/recipe-fields.md"))
def command() -> None:
    """Print every field of a recipe with type, default and description, as Markdown."""
    from hephaestus_dag.recipe_fields import markdown

    click.echo(markdown(), nl=False)
