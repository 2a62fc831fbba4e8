"""Every field of a recipe as Markdown, from the models that check it: one table for each kind of section."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from hephaestus_dag.config import Config
from hephaestus_dag.recipe import Recipe

PLAIN = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true or false",
    Path: "path",
    NoneType: "null",
    Any: "anything",
}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "at least", "max_length": "at most", "pattern": "matches"}
SHOWN = 5
HEAD = """# What can a recipe say?

Every field of a recipe, made by `hephaestus fields` from the models that check it. A recipe may begin with `extends: laptop`
and then says only what differs; a mapping is merged with the one below it, anything else takes its place. `null` leaves out
what can be left out, and removes a variant, an endpoint or another named entry of the recipe that is extended.
"""


def markdown() -> str:
    """Return the page: a section for each model, with the places in a recipe where it stands, in the order of a recipe."""
    places: dict[type[Config], list[str]] = {}
    _collect(Recipe, "", places)
    return "\n".join([HEAD, *(line for model, where in places.items() for line in _section(model, where))])


def _collect(model: type[Config], where: str, places: dict[type[Config], list[str]]) -> None:
    places.setdefault(model, []).append(where)
    for name, field in model.model_fields.items():
        for inner, suffix in _models(field.annotation):
            _collect(inner, f"{where}.{name}{suffix}".lstrip("."), places)


def _models(annotation: Any, suffix: str = "") -> Iterator[tuple[type[Config], str]]:
    """Yield the models in a type, each with what a path to it ends in."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation, suffix
    for part in get_args(annotation):
        if part is not Ellipsis and get_origin(annotation) is not Literal:
            more = {tuple: "[]", list: "[]", dict: ".<name>"}.get(get_origin(annotation), "")
            yield from _models(part, suffix + more)


def _section(model: type[Config], places: list[str]) -> Iterator[str]:
    more = f" and {len(places) - SHOWN} more places" if len(places) > SHOWN else ""
    where = ", ".join(f"`{place}`" for place in places[:SHOWN] if place) + more
    yield f"## {model.__name__}\n"
    yield f"{_line(model.__doc__ or '')}{f' At {where}.' if where else ''}\n"
    yield "| field | type | default | what it is |\n|---|---|---|---|"
    for name, field in model.model_fields.items():
        text = field.description or ""
        yield f"| `{name}` | {_type(field)} | {_default(field)} | {_cell(text[:1].upper() + text[1:])} |"
    yield ""


def _type(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {value!r}" if name != "pattern" else f"matches `{value}`"
        for each in field.metadata
        for name, sign in SIGNS.items()
        if (value := getattr(each, name, None)) is not None
    ]
    return _cell(" ".join([_words(field.annotation), *([f"({', '.join(bounds)})"] if bounds else [])]))


def _words(annotation: Any) -> str:
    """Return a type in words that somebody who writes YAML knows."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    origin, parts = get_origin(annotation), [part for part in get_args(annotation) if part is not Ellipsis]
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin is Annotated:
        return _words(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(_words(part) for part in parts)
    if origin in (tuple, list):
        return f"list of {', '.join(_words(part) for part in parts)}"
    if origin is dict:
        return f"mapping of {_words(parts[0])} to {_words(parts[1])}"
    return f"[{annotation.__name__}](#{annotation.__name__.lower()})"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Config):
        given = value.model_dump(mode="json", exclude_defaults=True)
        return "its defaults" if not given else _cell(f"`{json.dumps(given, ensure_ascii=False)}`")
    if isinstance(value, (list, tuple)):
        value = [each.model_dump(mode="json") if isinstance(each, Config) else each for each in value]
    return _cell(f"`{json.dumps(value, ensure_ascii=False, default=sorted)}`")


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()
