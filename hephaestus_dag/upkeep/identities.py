"""The identities of a recipe's assets, for those who ask without running anything."""

from typing import TYPE_CHECKING

from hephaestus_dag.manifests import ArtifactError
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.sources.reading.distributions import MissingPackageError

if TYPE_CHECKING:
    from hephaestus_dag.definitions import Lineage


def identities(recipe: Recipe, *, fixed: bool = True) -> "Lineage":
    """Return the assets of a recipe and the identity of each; not ``fixed``, each is found when it is asked for.

    Raises ArtifactError when an input that an identity covers is missing.
    """
    from hephaestus_dag.definitions import lineage

    try:
        return lineage(recipe, fixed=fixed)
    except (MissingPackageError, OSError, ValueError) as error:
        raise ArtifactError(f"what the recipe {recipe.name} would build is not known: {error}") from error
