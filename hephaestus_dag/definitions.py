"""The composition root: the recipe's assets, the resources, the jobs, schedules and sensors."""

import os

import click
import dagster as dg

from assets.artifact import Lineage
from assets.graph import dagster_assets, lineage_of
from hephaestus_dag import automation
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import RecipeError, load_recipe
from resources.database import DatabaseServer
from resources.launcher import launcher_of
from resources.ray_compute import compute_of
from resources.recipe import RecipeChoice
from resources.store import ArtifactStore
from resources.trainer import DeepSpeedTrainer


def current_recipe() -> Recipe:
    """Return the recipe that the environment names, as its file is now."""
    return load_recipe(os.environ.get("HEPHAESTUS_RECIPE", "laptop"))


def lineage(recipe: Recipe, *, fixed: bool = True) -> Lineage:
    """Return all assets of a recipe with their identities; not ``fixed``, each is found when it is asked for."""
    return lineage_of(recipe, fixed=fixed)


def definitions(recipe: Recipe) -> dg.Definitions:
    """Return everything Dagster needs to run a recipe."""
    execution = recipe.execution
    return dg.Definitions(
        assets=dagster_assets(lineage(recipe)),
        resources={
            "recipe": RecipeChoice(),
            "store": ArtifactStore(),
            "compute": compute_of(execution.compute),
            "database": DatabaseServer(**execution.database.model_dump()),
            "trainer": DeepSpeedTrainer(launcher=launcher_of(execution.launcher), **execution.launcher.placement),
        },
        jobs=automation.jobs(recipe),
        schedules=automation.schedules(execution),
        sensors=automation.sensors(execution, current_recipe),
    )


def pages_of(recipe: Recipe, job: str) -> set[str]:
    """Return the keys of the assets in a job. Raises ValueError for a job that there is none of."""
    try:
        found = definitions(recipe).resolve_job_def(job)
    except dg.DagsterInvariantViolationError as error:
        names = [each.name for each in automation.jobs(recipe)]
        raise ValueError(f"there is no job {job}; choose from {', '.join(names)}") from error
    return {key.to_user_string() for key in found.asset_layer.selected_asset_keys}


def __getattr__(name: str) -> dg.Definitions:
    """Load `defs` once Dagster asks for it: whoever only asks for a lineage needs no current recipe that can run."""
    if name != "defs":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        globals()["defs"] = loaded = definitions(current_recipe())
    except RecipeError as error:
        raise click.UsageError(str(error)) from None  # Dagster's commands print this without a traceback
    return loaded


def __dir__() -> list[str]:
    """Name `defs`, which Dagster looks for."""
    return sorted({*globals(), "defs"})
