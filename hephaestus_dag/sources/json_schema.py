"""JSON Schemas of parameters, as tools declare them, turned into `Parameter` tuples."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from hephaestus_dag.sources.dialogues.declared_tools import TYPE_OF_WORD
from hephaestus_dag.sources.operations import Parameter
from hephaestus_dag.sources.phrasing import in_words

_TYPES = {
    **TYPE_OF_WORD,
    **dict.fromkeys(("email", "enum", "file", "timestamp", "uri", "url"), "string"),
    **dict.fromkeys(("int32", "int64", "uint32", "uint64"), "integer"),
    "hashtable": "object",
    "null": "",
}
_LONGEST_CHAIN = 32
"""References and alternatives followed on the way to one schema; more are a circle."""

_LONGEST_DEFAULT = 60
"""Characters of a default above which it is not told."""


def json_type(words: str) -> str:
    """Return a type as people write it (``dict``, ``List[int]``, ``Optional[str]``, ``double``) as ``Parameter.type``."""
    text = words.strip().lower()
    if text.startswith("optional[") and text.endswith("]"):
        text = text[9:-1]
    return _TYPES.get(text.partition("[")[0].partition("<")[0].partition(",")[0].partition(" ")[0].strip()) or "any"


def schema_parameters(schema: Any, depth: int = 2) -> tuple[Parameter, ...]:
    """Return the properties of a JSON Schema of type object, ``depth`` levels of members inside each; required ones first.

    ``$ref`` into the schema itself is followed, ``allOf`` is merged, of alternatives the first that is not null counts.
    Types in Python's words (``dict``, ``float``, ``tuple``) are taken for JSON's.

    Raises TypeError or ValueError for what is no schema of an object, LookupError for a dangling reference.
    """
    return _Schema(schema).properties(schema, depth)


def schema_result(schema: Any) -> tuple[tuple[Parameter, ...], str, str]:
    """Return fields, type and description of a result, in the words of `Operation`; all empty without a schema.

    Raises what `schema_parameters` raises.
    """
    if not schema:
        return (), "", ""
    found = _Schema(schema).parameter("", schema, False, 1)
    kind = f"{found.type} of {found.items}" if found.items not in ("", "any") else found.type
    return found.children, "" if kind in ("object", "any") else kind, found.description


class _Schema:
    def __init__(self, root: Any) -> None:
        self.root = root

    def properties(self, schema: Any, depth: int) -> tuple[Parameter, ...]:
        schema = self.resolved(schema)
        members = schema.get("properties") or {}
        if not isinstance(members, Mapping):
            raise TypeError(f"properties is a {type(members).__name__}, not an object")
        listed = schema.get("required") or ()
        required = frozenset(map(str, listed)) if isinstance(listed, list) else frozenset[str]()
        found = [self.parameter(str(name), member, str(name) in required, depth) for name, member in members.items()]
        return tuple(sorted(found, key=lambda parameter: not parameter.required))

    def parameter(self, name: str, given: Any, required: bool, depth: int) -> Parameter:
        schema = self.resolved(given)
        kind, items, inner = _kind(schema), "", schema
        if kind == "array":
            inner = self.resolved(_first(schema.get("items")))
            items = _kind(inner) if inner else _inside(schema.get("type"))
        elif kind == "object" and not schema.get("properties") and isinstance(schema.get("additionalProperties"), Mapping):
            kind, inner = "map", self.resolved(schema["additionalProperties"])
            items = _kind(inner)
        allowed = inner.get("enum")
        return Parameter(
            name=name,
            type=kind,
            required=required or schema.get("required") is True,
            description=_description(schema, name),
            default=_default(schema),
            items=items,
            format=inner["format"] if isinstance(inner.get("format"), str) else "",
            enum=tuple(_word(value) for value in allowed if value is not None) if isinstance(allowed, list) else (),
            children=self.properties(inner, depth - 1) if depth and inner.get("properties") else (),
        )

    def resolved(self, schema: Any) -> Mapping[str, Any]:
        """Return a schema without ``$ref``, ``allOf``, ``anyOf`` and ``oneOf`` at its top."""
        for _ in range(_LONGEST_CHAIN):
            if schema is None or isinstance(schema, bool):
                return {}
            if not isinstance(schema, Mapping):
                raise TypeError(f"a schema is a {type(schema).__name__}, not an object")
            own = {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "anyOf", "oneOf")}
            if isinstance(schema.get("$ref"), str):
                schema = {**self.target(schema["$ref"]), **own}
            elif parts := _alternatives(schema, "allOf"):
                schema = _merged([*map(self.resolved, parts), own])
            elif parts := _alternatives(schema, "anyOf") or _alternatives(schema, "oneOf"):
                schema = _constants(parts, own) or {**next((part for part in parts if not _is_null(part)), {}), **own}
            else:
                return own
        raise ValueError("a schema refers to itself")

    def target(self, reference: str) -> Mapping[str, Any]:
        """Return what a ``$ref`` into this document names."""
        if not reference.startswith("#"):
            return {}  # another document, which nobody sent along
        found: Any = self.root
        for part in reference[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            place: Any = int(key) if isinstance(found, list) else key
            found = found[place]
        return found if isinstance(found, Mapping) else {}


def _kind(schema: Mapping[str, Any]) -> str:
    given = schema.get("type")
    if isinstance(given, list):
        given = next((kind for kind in given if isinstance(kind, str) and kind != "null"), None)
    if isinstance(given, str):
        return json_type(given)
    if "properties" in schema or isinstance(schema.get("additionalProperties"), Mapping):
        return "object"
    if "items" in schema:
        return "array"
    values = schema.get("enum")
    return "string" if isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values) else "any"


def _inside(words: Any) -> str:
    """Return the type of the elements of ``List[int]``."""
    match = re.fullmatch(r"\w+\[(.+)\]", words.strip()) if isinstance(words, str) else None
    return json_type(match[1]) if match else "any"


def _description(schema: Mapping[str, Any], name: str) -> str:
    given = schema.get("description") or schema.get("desc") or schema.get("title") or ""
    text = given.strip() if isinstance(given, str) else ""
    if text and in_words(text) == in_words(name):  # the title that a generator makes of the name tells nothing more
        return ""
    return text


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    written = orjson.dumps(value).decode() if value not in (None, "") else ""
    return written if len(written) <= _LONGEST_DEFAULT else ""


def _word(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def _first(items: Any) -> Any:
    return (items[0] if items else None) if isinstance(items, list) else items


def _alternatives(schema: Mapping[str, Any], key: str) -> list[Any]:
    parts = schema.get(key)
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []


def _is_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "null"


def _constants(parts: list[Any], own: dict[str, Any]) -> dict[str, Any] | None:
    """Return alternatives that are all constants as one enumeration, else None."""
    if all("const" in part or _is_null(part) for part in parts):
        values: list[Any] = [part["const"] for part in parts if "const" in part]
        return {"enum": values, **own} if values else None
    return None


def _merged(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required: list[Any] = []
    for part in parts:
        whole |= part
        if isinstance(part.get("properties"), Mapping):
            properties |= part["properties"]
        if isinstance(part.get("required"), list):
            required += part["required"]
    return whole | ({"properties": properties} if properties else {}) | ({"required": required} if required else {})
