"""Reads a recipe file and says what is wrong with it: every problem at once, with file, line and path in the YAML.

A recipe may begin with ``extends: laptop`` and then holds only what differs from that recipe: mappings are merged, anything
else (a number, a list of sources, an empty mapping) takes the place of what was there. Where entries have names of their own,
as variants have, null removes one: ``variants: { without_stage2: null }``. A list of such entries, as of sources, is merged
with a mapping by name: ``text_documents: { handbook: { kind: text_files, ... }, readmes: null }``.
"""

import difflib
import importlib.resources
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_checks import Problem, Where, contradictions, misplaced_sources, missing_inputs

NULL = "tag:yaml.org,2002:null"
NAME = yaml.ScalarNode("tag:yaml.org,2002:str", "name")
NEEDED: dict[Where, str] = {
    ("scaling_law",): "to train without the sweep, give mixture.agent_ratio as a number and run the job `train`",
}
"""Place -> what to do instead of leaving it out."""


class RecipeError(ValueError):
    """A recipe that cannot be used; the message lists every problem."""


class Placed(NamedTuple):
    """A problem with its place; as text: ``file:line: path.in.yaml: what is wrong``."""

    file: str
    line: int
    where: str
    text: str
    hint: str = ""
    """The comment right above the line, which may say how to get what is missing there."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.where or 'recipe'}: {self.text}"


def load_recipe(name: str | Path) -> Recipe:
    """Return the validated recipe of a packaged name (``laptop``) or of a path to a YAML file.

    Raises RecipeError with one line per problem: ``file:line: path.in.yaml: what is wrong``.
    """
    path = recipe_path(name)
    recipe, wrong, missing = _checked(path)
    if recipe is None or wrong or missing:
        raise _error(path, wrong + missing)
    return recipe


def read_recipe(name: str | Path) -> tuple[Recipe, list[Placed]]:
    """Return a recipe although inputs that it names may not be there, and these inputs in the order of the file.

    Raises RecipeError when a value is invalid.
    """
    path = recipe_path(name)
    recipe, wrong, missing = _checked(path)
    if recipe is None or wrong:
        raise _error(path, wrong + missing)
    return recipe, sorted(missing)


def _checked(path: Path) -> tuple[Recipe | None, list[Placed], list[Placed]]:
    """Return the recipe if its values are valid, what is wrong with it, and which of its inputs are missing."""
    node, raw, wrong = _read(path)
    recipe = None
    try:
        recipe = Recipe.model_validate(raw)
        wrong += contradictions(recipe)
    except ValidationError as error:
        wrong += _invalid(error)
    wrong += misplaced_sources(raw)
    return recipe, [_placed(node, *each) for each in wrong], [_placed(node, *each) for each in missing_inputs(raw)]


def _error(path: Path, problems: list[Placed]) -> RecipeError:
    head = f"the recipe {path} has {len(problems)} problem{'s' * (len(problems) != 1)}:"
    return RecipeError("\n".join([head, *(f"  {problem}" for problem in sorted(problems))]))


class _Loader(yaml.SafeLoader):
    """Gives every value that cannot be read its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # a date such as 2024-13-01
            raise yaml.constructor.ConstructorError(problem=str(error), problem_mark=node.start_mark) from None


def _read(path: Path) -> tuple[yaml.MappingNode, dict[str, Any], list[Problem]]:
    """Return a recipe with what it extends: nodes that know their file and line, plain values, and keys given twice."""
    node, problems = _extended(path, ())
    return node, _Loader("").construct_document(node), problems


def _extended(path: Path, extending: tuple[Path, ...]) -> tuple[yaml.MappingNode, list[Problem]]:
    if path.resolve() in extending:
        raise RecipeError(
            f"{path}:1: extends itself, through {', '.join(each.name for each in extending)}; remove one `extends`"
        )
    node, problems = _parse(path)
    base = next((value for key, value in node.value if key.value == "extends"), None)
    if base is None:
        return node, problems
    if not isinstance(base, yaml.ScalarNode):
        raise RecipeError(f"{path}:{base.start_mark.line + 1}: extends: give the name or the path of one recipe")
    node.value = [pair for pair in node.value if pair[0].value != "extends"]
    try:
        below, found = _extended(recipe_path(base.value, path.parent), (*extending, path.resolve()))
    except RecipeError as error:
        raise RecipeError(f"{path}:{base.start_mark.line + 1}: extends: {error}") from None
    return _merged(below, node), found + problems


def _merged(below: yaml.MappingNode, above: yaml.MappingNode, where: Where = ()) -> yaml.MappingNode:
    """Return a mapping with the pairs of two, the second before the first; mappings in both are merged in turn."""
    pairs = {key.value: (key, value) for key, value in below.value}
    for key, value in above.value:
        old = pairs.get(key.value, (None, None))[1]
        if old and value.tag == NULL and _names_its_entries(where):
            del pairs[key.value]
            continue
        if isinstance(value, yaml.MappingNode) and value.value:
            if isinstance(old, yaml.MappingNode):
                value = _merged(old, value, (*where, key.value))
            elif isinstance(old, yaml.SequenceNode) and all(_name(entry) for entry in old.value):
                value = _merged_by_name(old, value)
        pairs[key.value] = (key, value)
    return yaml.MappingNode(above.tag, list(pairs.values()), above.start_mark, above.end_mark)


def _merged_by_name(below: yaml.SequenceNode, above: yaml.MappingNode) -> yaml.SequenceNode:
    """Return a list of named entries with those of a mapping by name: changed, removed where null, and new ones at the end."""
    entries: dict[str, yaml.Node] = {_name(entry): entry for entry in below.value}
    for key, value in above.value:
        old = entries.get(key.value)
        if old and value.tag == NULL:
            del entries[key.value]
            continue
        if isinstance(value, yaml.MappingNode):
            name = (yaml.ScalarNode(NAME.tag, NAME.value, key.start_mark, key.end_mark), key)
            value = _merged(old if isinstance(old, yaml.MappingNode) else yaml.MappingNode(value.tag, [name]), value)
        entries[key.value] = value
    return yaml.SequenceNode(below.tag, list(entries.values()), above.start_mark, above.end_mark)


def _name(entry: yaml.Node) -> str:
    """Return the name that an entry of a list gives itself, or an empty string."""
    pairs = entry.value if isinstance(entry, yaml.MappingNode) else []
    return next((value.value for key, value in pairs if key.value == NAME.value), "")


def _names_its_entries(where: Where) -> bool:
    """Tell whether a mapping's keys are names that the recipe chooses, such as those of variants, and none may be null."""
    found = _type_at(Recipe, where)
    return get_origin(found) is dict and type(None) not in get_args(get_args(found)[1])


def _parse(path: Path) -> tuple[yaml.MappingNode, list[Problem]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    try:
        loader = _Loader(text)
        loader.name = path.name
        node = loader.get_single_node()
        problems = _repeated_keys(node, ())
        if node:
            loader.construct_document(node)  # for the values that no type can read; and `<<` gives way to what it stands for
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(f"{path}:{line}: not valid YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {error.problem}") from None
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{path}:1: a recipe is a mapping of sections, see recipes/laptop.yaml")
    return node, problems


def recipe_path(name: str | Path, beside: Path = Path()) -> Path:
    """Return the file of a recipe: a path, from the folder ``beside`` on, or a packaged name.

    Raises RecipeError naming the packaged recipes when there is no such name or file.
    """
    folder = Path(str(importlib.resources.files("hephaestus_dag") / "recipes"))
    for candidate in (beside / name, folder / f"{name}.yaml"):
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
    if problem["input"] is None and problem["type"].endswith("_type"):
        remedy = NEEDED.get(tuple(problem["loc"]), "give it a value")
        return f"cannot be null; {remedy}"
    text = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    return text + (f" (is {given!r})" if isinstance(given, (str, int, float, bool)) else "")


def _fields(model: Any, where: Where) -> list[str]:
    model = _type_at(model, where)
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _type_at(model: Any, where: Where) -> Any:
    """Return the type of what stands at a place below a model; of several, the model."""
    for part in where:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        elif get_origin(model) in (dict, list, tuple):
            model = [argument for argument in get_args(model) if argument is not Ellipsis][-1]
        arms = [arm for arm in get_args(model) if isinstance(arm, type) and issubclass(arm, BaseModel)]
        model = arms[0] if arms and get_origin(model) not in (dict, list, tuple) else model
    return model


def _placed(node: yaml.Node, where: Where, text: str) -> Placed:
    """Return a problem with its file, line and path in the YAML: what pydantic appends for an arm of a union is not in it."""
    mark = node.start_mark
    for depth, part in enumerate(where):
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            mark, node = pair[0].start_mark, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
        else:
            where = where[:depth]
            break
    above = (mark.buffer or "").split("\n")[mark.line - 1].strip() if mark.line else ""
    hint = above.removeprefix("#").strip() if above.startswith("#") else ""
    return Placed(mark.name, mark.line + 1, ".".join(map(str, where)), text, hint)


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
