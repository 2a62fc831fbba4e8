"""Operations as tools that a model may call: a name that is an identifier, and a schema of bounded size."""

import json
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from hephaestus_dag.sources.operations import Operation
from hephaestus_dag.sources.phrasing import in_words
from hephaestus_dag.sources.rendering.formats import operation_schema


def tool_name(operation: Operation) -> str:
    """Return a name that is also a Python identifier: ``ec2_run_instances``, ``compute_instances_insert``."""
    name = operation.name if operation.name.startswith(f"{operation.service}.") else f"{operation.service} {operation.name}"
    return re.sub(r"\W+", "_", in_words(name))


def tool_schema(operation: Operation, used: Collection[str] = (), longest: int = 6_000) -> dict[str, Any]:
    """Return ``{"name", "description", "parameters"}``, in at most about ``longest`` characters of JSON.

    Nested members go first, then long descriptions, then optional parameters that are not ``used``.
    """
    schema: dict[str, Any] = {}
    for depth, characters in ((2, 400), (1, 200), (1, 100), (0, 100)):
        schema = operation_schema(operation, depth, characters)
        if len(json.dumps(schema)) <= longest:
            break
    else:
        parameters = schema["parameters"]
        kept = {n: p for n, p in parameters["properties"].items() if n in used or n in parameters["required"]}
        schema["parameters"] = {**parameters, "properties": kept}
    return {**schema, "name": tool_name(operation)}


def tool_with_returns(operation: Operation, longest: int = 6_000) -> dict[str, Any]:
    """Return a tool schema that also holds ``returns``, a JSON Schema of what comes back, ``service`` and ``operation``.

    The last two are the names that the provider uses. A result that is not one object is not described.
    """
    fields = () if operation.result else operation.returns
    result = operation_schema(replace(operation, parameters=fields), depth=1, longest=120)
    tool = tool_schema(operation, longest=longest)
    return {**tool, "returns": result["parameters"], "service": operation.service, "operation": operation.name}


def trim_tool(tool: dict[str, Any], used: Collection[str], returned: Collection[str], longest: int) -> dict[str, Any]:
    """Return a tool schema in about ``longest`` characters of JSON: what is neither used nor returned goes first.

    Left out are, until it fits: fields of ``returns`` that are not ``returned``, and parameters that are neither ``used``
    nor required, the last ones first. What is left is still true, and describes less.
    """
    members = [("returns", name) for name in tool.get("returns", {}).get("properties", {}) if name not in returned]
    required = tool["parameters"].get("required", [])
    spare = [("parameters", name) for name in tool["parameters"]["properties"] if name not in (*used, *required)]
    over = len(json.dumps(tool)) - longest
    for part, name in [*reversed(members), *reversed(spare)]:
        if over <= 0:
            break
        kept = {n: schema for n, schema in tool[part]["properties"].items() if n != name}
        over -= len(json.dumps({name: tool[part]["properties"][name]}))
        tool = {**tool, part: {**tool[part], "properties": kept}}
    return tool
