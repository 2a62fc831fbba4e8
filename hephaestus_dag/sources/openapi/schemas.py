"""Schemas of OpenAPI descriptions, turned into parameters."""

import json
import re
from collections.abc import Iterable
from typing import Any

from hephaestus_dag.sources.openapi.files import Files, MalformedError, RemoteError, mapping, text
from hephaestus_dag.sources.operations import Parameter
from hephaestus_dag.sources.rendering.descriptions import clean_markdown

_TYPES = {
    "string": "string",
    "str": "string",
    "text": "string",
    "file": "string",
    "date": "string",
    "datetime": "string",
    "date-time": "string",
    "uuid": "string",
    "uri": "string",
    "enum": "string",
    "integer": "integer",
    "int": "integer",
    "int32": "integer",
    "int64": "integer",
    "long": "integer",
    "number": "number",
    "float": "number",
    "double": "number",
    "decimal": "number",
    "boolean": "boolean",
    "bool": "boolean",
    "array": "array",
    "list": "array",
    "object": "object",
    "map": "map",
}
"""What descriptions write as a type (the standard knows seven) -> the words of ``Parameter.type``."""

_LONGEST_DEFAULT = 60
_OPAQUE = re.compile(r"(?=\D*\d)[\w+/=.-]{24,}|<.* at 0x[0-9a-f]+>")  # a key or an address in memory, left in by mistake
_FORMAT = re.compile(r"[a-z][a-z0-9-]{1,19}")  # what else stands there names the vendor's own types


class Schemas:
    """The schemas of one description as parameters, each once per depth: schemas may contain themselves."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._flat: dict[str, dict[str, Any]] = {}
        self._open: set[str] = set()
        self._fields: dict[tuple[str, int, bool], tuple[Parameter, ...]] = {}

    def parameter(
        self,
        name: str,
        schema: Any,
        depth: int,
        *,
        writable: bool,
        required: bool = False,
        description: str = "",
        location: str = "",
        format: str = "",
    ) -> Parameter:
        """Return one parameter or field with what is inside it, ``depth`` levels down.

        Fields that only the server writes are left out where ``writable``, else those that only the client writes.
        Raises UnresolvedError for a dangling reference, MalformedError for what is no schema.
        """
        flat = self.flat(schema)
        kind, holder, inner = _kind(flat), schema, flat
        items = ""
        if kind in ("array", "map"):
            holder = flat.get("items" if kind == "array" else "additionalProperties", {})
            holder = {} if isinstance(holder, list) else holder
            inner = self.flat(holder)
            items = _kind(inner)
        children = self.fields(holder, inner, depth - 1, writable) if depth and "object" in (kind, items) else ()
        return Parameter(
            name=name,
            type=kind,
            required=required,
            description=clean_markdown(description or text(flat.get("description"))),
            items=items,
            enum=tuple(_scalars(inner["enum"])) if "enum" in inner else (),
            children=children,
            location=location,
            format=format or _format(inner),
            default=_default(flat, kind),
        )

    def fields(self, schema: Any, flat: dict[str, Any], depth: int, writable: bool) -> tuple[Parameter, ...]:
        """Return the fields of an object, required ones first, else in the vendor's order."""
        key = (schema["$ref"], depth, writable) if len(schema) == 1 and isinstance(schema.get("$ref"), str) else None
        if key and key in self._fields:
            return self._fields[key]
        properties = mapping(flat.get("properties"), "properties")
        required = flat.get("required")
        required = {name for name in required if isinstance(name, str)} if isinstance(required, list) else ()
        hidden = "readOnly" if writable else "writeOnly"
        found = [
            self.parameter(name, field, depth, writable=writable, required=name in required)
            for name, field in properties.items()
            if not (isinstance(field, dict) and (field.get(hidden) is True or self._hidden(field, hidden)))
        ]
        fields = tuple(sorted(found, key=lambda field: not field.required)) if required else tuple(found)
        if key:
            self._fields[key] = fields
        return fields

    def _hidden(self, field: dict[str, Any], word: str) -> bool:
        return isinstance(field.get("$ref"), str) and self.flat(field).get(word) is True

    def flat(self, schema: Any) -> dict[str, Any]:
        """Return a schema without ``$ref``, ``allOf``, ``oneOf`` and ``anyOf`` at its top.

        ``allOf`` is merged. Of alternatives the first that is not null tells the type; objects among them share their
        fields, of which only those are required that all of them require. What contains only itself is empty.
        """
        if isinstance(schema, bool) or schema is None:  # true allows anything; null is what careless writers leave
            return {}
        if not isinstance(schema, dict):
            raise MalformedError(f"a schema is a {type(schema).__name__}, not an object")
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return self._merged(schema)
        if reference not in self._flat:
            if reference in self._open:
                return {}
            self._open.add(reference)
            try:
                self._flat[reference] = self.flat(self.files.target(reference))
            except RemoteError:
                self._flat[reference] = {}
            finally:
                self._open.discard(reference)
        target = self._flat[reference]
        beside = {word: value for word, value in schema.items() if word != "$ref"}
        return {**target, **self._merged(beside)} if beside else target

    def _merged(self, schema: dict[str, Any]) -> dict[str, Any]:
        for word in ("allOf", "oneOf", "anyOf"):
            if isinstance(schema.get(word), list):
                parts = [flat for part in schema[word] if (flat := self.flat(part)) and flat.get("type") != "null"]
                own = {key: value for key, value in schema.items() if key != word}
                schema = _all_of(own, parts) if word == "allOf" else _one_of(own, parts)
        return schema


def _all_of(own: dict[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in [*parts, own]:
        fields, required = {**_fields(merged), **_fields(part)}, [*_required(merged), *_required(part)]
        merged = {**merged, **part}
        if fields:
            merged["properties"] = fields
        if required:
            merged["required"] = list(dict.fromkeys(required))
    return merged


def _one_of(own: dict[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
    if not parts:
        return own
    merged = dict(parts[0])
    if len(parts) > 1:
        merged.pop("description", None)
        values = [value for part in parts for value in _scalars(part.get("enum", ())) or [None]]
        merged.pop("enum", None)
        if None not in values:  # a constraint only when every alternative has one
            merged["enum"] = list(dict.fromkeys(values))
        kinds = [_kind(part) for part in parts]
        if "string" in kinds and set(kinds) <= {"string", "integer", "number", "boolean"}:
            merged["type"] = "string"  # a number or a name: text can be both
        objects = [part for part in parts if _fields(part)]
        if _fields(merged):
            fields: dict[str, Any] = {}
            for name, field in (item for part in objects for item in _fields(part).items()):
                fields.setdefault(name, field)
            merged["properties"] = fields
            common = set.intersection(*(set(_required(part)) for part in objects))
            merged["required"] = [name for name in merged["properties"] if name in common]
    return _all_of(own, [merged])


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    fields = schema.get("properties")
    return fields if isinstance(fields, dict) else {}


def _required(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def _kind(flat: dict[str, Any]) -> str:
    """Return the type of a flat schema in the words of ``Parameter.type``."""
    kind = flat.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), None)
    kind = _TYPES.get(kind.lower()) if isinstance(kind, str) else None
    if kind is None:
        if "properties" in flat or "additionalProperties" in flat:
            kind = "object"
        elif "items" in flat:
            kind = "array"
        elif values := flat.get("enum"):
            kind = "string" if isinstance(values, list) and all(isinstance(value, str) for value in values) else "any"
        else:
            return "string" if isinstance(flat.get("format"), str) and "date" in flat["format"] else "any"
    values = flat.get("additionalProperties")
    return "map" if kind == "object" and not flat.get("properties") and isinstance(values, dict) else kind


def _scalars(values: Any) -> list[str]:
    """Return the values of an enumeration as text, without null and whatever is no scalar."""
    if not isinstance(values, Iterable) or isinstance(values, str | dict):
        return []
    given = ["true" if v is True else "false" if v is False else str(v) for v in values if isinstance(v, str | int | float)]
    return list(dict.fromkeys(value for value in given if value))


def _format(flat: dict[str, Any]) -> str:
    word = flat.get("format")
    if flat.get("type") == "file":
        return "binary"
    return word if isinstance(word, str) and _FORMAT.fullmatch(word) else ""


def _default(flat: dict[str, Any], kind: str) -> str:
    """Return a scalar default as JSON; one that is not of the declared type, a slip of the vendor's, is not told."""
    value = flat.get("default")
    if value in (None, "") or not isinstance(value, str | int | float) or (isinstance(value, str) and _OPAQUE.fullmatch(value)):
        return ""
    is_flag, is_text = isinstance(value, bool), isinstance(value, str)
    fits = {"boolean": is_flag, "integer": not is_flag and not is_text, "number": not is_flag and not is_text}
    if not fits.get(kind, kind == "any" or (kind == "string" and not is_flag)):
        return ""
    value = str(value) if kind == "string" else value  # `version: 2` of YAML
    written = json.dumps(value, ensure_ascii=False)
    return written if len(written) <= _LONGEST_DEFAULT else ""
