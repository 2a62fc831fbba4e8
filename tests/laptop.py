"""The laptop recipe with other values."""

import copy
from typing import Any

import yaml

from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import recipe_path

RAW = yaml.safe_load(recipe_path("laptop").read_text())


def recipe(**changes: Any) -> Recipe:
    """The laptop recipe with other values, by path with ``__`` between the parts."""
    raw = copy.deepcopy(RAW)
    for path, value in changes.items():
        *way, last = path.split("__")
        part = raw
        for name in way:
            part = part[name]
        part[last] = value
    return Recipe.model_validate(raw)
