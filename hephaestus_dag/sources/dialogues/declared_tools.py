"""Reads the tools that a record declares, in the shapes that formats use, as one shape with a JSON Schema.

What is normalised: wrappers (OpenAI's ``{"type": "function", "function": ...}``, MCP's ``inputSchema``, xLAM's bare
mapping of parameters) and the type words of other languages (``dict``, ``float``, ``int``, ``List[str]``, ...), which
ToolACE, BFCL and xLAM write instead of JSON Schema's, as well as ``required`` written as a flag on a parameter. Nothing
else is repaired: a schema that is still broken sets its trajectory aside, see ``validation``.
"""

import re
from typing import Any

from hephaestus_dag.sources.dialogues.tool_calls import LONGEST, MalformedError, bounded, closing, parse_json, parse_literal

_TYPES = {
    "object": ("object", "dict", "dictionary", "map", "hashmap", "struct", "json"),
    "array": ("array", "list", "tuple", "set", "arraylist", "sequence"),
    "string": ("string", "str", "text", "char", "date", "datetime", "time"),
    "number": ("number", "float", "double", "decimal"),
    "integer": ("integer", "int", "long", "short", "byte"),
    "boolean": ("boolean", "bool"),
    "null": ("null", "none", "nonetype"),
    "": ("any", "object or array", "mixed", ""),
}
TYPE_OF_WORD = {word: kind for kind, words in _TYPES.items() for word in words}
"""Word for a type, lower case -> JSON Schema's; the empty string for no constraint."""

_GENERIC = re.compile(r"(\w+)\s*\[(.*)\]", re.DOTALL)
_LIST = re.compile(r"\[\s*\{")
_NAMED_SOON = re.compile(r"""["']name["']""")
_ONE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions")


def declared_tools(value: Any) -> tuple[dict[str, Any], ...]:
    """Return tools as ``{"name", "description", "parameters"}``; the same tool declared again is left out.

    ``value`` is a list of tools, one tool, JSON of either, or None. Raises MalformedError.
    """
    if isinstance(value, str):
        value = parse_json(value) if value.strip() else None
    if value is None:
        return ()
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise MalformedError(f"tools: not a list but {type(value).__name__}")
    tools: list[dict[str, Any]] = []
    for each in value:
        tool = _tool(parse_json(each) if isinstance(each, str) else bounded(each))
        if tool not in tools:
            tools.append(tool)
    return tuple(tools)


def _tool(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"].strip():
        raise MalformedError(f"tools: a tool without a name: {repr(value)[:80]}")
    name = value["name"].strip()
    given = next((value[key] for key in ("parameters", "input_schema", "inputSchema") if value.get(key)), None) or {}
    if isinstance(given, str):
        given = parse_json(given)
    if not isinstance(given, dict):
        raise MalformedError(f"tools: the parameters of {name} are not an object")
    if not isinstance(given.get("properties"), dict) and all(isinstance(each, dict) for each in given.values()):
        given = {"type": "object", "properties": given}  # xLAM: parameters by name
    required = value.get("required")
    if isinstance(required, list) and "required" not in given:  # ToolACE writes it beside the parameters
        given = {**given, "required": required}
    schema = {"type": "object", "properties": {}, **normalised(given)}
    description = value.get("description")
    return {"name": name, "description": description if isinstance(description, str) else "", "parameters": schema}


def embedded_tools(text: str) -> tuple[tuple[dict[str, Any], ...], str]:
    """Return the tools that stand in a prompt as a list, in JSON or as Python literals, and the prompt without the list.

    Raises MalformedError for a list of tools that cannot be read.
    """
    for match in list(_LIST.finditer(text[:LONGEST]))[:20]:
        if not _NAMED_SOON.search(text, match.start(), match.start() + 400):
            continue
        written = text[match.start() : closing(text, match.start())]
        if _NAMED_SOON.search(written):
            return declared_tools(_json_or_literal(written)), text.replace(written, "", 1)
    return (), text


def _json_or_literal(text: str) -> Any:
    try:
        return parse_json(text)
    except MalformedError:
        return parse_literal(text)


def normalised(schema: Any) -> Any:
    """Return a JSON Schema with its type words and flags of ``required`` made those of JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        found |= _type(value) if key == "type" else {key: value}
    if found.get("required", ()) is None or isinstance(found.get("required"), bool):
        del found["required"]
    for key in _ONE:
        if key in found:
            found[key] = normalised(found[key])
    for key in _SEVERAL:
        if isinstance(found.get(key), list):
            found[key] = [normalised(each) for each in found[key]]
    for key in _NAMED:
        if isinstance(found.get(key), dict):
            flagged = [n for n, each in found[key].items() if isinstance(each, dict) and each.get("required") is True]
            found[key] = {name: normalised(each) for name, each in found[key].items()}
            if key == "properties" and flagged:
                written = found.get("required")
                found["required"] = list(dict.fromkeys([*(written if isinstance(written, list) else []), *flagged]))
    return found


def _type(word: Any) -> dict[str, Any]:
    """Return what constrains a value to a type: ``{"type": ...}``, with ``items`` for ``List[int]``, or nothing."""
    if isinstance(word, list):
        kinds = [TYPE_OF_WORD.get(each.strip().lower(), each) if isinstance(each, str) else each for each in word]
        return {} if "" in kinds else {"type": kinds}
    if not isinstance(word, str):
        return {"type": word}
    plain = re.sub(r",\s*optional\b.*$", "", word.strip(), flags=re.IGNORECASE).strip()
    if plain.lower() in TYPE_OF_WORD:
        kind = TYPE_OF_WORD[plain.lower()]
        return {"type": kind} if kind else {}
    match = _GENERIC.fullmatch(plain)
    outer, inner = (match[1].lower(), match[2].strip()) if match else ("", "")
    if outer == "optional":
        return {key: [value, "null"] if isinstance(value, str) else value for key, value in _type(inner).items()}
    if outer == "union":
        return {}  # its members may be of any depth; arguments are checked by the types that can be told
    if outer and TYPE_OF_WORD.get(outer) == "array":
        return {"type": "array"} | ({"items": items} if "," not in inner and (items := _type(inner)) else {})
    return {"type": "object"} if outer and TYPE_OF_WORD.get(outer) == "object" else {"type": word}
