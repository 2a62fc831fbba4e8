"""Reads a recipe file and says what is wrong with it: every problem at once, with line and path in the YAML."""

import difflib
import importlib.resources
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_checks import Problem, Where, contradictions, missing_inputs


class RecipeError(ValueError):
    """A recipe that cannot be used; the message lists every problem."""


def load_recipe(name: str | Path) -> Recipe:
    """Return the validated recipe of a packaged name (``laptop``) or of a path to a YAML file.

    Raises RecipeError with one line per problem: ``file:line: path.in.yaml: what is wrong``.
    """
    path = recipe_path(name)
    node, raw = _read(path)
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}:1: a recipe is a mapping of sections, see recipes/laptop.yaml")
    problems = [*_repeated_keys(node, ()), *missing_inputs(raw)]
    try:
        recipe = Recipe.model_validate(raw)
        problems += contradictions(recipe)
        if not problems:
            return recipe
    except ValidationError as error:
        problems += _invalid(error)
    lines = sorted((*_place(node, where), text) for where, text in problems)
    raise RecipeError(
        f"the recipe {path} has {len(lines)} problem{'s' * (len(lines) != 1)}:\n"
        + "\n".join(f"  {path.name}:{line}: {where or 'recipe'}: {text}" for line, where, text in lines)
    )


class _Loader(yaml.SafeLoader):
    """Gives every value that cannot be read its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # a date such as 2024-13-01
            raise yaml.constructor.ConstructorError(problem=str(error), problem_mark=node.start_mark) from None


def _read(path: Path) -> tuple[yaml.Node | None, Any]:
    """Return the parsed file, with lines, and its plain values."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return node, loader.construct_document(node) if node else None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(f"{path}:{line}: not valid YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {error.problem}") from None


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


def _invalid(error: ValidationError) -> list[Problem]:
    found = [(tuple(problem["loc"]), problem) for problem in error.errors()]
    wholes = {where[:depth] for where, _ in found for depth in range(len(where))}
    # pydantic leaves wrong items out, and then also complains that the list is too short
    return [(where, _message(problem)) for where, problem in found if problem["type"] != "too_short" or where not in wholes]


def _message(problem: ErrorDetails) -> str:
    if problem["type"] == "extra_forbidden":
        known = _fields(Recipe, tuple(problem["loc"])[:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, 1)
        return "unknown field" + (f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}")
    text = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    return text + (f" (is {given!r})" if isinstance(given, (str, int, float, bool)) else "")


def _fields(model: Any, where: Where) -> list[str]:
    for part in where:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        elif get_origin(model) in (dict, list, tuple):
            model = [argument for argument in get_args(model) if argument is not Ellipsis][-1]
        arms = [arm for arm in get_args(model) if isinstance(arm, type) and issubclass(arm, BaseModel)]
        model = arms[0] if arms and get_origin(model) not in (dict, list, tuple) else model
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _place(node: yaml.Node | None, where: Where) -> tuple[int, str]:
    """Return the line of a place, and its path in the YAML: what pydantic appends for an arm of a union is not in it."""
    line = 1
    for depth, part in enumerate(where):
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            key, node = pair
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            item: yaml.Node = node.value[part]
            line, node = item.start_mark.line + 1, item
        else:
            where = where[:depth]
            break
    return line, ".".join(map(str, where))


def _repeated_keys(node: yaml.Node | None, where: Where) -> list[Problem]:
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
