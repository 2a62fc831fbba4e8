"""The recipe of a run, as a Dagster resource: people choose it in the launchpad."""

import dagster as dg
from pydantic import Field


class RecipeChoice(dg.ConfigurableResource):
    """The recipe that a run computes with; where it runs stays as the loaded recipe and the other resources say."""

    name: str = Field(
        default="",
        description="A packaged recipe or the path of a YAML file, whose graph has the same assets as the one shown; "
        "empty: the recipe that Dagster was started with ($HEPHAESTUS_RECIPE).",
    )
