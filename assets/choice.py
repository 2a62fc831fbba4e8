"""The recipe of a run: the one that the graph was loaded with, or another of the same graph that the run's config names."""

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any

from assets.artifact import Lineage
from hephaestus_dag.recipe_file import RecipeError, load_recipe

MOST_NAMED = 4


def chosen(loaded: Lineage, context: Any) -> Lineage:
    """Return the lineage that a step computes with.

    Raises RecipeError for a recipe that cannot be read, or whose graph has other assets or edges than the loaded one.
    """
    name = context.resources.recipe.name
    return _other(loaded, name) if name else loaded


@cache
def _other(loaded: Lineage, name: str) -> Lineage:
    from assets.graph import lineage_of  # imports what imports this

    recipe = load_recipe(name).model_copy(update={"execution": loaded.recipe.execution})
    found = lineage_of(recipe)
    ours, theirs = _shape(loaded), _shape(found)
    unlike = {
        "has besides": theirs.keys() - ours.keys(),
        "lacks": ours.keys() - theirs.keys(),
        "connects otherwise": {key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]},
    }
    if any(unlike.values()):
        said = "; ".join(f"it {verb} {_named(keys)}" for verb, keys in unlike.items() if keys)
        raise RecipeError(
            f"the recipe {name} has another graph than {loaded.recipe.name}, which Dagster was started with: {said}. "
            f"Nothing was run; start Dagster with HEPHAESTUS_RECIPE={name} instead of choosing it for one run"
        )
    return found


def _shape(lineage: Lineage) -> dict[str, set[str]]:
    """Return what Dagster fixes when it loads: each page with its inputs, its checks, and the sorts of ops behind it."""
    page = {asset.key: asset.page for asset in lineage.assets.values()}
    shape: dict[str, set[str]] = defaultdict(set)
    for asset in lineage.assets.values():
        shape[asset.page] |= {page[name] for name in asset.inputs} | {check.name for check in asset.checks}
        shape[asset.page].add(asset.key if asset.key == asset.page else asset.key.partition("/")[0])
    return shape


def _named(keys: Iterable[str]) -> str:
    found = sorted(keys)
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more
