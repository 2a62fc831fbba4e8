"""``hephaestus run``: a job in the terminal, one line per asset."""

import os

import click

from hephaestus_dag.cli.options import example, with_recipe


@click.command(epilog=example("hephaestus run laptop", "hephaestus run --job retrieval"))
@with_recipe
@click.option("--job", default="hephaestus", show_default=True, help="Job to run.")
@click.pass_context
def command(context: click.Context, recipe: str, job: str) -> None:
    """Run a job of RECIPE and show it, one line per asset; the report is printed at the end."""
    from hephaestus_dag.console import main

    os.environ["HEPHAESTUS_RECIPE"] = recipe
    context.exit(main(["-j", job]))
