"""An operation as somebody tries it out: a request with curl, its parameters, and the outline of what comes back."""

import re
import shlex
from typing import Any
from urllib.parse import quote

import orjson

from hephaestus_dag.sources.operations import Operation, Parameter
from hephaestus_dag.sources.rendering.descriptions import shorten
from hephaestus_dag.sources.rendering.parts import Detail, Members, call, label, once_per_members, required_first, with_allowed

_BY_FORMAT = {
    "date": "2024-05-17",
    "date-time": "2024-05-17T09:30:00Z",
    "time": "09:30:00",
    "email": "user@example.com",
    "uri": "https://example.com",
    "url": "https://example.com",
    "uuid": "3f2b8c1e-5d7a-4e9b-8a61-0c4d2f7b9e15",
    "ipv4": "192.0.2.10",
    "byte": "aGVsbG8=",
    "binary": "@file",
}
_BY_TYPE: dict[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "object": {}, "map": {}, "any": "value"}
_MOST_FIELDS = 12
"""Fields of an example object."""


def http_page(operation: Operation, detail: Detail) -> str:
    """Return an operation as a page with an example request."""
    parts = [f"{operation.title}: {operation.name}", call(operation), shorten(operation.description, 4 * detail.longest)]
    parts.append(f"Example request:\n\n{_curl(operation)}")
    if operation.parameters:
        parts.append(f"Parameters:\n\n{_definitions(required_first(operation.parameters), detail)}")
    told = shorten(operation.response, detail.longest // 3)
    kind, _, items = operation.result.partition(" of ")
    if operation.returns or kind in ("array", "map"):
        result = Parameter("result", kind or "object", items=items, children=operation.returns)
        outline = _json(_example(result, min(detail.depth, 1), required=False))
        parts.append(f"Response:{f' {told}' if told else ''}\n\n{outline}")
        described = tuple(member for member in operation.returns if member.description)[: detail.most]
        if described:
            parts.append(_definitions(described, detail.of_result()._replace(depth=0)))
    elif told or kind not in ("", "object"):
        parts.append(f"Response{f' ({kind})' if kind else ''}{': ' if told else ''}{told}")
    if operation.errors:
        errors = (f"{name}  {shorten(text, detail.longest // 3)}".rstrip() for name, text in operation.errors)
        parts.append("Errors:\n\n" + "\n".join(errors))
    return "\n\n".join(part for part in parts if part)


@once_per_members
def _definitions(members: Members, detail: Detail, indent: str = "") -> str:
    lines: list[str] = []
    for member in members[: detail.most]:
        lines.append(f"{indent}{member.name}  ({label(member)})")
        if text := with_allowed(shorten(member.description, detail.longest), member):
            lines.append(f"{indent}    " + text.replace("\n", f"\n{indent}    "))
        if detail.depth and member.children:
            lines.append(_definitions(member.children, detail.inside(), indent + "    "))
    if left := members[detail.most :]:
        lines.append(f"{indent}and {len(left)} more: {', '.join(member.name for member in left)}")
    return "\n".join(lines)


def _curl(operation: Operation) -> str:
    path, query, headers, fields = operation.path.partition("#")[0], [], [], {}
    body: Parameter | None = None
    for member in operation.parameters:
        place = member.location or ("path" if f"{{{member.name}}}" in path else "field")
        if place == "path":
            path = path.replace(f"{{{member.name}}}", quote(_text(member), safe="/"))
        elif place == "body":
            body = member
        elif not member.required:
            continue
        elif place == "query":
            query.append(f"{member.name}={quote(_text(member), safe=',:@/')}")
        elif place == "header":
            headers.append(f"{member.name}: {_text(member)}")
        elif place == "cookie":
            headers.append(f"Cookie: {member.name}={_text(member)}")
        else:
            fields[member.name] = _example(member, 1)
    path = re.sub(r"\{\+?(\w+)\*?\}", lambda match: match[1].upper(), path)
    if query:
        path += ("&" if "?" in path else "?") + "&".join(query)
    place = shlex.quote(operation.server + path) if operation.server else f'"$BASE_URL"{shlex.quote(path)}'
    lines = [f"curl -X {operation.method or 'POST'} {place}", *(f"-H {shlex.quote(header)}" for header in headers)]
    return " \\\n  ".join([*lines, *_data(body, fields)])


def _data(body: Parameter | None, fields: dict[str, Any]) -> list[str]:
    if body is None and not fields:
        return []
    media = body.format if body else ""
    if body and media == "multipart/form-data":
        return [f"-F {shlex.quote(f'{each.name}={_text(each)}')}" for each in _chosen(body.children)]
    if body and media == "application/x-www-form-urlencoded":
        return [f"-d {shlex.quote(f'{each.name}={_text(each)}')}" for each in _chosen(body.children)]
    if body and media:
        return [f"-H {shlex.quote(f'Content-Type: {media}')}", "--data-binary @file"]
    example = _json(_example(body, 2) if body else fields)
    return ["-H 'Content-Type: application/json'", f"-d {shlex.quote(example)}"]


def _chosen(members: Members) -> Members:
    return tuple(member for member in members if member.required)[:_MOST_FIELDS] or members[:3]


def _example(member: Parameter, depth: int, required: bool = True) -> Any:
    """Return a value of the type of a member; of objects the required fields, or else the first."""
    fields: dict[str, Any] = {}
    if depth and member.children:
        chosen = _chosen(member.children) if required else member.children[:_MOST_FIELDS]
        fields = {field.name: _example(field, depth - 1, required) for field in chosen}
    if member.type == "array":
        inside = fields or _scalar(Parameter(member.name, member.items or "string", enum=member.enum, format=member.format))
        return [inside]
    if member.type == "map":
        return {"key": fields or _scalar(Parameter("value", member.items or "string", enum=member.enum))}
    return fields if member.type == "object" else _scalar(member)


def _scalar(member: Parameter) -> Any:
    if member.default:
        return orjson.loads(member.default)
    if member.enum:
        value = member.enum[0]
        return (
            orjson.loads(value)
            if member.type in ("integer", "number", "boolean") and re.fullmatch(r"-?[1-9]\d{0,15}|0|true|false", value)
            else value
        )
    if member.type == "array":
        return []
    return _BY_FORMAT.get(member.format) or _BY_TYPE.get(member.type, "string")


def _text(member: Parameter) -> str:
    value = 1 if member.type == "number" and not (member.default or member.enum) else _example(member, 0)
    if value == "string":
        return re.sub(r"\W+", "_", member.name).strip("_").upper() or "VALUE"
    if isinstance(value, list):
        return ",".join(str(each) for each in value)
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
