"""The formats in which a reader meets the documentation of an operation."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import orjson

from hephaestus_dag.sources.operations import Operation, Parameter
from hephaestus_dag.sources.rendering.code import signature_page, typescript_page
from hephaestus_dag.sources.rendering.descriptions import shorten
from hephaestus_dag.sources.rendering.http import http_page
from hephaestus_dag.sources.rendering.parts import (
    Detail,
    Members,
    call,
    label,
    once_per_members,
    required_first,
    with_allowed,
)

Format = Literal["reference", "signature", "schema", "typescript", "http"]
FORMATS: tuple[Format, ...] = ("reference", "signature", "schema", "typescript", "http")
"""Prose, a Python signature with docstring, a JSON Schema, a TypeScript declaration, and a request with curl."""

PROSE_FORMATS: tuple[Format, ...] = ("reference", "signature", "schema")
"""Those that also suit what is called in other ways than over HTTP with JSON."""

LONGEST = 16_000
"""Characters of one rendered operation above which detail is left out, deepest level first."""

_MOST_ENUM = 60
_DETAIL = (Detail(2, 1_200, 200), Detail(1, 600, 200), Detail(0, 300, 100), Detail(0, 120, 40))


def choose_format(origin: str, seed: int = 0, formats: Sequence[Format] = PROSE_FORMATS) -> Format:
    """Draw the format of a document from its origin and a seed, so that it never depends on order."""
    drawn = hashlib.blake2b(f"{seed}:{origin}".encode(errors="replace"), digest_size=4).digest()
    return formats[drawn[0] % len(formats)]


def formats_of(operation: Operation) -> tuple[Format, ...]:
    """Return the formats that suit an operation: a request is shown only where it is known what goes where."""
    placed = operation.path and all(parameter.location for parameter in operation.parameters)
    return FORMATS if placed else FORMATS[:-1]


def render(operation: Operation, form: Format) -> str:
    """Return the documentation of an operation as text.

    What would be longer than ``LONGEST`` loses nested members first, then long descriptions, then optional parameters.
    """
    write = {
        "reference": _reference,
        "signature": signature_page,
        "schema": _schema_page,
        "typescript": typescript_page,
        "http": http_page,
    }[form]
    text = ""
    for detail in _DETAIL:
        text = write(operation, detail)
        if len(text) <= LONGEST:
            break
    return text


def operation_schema(operation: Operation, depth: int = 2, longest: int = 600) -> dict[str, Any]:
    """Return an operation as a tool schema: ``name``, ``description`` and ``parameters``, a JSON Schema of type object.

    Members are described ``depth`` levels down, each in at most about ``longest`` characters.
    """
    required = [parameter.name for parameter in operation.parameters if parameter.required]
    return {
        "name": operation.name,
        "description": shorten(operation.description, longest),
        "parameters": {**_object_schema(operation.parameters, depth, longest), "required": required},
    }


@once_per_members
def _object_schema(members: Members, depth: int, longest: int) -> dict[str, Any]:
    properties = {member.name: _member_schema(member, depth, longest) for member in members}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required := [member.name for member in members if member.required]:
        schema["required"] = required
    return schema


def _member_schema(member: Parameter, depth: int, longest: int) -> dict[str, Any]:
    inner = _object_schema(member.children, depth - 1, longest // 2) if depth and member.children else None
    if member.type in ("array", "map"):
        inside = inner.copy() if inner else _plain(member.items)
        holder = "items" if member.type == "array" else "additionalProperties"
        schema = {"type": "array" if member.type == "array" else "object", holder: inside}
    else:
        schema = inside = inner.copy() if inner and member.type == "object" else _plain(member.type)
    if 0 < len(member.enum) <= _MOST_ENUM:  # part of an enumeration would be a wrong constraint
        inside["enum"] = [_typed(value, inside.get("type")) for value in member.enum]
    if member.format:
        inside["contentMediaType" if "/" in member.format else "format"] = member.format
    if member.default:
        schema["default"] = orjson.loads(member.default)
    if member.description:
        schema["description"] = shorten(member.description, longest)
    return schema


def _plain(kind: str) -> dict[str, Any]:
    return {} if kind in ("", "any") else {"type": "object" if kind == "map" else kind}


def _typed(value: str, kind: str | None) -> Any:
    """Return an enumerated value as JSON has it, the text itself where it is none of its type."""
    if kind not in ("integer", "number", "boolean"):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _reference(operation: Operation, detail: Detail) -> str:
    parts = [f"# {operation.name} ({operation.title})", shorten(operation.description, 4 * detail.longest)]
    if operation.path:
        parts.append(f"`{call(operation)}`" + (f" on {operation.server}" if operation.server else ""))
    if operation.parameters:
        parts.append(f"## Parameters\n\n{_bullets(required_first(operation.parameters), detail)}")
    told = shorten(operation.response, detail.longest // 3)
    if operation.result:
        told = f"{told} ({operation.result})" if told else f"Type: {operation.result}"
    listed = _bullets(operation.returns, detail.of_result()) if operation.returns else ""
    if told or listed:
        parts.append("\n\n".join(("## Returns", *filter(None, (told, listed)))))
    if operation.errors:
        errors = (
            f"- `{name}`: {shorten(text, detail.longest // 3)}" if text else f"- `{name}`" for name, text in operation.errors
        )
        parts.append("## Errors\n\n" + "\n".join(errors))
    return "\n\n".join(part for part in parts if part)


@once_per_members
def _bullets(members: Members, detail: Detail, indent: str = "") -> str:
    lines: list[str] = []
    for member in members[: detail.most]:
        text = with_allowed(shorten(member.description, detail.longest), member).replace("\n", f"\n{indent}  ")
        lines.append(f"{indent}- `{member.name}` ({label(member)}){': ' if text else ''}{text}")
        if detail.depth and member.children:
            lines.append(_bullets(member.children, detail.inside(), indent + "  "))
    if left := members[detail.most :]:
        lines.append(f"{indent}- and {len(left)} more: {', '.join(member.name for member in left)}")
    return "\n".join(lines)


def _schema_page(operation: Operation, detail: Detail) -> str:
    schema: dict[str, Any] = {
        "name": operation.name,
        "description": shorten(operation.description, 4 * detail.longest),
        "service": operation.title,
    }
    if operation.path:
        schema["http"] = call(operation)
    shown = required_first(operation.parameters)
    schema["parameters"] = _object_schema(
        shown if len(shown) <= detail.most else shown[: detail.most], detail.depth, detail.longest
    )
    if operation.returns or operation.result:
        returned = detail.of_result()
        inside = (
            _object_schema(operation.returns[: detail.most], returned.depth, returned.longest) if operation.returns else None
        )
        kind, _, items = operation.result.partition(" of ")
        if kind == "array":
            schema["returns"] = {"type": "array", "items": inside or _plain(items)}
        elif kind == "map":
            schema["returns"] = {"type": "object", "additionalProperties": inside or _plain(items)}
        else:
            schema["returns"] = inside or _plain(kind)
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
