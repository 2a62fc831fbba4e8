"""Reads a recipe file and says what is wrong with it: every problem at once, with line and path in the YAML."""

import difflib
import importlib.resources
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from hephaestus_dag.recipe import Recipe


class RecipeError(ValueError):
    """A recipe that cannot be used; the message lists every problem."""


def load_recipe(name: str | Path) -> Recipe:
    """Return the validated recipe of a packaged name (``laptop``) or of a path to a YAML file.

    Raises RecipeError with one line per problem: ``file:line: path.in.yaml: what is wrong``.
    """
    path = recipe_path(name)
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text)
        raw = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RecipeError(f"{where}: not valid YAML: {getattr(error, 'problem', error)}") from None
    problems = _repeated_keys(node, ())
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}:1: a recipe is a mapping of sections, see recipes/laptop.yaml")
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        problems += [(tuple(problem["loc"]), _message(dict(problem))) for problem in error.errors()]
    if recipe:
        problems += recipe.missing_inputs()
    if problems or recipe is None:
        lines = sorted((_line(node, where), ".".join(map(str, where)), text) for where, text in problems)
        raise RecipeError(
            f"the recipe {path} has {len(lines)} problem{'s' * (len(lines) != 1)}:\n"
            + "\n".join(f"  {path.name}:{line}: {where or 'recipe'}: {text}" for line, where, text in lines)
        )
    return recipe


def recipe_path(name: str | Path) -> Path:
    """Return the file of a recipe.

    Raises RecipeError naming the packaged recipes when there is no such name or file.
    """
    folder = Path(str(importlib.resources.files("hephaestus_dag") / "recipes"))
    for candidate in (Path(name), folder / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    raise RecipeError(f"no recipe {str(name)!r}: give a path to a YAML file or one of {known}")


def _message(problem: dict[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        known = _fields(Recipe, tuple(problem["loc"])[:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, 1)
        return "unknown field" + (f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}")
    text = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    return text + (f" (is {given!r})" if isinstance(given, (str, int, float, bool)) else "")


def _fields(model: Any, where: tuple[int | str, ...]) -> list[str]:
    for part in where:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        elif get_origin(model) in (dict, list, tuple):
            model = [argument for argument in get_args(model) if argument is not Ellipsis][-1]
        arms = [arm for arm in get_args(model) if isinstance(arm, type) and issubclass(arm, BaseModel)]
        model = arms[0] if arms and get_origin(model) not in (dict, list, tuple) else model
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _line(node: yaml.Node | None, where: tuple[int | str, ...]) -> int:
    line = 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            key, node = pair
            line = _start(key)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = _start(node)
        else:
            break
    return line


def _start(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1


def _repeated_keys(node: yaml.Node | None, where: tuple[int | str, ...]) -> list[tuple[tuple[int | str, ...], str]]:
    found = []
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        found += [((*where, key), "given twice; keep one") for key in sorted({k for k in keys if keys.count(k) > 1})]
        for key, value in node.value:
            found += _repeated_keys(value, (*where, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            found += _repeated_keys(value, (*where, i))
    return found
