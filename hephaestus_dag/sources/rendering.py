"""The formats in which a reader meets the documentation of an operation."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from hephaestus_dag.sources.descriptions import shorten
from hephaestus_dag.sources.operations import Operation, Parameter

Format = Literal["reference", "signature", "schema"]
FORMATS: tuple[Format, ...] = ("reference", "signature", "schema")

LONGEST = 16_000
"""Characters of one rendered operation above which detail is left out, deepest level first."""

_MOST_ENUM = 60


def choose_format(origin: str, seed: int = 0) -> Format:
    """Draw the format of a document from its origin and a seed, so that it never depends on order."""
    drawn = hashlib.blake2b(f"{seed}:{origin}".encode(errors="replace"), digest_size=4).digest()
    return FORMATS[drawn[0] % len(FORMATS)]


def render(operation: Operation, form: Format) -> str:
    """Return the documentation of an operation as text.

    What would be longer than ``LONGEST`` loses nested members first, then long descriptions, then optional parameters.
    """
    write = {"reference": _reference, "signature": _signature, "schema": _schema_page}[form]
    text = ""
    for depth, longest, most in ((2, 1_200, 400), (1, 600, 200), (0, 300, 100), (0, 120, 40)):
        text = write(operation, depth, longest, most)
        if len(text) <= LONGEST:
            break
    return text


def operation_schema(operation: Operation, depth: int = 2, longest: int = 600) -> dict[str, Any]:
    """Return an operation as a tool schema: ``name``, ``description`` and ``parameters``, a JSON Schema of type object.

    Members are described ``depth`` levels down, each in at most about ``longest`` characters.
    """
    return {
        "name": operation.name,
        "description": shorten(operation.description, longest),
        "parameters": _object_schema(operation.parameters, depth, longest),
    }


def _object_schema(members: Iterable[Parameter], depth: int, longest: int) -> dict[str, Any]:
    members = list(members)
    return {
        "type": "object",
        "properties": {member.name: _member_schema(member, depth, longest) for member in members},
        "required": [member.name for member in members if member.required],
    }


def _member_schema(member: Parameter, depth: int, longest: int) -> dict[str, Any]:
    inner = _object_schema(member.children, depth - 1, longest // 2) if depth and member.children else None
    if member.type == "array":
        schema = {"type": "array", "items": inner or _plain(member.items)}
    elif member.type == "map":
        schema = {"type": "object", "additionalProperties": inner or _plain(member.items)}
    else:
        schema = inner if member.type == "object" and inner else _plain(member.type)
    if 0 < len(member.enum) <= _MOST_ENUM:  # part of an enumeration would be a wrong constraint
        inside = {"array": "items", "map": "additionalProperties"}.get(member.type)
        (schema[inside] if inside else schema)["enum"] = list(member.enum)
    if member.description:
        schema["description"] = shorten(member.description, longest)
    return schema


def _plain(kind: str) -> dict[str, Any]:
    return {} if kind in ("", "any") else {"type": "object" if kind == "map" else kind}


def _label(member: Parameter) -> str:
    return f"{member.type} of {member.items}" if member.items else member.type


def _reference(operation: Operation, depth: int, longest: int, most: int) -> str:
    parts = [f"# {operation.name} ({operation.title})", shorten(operation.description, 4 * longest)]
    if operation.path:
        parts.append(f"`{operation.method} {operation.path}`")
    if operation.parameters:
        parts.append("## Parameters\n\n" + "\n".join(_bullets(operation.parameters, depth, longest, most)))
    if operation.returns:
        parts.append("## Returns\n\n" + "\n".join(_bullets(operation.returns, max(depth - 1, 0), longest // 3, most)))
    if operation.errors:
        errors = (f"- `{name}`: {shorten(text, longest // 3)}" if text else f"- `{name}`" for name, text in operation.errors)
        parts.append("## Errors\n\n" + "\n".join(errors))
    return "\n\n".join(part for part in parts if part)


def _bullets(members: tuple[Parameter, ...], depth: int, longest: int, most: int, indent: str = "") -> Iterator[str]:
    for member in members[:most]:
        head = f"{indent}- `{member.name}` ({_label(member)}{', required' if member.required else ''})"
        text = shorten(member.description, longest).replace("\n", f"\n{indent}  ")
        allowed = _allowed(member, most)
        yield f"{head}{':' if text or allowed else ''}{' ' if text else ''}{text}{allowed}"
        if depth:
            yield from _bullets(member.children, depth - 1, longest // 3, most // 4, indent + "  ")
    if len(members) > most:
        yield f"{indent}- and {len(members) - most} more: {', '.join(member.name for member in members[most:])}"


_PYTHON = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}


def _annotation(member: Parameter) -> str:
    kind = _PYTHON.get(member.type, "dict" if member.type == "map" else "Any")
    inner = _PYTHON.get(member.items, "dict" if member.items == "map" else "Any")
    return f"list[{inner}]" if kind == "list" else f"dict[str, {inner}]" if member.type == "map" else kind


def _signature(operation: Operation, depth: int, longest: int, most: int) -> str:
    members = sorted(operation.parameters, key=lambda member: not member.required)
    shown = [f"{m.name}: {_annotation(m)}" + ("" if m.required else " | None = None") for m in members[:most]]
    if len(members) > most:
        shown.append("**options: Any")
    head = f"{operation.name}({', '.join(shown)})"
    if len(head) > 100:
        head = f"{operation.name}(\n    " + ",\n    ".join(shown) + ",\n)"
    lines = [f"{head} -> {'dict' if operation.returns else 'None'}", *_indented(shorten(operation.description, 4 * longest))]
    call = f" ({operation.method} {operation.path})" if operation.path else ""
    lines += ["", *_indented(f"Service: {operation.title}{call}")]
    if members:
        lines += ["", "    Args:", *_indented("\n".join(_arguments(members[:most], depth, longest, most)), 8)]
    if operation.returns:
        lines += ["", "    Returns:", *_indented("\n".join(_arguments(operation.returns[:most], 0, longest // 3, most)), 8)]
    if operation.errors:
        raised = (f"{name}: {shorten(text, longest // 3)}" if text else name for name, text in operation.errors)
        lines += ["", "    Raises:", *_indented("\n".join(raised), 8)]
    return "\n".join(lines)


def _allowed(member: Parameter, most: int) -> str:
    if not member.enum:
        return ""
    shown, left = member.enum[: most // 4], len(member.enum) - most // 4
    return f" One of: {', '.join(shown)}{f' and {left} more' if left > 0 else ''}."


def _arguments(members: Iterable[Parameter], depth: int, longest: int, most: int) -> Iterator[str]:
    for member in members:
        text = shorten(member.description, longest).replace("\n", "\n    ")
        allowed = _allowed(member, most)
        yield f"{member.name} ({_annotation(member)}{', required' if member.required else ''}): {text}{allowed}".rstrip(": ")
        if depth:
            for line in _arguments(member.children, depth - 1, longest // 3, most):
                yield "    " + line.replace("\n", "\n    ")


def _indented(text: str, width: int = 4) -> Iterator[str]:
    for line in text.split("\n"):
        yield " " * width + line if line else ""


def _schema_page(operation: Operation, depth: int, longest: int, most: int) -> str:
    members = sorted(operation.parameters, key=lambda member: not member.required)[:most]
    schema = {
        "name": operation.name,
        "description": shorten(operation.description, 4 * longest),
        "service": operation.title,
        "parameters": _object_schema(members, depth, longest),
    }
    if operation.path:
        schema["http"] = f"{operation.method} {operation.path}"
    if operation.returns:
        schema["returns"] = _object_schema(operation.returns[:most], max(depth - 1, 0), longest // 3)
    return json.dumps(schema, ensure_ascii=False, indent=1)
