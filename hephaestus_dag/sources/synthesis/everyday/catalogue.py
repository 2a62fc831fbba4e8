"""The packaged catalogue of everyday functions, and the many ways in which one function may be declared."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from hephaestus_dag.sources.phrasing import enumeration
from hephaestus_dag.sources.synthesis.everyday.values import Kind, Value, parse_kind

_BRACKET = re.compile(r"(\[[^\[\]]*\])")
_PLACE = re.compile(r"\{(\w+)(?:\|([^|{}]*)\|([^|{}]*))?\}")
_PARAMETER = re.compile(r"(?:(\w+):)?(\w+(?:\([^)]*\))?)(\?)?\s*")
_OTHER_VERBS = {
    "get": ("get", "fetch", "retrieve", "lookup"),
    "compute": ("compute", "calculate", "calc"),
    "find": ("find", "search", "locate", "list"),
    "search": ("search", "find", "query"),
    "create": ("create", "make", "add"),
    "book": ("book", "reserve"),
    "check": ("check", "get", "verify"),
    "send": ("send", "submit"),
}
_OTHER_NAMES = {
    "city": ("city", "location", "town", "city_name", "place"),
    "date": ("date", "day", "date", "target_date"),
    "email": ("email", "email_address", "mail"),
    "query": ("query", "search_term", "keywords"),
    "quantity": ("quantity", "count", "amount", "number_of_items"),
    "country": ("country", "country_name"),
    "title": ("title", "name", "headline"),
    "address": ("address", "street_address", "location"),
    "number": ("number", "n", "num", "value"),
    "numbers": ("numbers", "values", "data", "nums"),
    "year": ("year", "in_year"),
    "artist": ("artist", "artist_name", "performer"),
    "language": ("language", "lang"),
    "height": ("height", "h"),
    "time": ("time", "start_time", "at_time"),
    "message": ("message", "text", "content"),
}
"""What the same parameter is called elsewhere."""

_EXTRA: tuple[tuple[str, dict[str, Any]], ...] = (
    ("language", {"type": "string", "description": "Language of the result. Default is 'en'.", "default": "en"}),
    ("verbose", {"type": "boolean", "description": "Whether to return details. Default is false.", "default": False}),
    ("max_results", {"type": "integer", "description": "How many results to return at most (default 10)."}),
    ("output_format", {"type": "string", "enum": ["json", "text", "csv"], "description": "Form of the result."}),
    ("timeout", {"type": "integer", "description": "Seconds to wait for the answer. Default is 30.", "default": 30}),
    ("precision", {"type": "integer", "description": "Digits after the decimal point. Optional."}),
    ("source", {"type": "string", "description": "Where the data come from. Optional, default 'internal'."}),
    ("include_history", {"type": "boolean", "description": "Whether earlier results are included, default false."}),
)
"""Parameters that nobody asks for."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as the catalogue knows it."""

    name: str
    kind: Kind
    required: bool


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """An everyday function: what it is called, does and takes, and how people ask for it."""

    topic: str
    names: tuple[str, ...]
    does: str
    parameters: tuple[Parameter, ...]
    questions: tuple[str, ...]

    @property
    def required(self) -> list[str]:
        """Names of the parameters that a call needs."""
        return [parameter.name for parameter in self.parameters if parameter.required]

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kinds of the parameters by name."""
        return {parameter.name: parameter.kind for parameter in self.parameters}

    def asks_for(self, names: Collection[str]) -> tuple[str, ...]:
        """Return the questions that can say all of these parameters."""
        return tuple(question for question in self.questions if set(names) <= set(places(question)))


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """A function as it is declared once: under one of its names, with one choice of words."""

    function: Function
    schema: dict[str, Any]
    """``{"name", "description", "parameters"}``"""
    shown: Mapping[str, str]
    """Name in the catalogue -> name in the schema."""

    def arguments(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Return the arguments of a call, in the order of the schema."""
        by_name = {self.shown[name]: value.value for name, value in values.items()}
        return {name: by_name[name] for name in self.schema["parameters"]["properties"] if name in by_name}


def places(question: str) -> list[str]:
    """Return the parameters that a question can say."""
    return [found[1] for found in _PLACE.finditer(question)]


@cache
def load_functions(held_out: bool) -> tuple[Function, ...]:
    """Return the functions for training, or those of topics that only the development split shows.

    Raises ValueError for a function of which no question says all that it needs.
    """
    import yaml

    text = files("hephaestus_dag.sources.synthesis.everyday").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    topics = yaml.safe_load(text)["held_out" if held_out else "training"]
    return tuple(_function(topic, row) for topic, rows in topics.items() for row in rows)


def _function(topic: str, row: list[str]) -> Function:
    names, does, listed, *questions = row
    parameters = tuple(
        Parameter(found[1] or found[2].partition("(")[0], parse_kind(found[2]), not found[3])
        for found in _PARAMETER.finditer(listed)
    )
    made = Function(topic, tuple(names.split("|")), does, parameters, tuple(questions))
    known = {parameter.name for parameter in parameters}
    for question in questions:
        outside = _PLACE.search(_BRACKET.sub("", question))
        if outside or not set(places(question)) <= known:
            raise ValueError(f"catalogue.yaml: {question!r} names an unknown parameter, or one outside of brackets")
    if not made.asks_for(made.required):
        raise ValueError(f"catalogue.yaml: no question of {names!r} says all that it needs")
    return made


def say(question: str, values: Mapping[str, Value]) -> str:
    """Return a question with values; what is in brackets is left out where one of its values is not given."""
    parts = []
    for part in _BRACKET.split(question):
        if part.startswith("["):
            names = places(part)
            part = part[1:-1] if names and all(name in values for name in names) else ""
        parts.append(_PLACE.sub(lambda found: _said(found, values), part))
    return tidy("".join(parts))


def _said(found: re.Match[str], values: Mapping[str, Value]) -> str:
    value = values[found[1]]
    return value.said if found[2] is None else found[2] if value.value else found[3]


def tidy(text: str) -> str:
    """Return a sentence without the traces of what was left out."""
    text = re.sub(r"\s+", " ", text).strip(" ,;:")
    text = re.sub(r"\s+([.,?!;:])", r"\1", text)
    text = re.sub(r"([,;:])(?=[.?!])|(?<=[.?!]),", "", text)
    text = re.sub(r"(?<=[.?!] )[a-z]", lambda found: found[0].upper(), text)
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!", "'", '"')) else text + "."


def declare(function: Function, rng: Random) -> Tool:
    """Draw one declaration of a function: names, descriptions, order, defaults, parameters that nobody asks for."""
    function = _variant(function, rng)
    camel = rng.random() < 0.15
    shown: dict[str, str] = {}
    for parameter in function.parameters:
        name = rng.choice(_OTHER_NAMES.get(parameter.name, (parameter.name,)))
        name = parameter.name if name in {*shown.values(), *(other.name for other in function.parameters)} else name
        shown[parameter.name] = _camel(name) if camel else name
    parameters = list(function.parameters)
    if rng.random() < 0.2:
        rng.shuffle(parameters)
    properties = {shown[parameter.name]: _member(parameter, rng) for parameter in parameters}
    if rng.random() < 0.35:
        for name, schema in rng.sample(_EXTRA, rng.choice((1, 1, 2))):
            properties.setdefault(_camel(name) if camel else name, schema)
    required = [shown[name] for name in function.required]
    schema = {
        "name": _name(function, camel, rng),
        "description": _described(function, rng),
        "parameters": {"type": "object", "properties": properties, "required": required},
    }
    return Tool(function, schema, shown)


def _variant(function: Function, rng: Random) -> Function:
    """Return a function with fewer optional parameters, or with one more that is required."""
    kept = [parameter for parameter in function.parameters if parameter.required or rng.random() < 0.85]
    spare = [n for n, parameter in enumerate(kept) if not parameter.required and parameter.kind.name != "flag"]
    if spare and rng.random() < 0.2:
        promoted = rng.choice(spare)
        if function.asks_for([*function.required, kept[promoted].name]):
            kept[promoted] = replace(kept[promoted], required=True)
    return replace(function, parameters=tuple(kept))


def _name(function: Function, camel: bool, rng: Random) -> str:
    verb, *rest = rng.choice(function.names).split(" ")
    name = "_".join((rng.choice(_OTHER_VERBS.get(verb, (verb,))), *rest))
    name = _camel(name) if camel else name
    form = rng.random()
    if form < 0.6:
        return name
    if form < 0.85:
        return f"{function.topic}.{name}"
    return f"{function.topic}_{name}" if not camel else name


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _described(function: Function, rng: Random) -> str:
    labels = [name.replace("_", " ") for name in function.required]
    form = rng.random()
    if form < 0.4 or not labels:
        return f"{function.does}."
    if form < 0.7:
        return f"{function.does}, given the {enumeration(labels)}."
    return f"This function can {function.does[0].lower()}{function.does[1:]}."


def _member(parameter: Parameter, rng: Random) -> dict[str, Any]:
    label, hint = parameter.name.replace("_", " "), rng.choice(parameter.kind.hints())
    schema = parameter.kind.schema()
    if parameter.kind.name == "flag":
        words = rng.choice((f"If true, {label}", f"Whether {label} applies"))
    else:
        words = rng.choice((f"The {label}", f"The {label}", f"{label.capitalize()}", f"The {label} to use"))
    words = f"{words} {hint}".strip() + "."
    if parameter.kind.name == "enum" and rng.random() < 0.3:
        words = f"{words[:-1]}, one of: {', '.join(parameter.kind.settings)}."
    if not parameter.required:
        default = _default(parameter.kind, rng)
        if default is not None and rng.random() < 0.5:
            schema["default"] = default
            words += rng.choice((f" Default is {default!r}.", f" Defaults to {default!r} if not given.", ""))
        else:
            words += rng.choice((" Optional.", "", " (optional)"))
    return {**schema, "description": words}


def _default(kind: Kind, rng: Random) -> Any:
    if kind.name == "enum":
        return kind.settings[0]
    return {"flag": False, "int": 1, "currency": "USD", "language": "English"}.get(kind.name)


def labels_said(values: Mapping[str, Value]) -> Iterator[str]:
    """Yield ``height 5`` for each value."""
    yield from (f"{name.replace('_', ' ')} {value.said}" for name, value in values.items())
