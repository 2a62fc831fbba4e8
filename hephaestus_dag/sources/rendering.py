"""API operations, whatever vendor describes them, and the formats in which a reader meets their documentation."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from typing import TYPE_CHECKING, Any, Literal

from hephaestus_dag.documents import Document, Reject

if TYPE_CHECKING:
    from hephaestus_dag.sources.config import SourceConfig

Format = Literal["reference", "signature", "schema"]
FORMATS: tuple[Format, ...] = ("reference", "signature", "schema")

LONGEST = 16_000
"""Characters of one rendered operation above which detail is left out, deepest level first."""

_MOST_ENUM = 60

_BLOCK = re.compile(r"</?(?:p|br|ul|ol|dl|dd|div|pre|para|table|tr|h[1-6]|section|fullname|title)\b[^>]*>", re.IGNORECASE)
_ITEM = re.compile(r"<(?:li|dt)\b[^>]*>\s*(?:<p>)?", re.IGNORECASE)
_CODE = re.compile(r"</?(?:code|tt|kbd|samp|literal)>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|b|i|u|em|strong|span|font|small|sup|sub|li|dt|td|th|thead|tbody|note|important|caution|warning|tip|example|examples|"
    r"replaceable|function|text|zonbook|xhtml|link|ulink|xref|body|html|img|var|q|s|del|ins|abbr|cite)\b[^>]*>",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?:])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z`\"(-])")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, member or field of an operation."""

    name: str
    type: str
    """JSON Schema type (string, integer, number, boolean, object, array), ``map``, or ``any``."""
    required: bool = False
    description: str = ""
    items: str = ""
    """For an array the type of its elements, for a map of its values."""
    enum: tuple[str, ...] = ()
    children: tuple["Parameter", ...] = ()
    """Members of an object, or of the objects inside an array or map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that an API can do."""

    name: str
    """``RunInstances``, ``compute.instances.insert``."""
    provider: str
    """The service, as its vendor calls it."""
    service: str
    """The service's short name, ``ec2``."""
    origin: str
    license: str
    description: str = ""
    method: str = ""
    path: str = ""
    parameters: tuple[Parameter, ...] = ()
    returns: tuple[Parameter, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    """Name and description of each error."""


@lru_cache(maxsize=50_000)
def clean_html(text: str) -> str:
    """Return documentation that is written in HTML as plain text: lists as ``- ``, code in backticks, blocks on lines.

    Only tags of HTML are taken away, so ``<bucket-name>`` stays.
    """
    if "<" in text:
        text = _CODE.sub("`", " ".join(text.split()))
        text = _TAG.sub("", _BLOCK.sub("\n", _ITEM.sub("\n- ", text)))
    lines = (" ".join(line.split()) for line in unescape(text).splitlines())
    return "\n".join(line for line in lines if line and line != "-").replace("``", "`")


@lru_cache(maxsize=50_000)
def shorten(text: str, longest: int) -> str:
    """Return the leading sentences of a text that fit into ``longest`` characters, at least the first sentence.

    Only a first sentence of more than three times that is cut, at a blank.
    """
    if len(text) <= longest:
        return text
    end = 0
    for match in _SENTENCE_END.finditer(text):
        if match.start() > longest and end:
            break
        end = match.start()
        if end > longest:
            break
    short = text[:end] if end else text
    if len(short) <= 3 * longest:
        return short
    blank = text.rfind(" ", 0, longest)
    return text[: blank if blank > 0 else longest] + " ..."


def choose_format(origin: str) -> Format:
    """Draw the format of a document from its origin, so that it never depends on order."""
    return FORMATS[hashlib.blake2b(origin.encode(errors="replace"), digest_size=4).digest()[0] % len(FORMATS)]


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


def documentation(config: "SourceConfig", operations: Iterable[Operation | Reject]) -> Iterator[Document | Reject]:
    """Yield a document for each operation, in the format that its origin draws, and pass rejects on."""
    for operation in operations:
        if isinstance(operation, Reject):
            yield operation
        else:
            yield Document(
                text=render(operation, choose_format(operation.origin)),
                domain=config.domain,
                kind="api_documentation",
                source=config.name,
                origin=operation.origin,
                license=operation.license,
            )


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
        (schema["items"] if member.type == "array" else schema)["enum"] = list(member.enum)
    if member.description:
        schema["description"] = shorten(member.description, longest)
    return schema


def _plain(kind: str) -> dict[str, Any]:
    return {} if kind in ("", "any") else {"type": "object" if kind == "map" else kind}


def _label(member: Parameter) -> str:
    return f"{member.type} of {member.items}" if member.items else member.type


def _reference(operation: Operation, depth: int, longest: int, most: int) -> str:
    parts = [f"# {operation.name} ({operation.provider})", shorten(operation.description, 4 * longest)]
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
    lines += ["", *_indented(f"Service: {operation.provider}{call}")]
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
        "service": operation.provider,
        "parameters": _object_schema(members, depth, longest),
    }
    if operation.path:
        schema["http"] = f"{operation.method} {operation.path}"
    if operation.returns:
        schema["returns"] = _object_schema(operation.returns[:most], max(depth - 1, 0), longest // 3)
    return json.dumps(schema, ensure_ascii=False, indent=1)
