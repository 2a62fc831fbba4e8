"""The composition root: the recipe's assets, the resources, the jobs, schedules and sensors."""

import os

import dagster as dg

from assets.graph import dagster_assets, lineage_of
from hephaestus_dag import automation
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import load_recipe
from resources.compute import LocalPool
from resources.database import DatabaseServer
from resources.launcher import LocalLauncher, TorchrunLauncher
from resources.store import ArtifactStore
from resources.trainer import DeepSpeedTrainer


def current_recipe() -> Recipe:
    """Return the recipe that the environment names, as its file is now."""
    return load_recipe(os.environ.get("HEPHAESTUS_RECIPE", "laptop"))


def definitions(recipe: Recipe) -> dg.Definitions:
    """Return everything Dagster needs to run a recipe."""
    execution = recipe.execution
    launcher = TorchrunLauncher() if execution.launcher.hosts else LocalLauncher()
    return dg.Definitions(
        assets=dagster_assets(lineage_of(recipe)),
        resources={
            "store": ArtifactStore(),
            "compute": LocalPool(num_workers=execution.workers),
            "database": DatabaseServer(**execution.database.model_dump()),
            "trainer": DeepSpeedTrainer(launcher=launcher, **execution.launcher.model_dump()),
        },
        jobs=automation.jobs(execution),
        schedules=automation.schedules(execution),
        sensors=automation.sensors(execution, current_recipe),
    )


defs = definitions(current_recipe())
