"""An operation as programmers declare it: a Python signature with docstring, and a TypeScript declaration."""

import json
from collections.abc import Iterator

from hephaestus_dag.sources.operations import Operation, Parameter
from hephaestus_dag.sources.rendering.descriptions import shorten
from hephaestus_dag.sources.rendering.parts import (
    Detail,
    Members,
    allowed,
    call,
    identifier,
    indented,
    once_per_members,
    required_first,
    shown_format,
    with_allowed,
)

_PYTHON = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
    "map": "dict",
}
_TYPESCRIPT = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "array": "unknown[]",
    "object": "object",
    "map": "Record<string, unknown>",
}
_MOST_LITERALS = 16
_WIDTH = 100


def signature_page(operation: Operation, detail: Detail) -> str:
    """Return an operation as a Python signature with a docstring in Google's style."""
    members = required_first(operation.parameters)
    shown = [f"{identifier(m.name)}: {_annotation(m)}{_python_default(m)}" for m in members[: detail.most]]
    if len(members) > detail.most:
        shown.append("**options: Any")
    name = ".".join(identifier(part) for part in operation.name.split(".") if part) or identifier(operation.name)
    kind, _, items = operation.result.partition(" of ")
    result = _hint(kind, items) if kind else "dict" if operation.returns else "Any"  # nothing is said, which is not None
    head = f"{name}({', '.join(shown)}) -> {result}"
    if len(head) > _WIDTH:
        head = f"{name}(\n    " + ",\n    ".join(shown) + f",\n) -> {result}"
    lines = [head, *indented(shorten(operation.description, 4 * detail.longest))]
    place = f" ({call(operation)})" if operation.path else ""
    renamed = f"{operation.name} of " if name != operation.name else ""
    lines += ["", *indented(f"Service: {renamed}{operation.title}{place}")]
    if members:
        lines += ["", "    Args:", *indented(_arguments(members[: detail.most], detail), 8)]
    told = shorten(operation.response, detail.longest // 3)
    if operation.returns or told:
        fields = _arguments(operation.returns[: detail.most], detail.of_result()._replace(depth=0)) if operation.returns else ""
        lines += ["", "    Returns:", *indented("\n".join(filter(None, (told, fields))), 8)]
    if operation.errors:
        raised = (f"{name}: {shorten(text, detail.longest // 3)}" if text else name for name, text in operation.errors)
        lines += ["", "    Raises:", *indented("\n".join(raised), 8)]
    return "\n".join(lines)


def _hint(kind: str, items: str) -> str:
    inner = _PYTHON.get(items, "Any")
    if kind == "array":
        return f"list[{inner}]"
    return f"dict[str, {inner}]" if kind == "map" else _PYTHON.get(kind, "Any")


def _annotation(member: Parameter) -> str:
    return _hint(member.type, member.items)


def _python_default(member: Parameter) -> str:
    if member.required:
        return ""
    if not member.default or member.type in ("array", "map", "object"):
        return " | None = None"
    return f" = {json.loads(member.default)!r}"


@once_per_members
def _arguments(members: Members, detail: Detail) -> str:
    lines: list[str] = []
    for member in members:
        said = with_allowed(shorten(member.description, detail.longest), member).replace("\n", "\n    ")
        name = identifier(member.name)
        if name != member.name:
            said = f"`{member.name}`: {said}" if said else f"`{member.name}`"
        kind = ", ".join(filter(None, (_annotation(member), shown_format(member), "required" if member.required else "")))
        lines.append(f"{name} ({kind}){': ' if said else ''}{said}")
        if detail.depth and member.children:
            inside = _arguments(member.children[: detail.inside().most], detail.inside())
            lines.append("    " + inside.replace("\n", "\n    "))
    return "\n".join(lines)


def typescript_page(operation: Operation, detail: Detail) -> str:
    """Return an operation as a TypeScript declaration with comments."""
    described = shorten(operation.description, 4 * detail.longest).split("\n")
    if told := shorten(operation.response, detail.longest // 3):
        described += ["", *f"@returns {told}".split("\n")]
    for name, text in operation.errors:
        described += f"@throws {name} {shorten(text, detail.longest // 3)}".strip().split("\n")
    lines = [f"// {operation.title}{': ' if operation.path else ''}{call(operation)}", "/**"]
    lines += [f" * {_in_comment(line)}".rstrip() for line in described]
    lines.append(" */")
    members = required_first(operation.parameters)
    name = identifier(operation.name)
    if name != operation.name:
        lines.insert(0, f"// {operation.name}")
    given = f"params: {_interface(members, detail)}" if members else ""
    kind, _, items = operation.result.partition(" of ")
    result = _wrapped(kind or "object", items, _interface(operation.returns, detail.of_result()) if operation.returns else "")
    result = result if operation.returns or kind else "unknown"
    lines.append(f"declare function {name}({given}): Promise<{result}>;")
    return "\n".join(lines)


@once_per_members
def _interface(members: Members, detail: Detail) -> str:
    return "\n".join(("{", *(f"  {line}" for line in _properties(members, detail)), "}"))


def _properties(members: Members, detail: Detail) -> Iterator[str]:
    for member in members[: detail.most]:
        literals = _literals(member)
        said = (
            shorten(member.description, detail.longest)
            if literals
            else with_allowed(shorten(member.description, detail.longest), member)
        )
        if literals and member.default:
            said = f"{said} {allowed(_without_values(member))}".strip()
        if shown := shown_format(member):
            said = f"{said} ({shown})" if said else shown
        yield from _comment(said)
        inside = _interface(member.children, detail.inside()) if detail.depth and member.children else ""
        name = member.name if member.name.isidentifier() else json.dumps(member.name, ensure_ascii=False)
        yield from f"{name}{'' if member.required else '?'}: {_wrapped(member.type, member.items, inside, literals)};".split(
            "\n"
        )
    if left := members[detail.most :]:
        yield f"// and {len(left)} more: {', '.join(member.name for member in left)}"


def _without_values(member: Parameter) -> Parameter:
    return Parameter(member.name, member.type, description=member.description, default=member.default)


def _wrapped(kind: str, items: str, inside: str, literals: str = "") -> str:
    if kind == "array":
        return (
            f"{inside}[]"
            if inside
            else f"({literals})[]"
            if " " in literals
            else f"{literals or _TYPESCRIPT.get(items, 'unknown')}[]"
        )
    if kind == "map":
        return f"Record<string, {inside or literals or _TYPESCRIPT.get(items, 'unknown')}>"
    return literals or (inside if kind == "object" and inside else _TYPESCRIPT.get(kind, "unknown"))


def _literals(member: Parameter) -> str:
    if not 0 < len(member.enum) <= _MOST_LITERALS:
        return ""
    kind = member.items if member.type in ("array", "map") else member.type
    bare = kind in ("integer", "number", "boolean")
    return " | ".join(value if bare else json.dumps(value, ensure_ascii=False) for value in member.enum)


def _comment(text: str) -> Iterator[str]:
    lines = _in_comment(text).split("\n")
    if len(lines) > 1:
        yield from ("/**", *(f" * {line}".rstrip() for line in lines), " */")
    elif text:
        yield f"/** {lines[0]} */"


def _in_comment(text: str) -> str:
    return text.replace("*/", "*\\/")
