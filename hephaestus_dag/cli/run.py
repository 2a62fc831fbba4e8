"""``hephaestus run``: a job in the terminal, one line per asset."""

from pathlib import Path

import click

from hephaestus_dag.cli.options import example, with_recipe, with_store


@click.command(
    epilog=example("hephaestus run laptop", "hephaestus run --job retrieval", "hephaestus run laptop --config run.yaml")
)
@with_recipe
@click.option("--job", default="hephaestus", show_default=True, help="Job to run.")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML file with the job's run config."
)
@with_store
@click.pass_context
def command(context: click.Context, recipe: str, job: str, config: Path | None, store: Path) -> None:
    """Run a job of RECIPE and show it, one line per asset; the report and the models' folders are printed at the end.

    The exit status is the job's, or 130 when it was stopped. Dagster's own log is a file under logs/.
    """
    from hephaestus_dag.console import run
    from hephaestus_dag.missing_programs import check_programs, missing_engine, missing_launcher
    from hephaestus_dag.recipe_file import RecipeError, load_recipe
    from hephaestus_dag.training.gpus import check_gpus, missing_gpus

    read = load_recipe(recipe)
    if missing_gpus(read) or missing_engine(read.execution) or missing_launcher(read.execution):
        from hephaestus_dag.definitions import lineage, pages_of

        try:
            graph, pages = lineage(read), pages_of(read, job)
            check_gpus(graph, pages, store)
            check_programs(graph, pages, store)
        except ValueError as error:
            raise RecipeError(str(error)) from None
    context.exit(run(recipe, store, ["-j", job, *(["-c", str(config)] if config else [])]))
