"""``hephaestus plan``: what a run of a recipe would take, before anything runs."""

import json
from pathlib import Path

import click
from rich.console import Console

from hephaestus_dag.cli.options import example, with_json, with_recipe, with_store
from hephaestus_dag.costs.gpus import MEMORY_GIB


@click.command(epilog=example("hephaestus plan paper --gpu A100-40GB --mfu 0.35"))
@with_recipe
@click.option("--gpu", default="A100-40GB", show_default=True, help=f"One of {', '.join(MEMORY_GIB)}.")
@click.option("--mfu", default=0.35, show_default=True, help="Share of the GPU's peak that is reached.")
@with_store
@with_json
def command(recipe: str, gpu: str, mfu: float, store: Path, as_json: bool) -> None:
    """Say what a run of RECIPE would take, without running it.

    Inputs that are missing here are listed, each with its line in the recipe; a recipe with invalid values is refused.
    """
    from hephaestus_dag.costs import show
    from hephaestus_dag.costs.estimate import estimate
    from hephaestus_dag.costs.gpus import find_gpu
    from hephaestus_dag.recipe_file import read_recipe

    read, missing = read_recipe(recipe)
    try:
        found = estimate(read, find_gpu(gpu), mfu, missing, store)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(json.dumps(show.as_json(found), indent=2, ensure_ascii=False))
    else:
        show.print_estimate(found, Console())
