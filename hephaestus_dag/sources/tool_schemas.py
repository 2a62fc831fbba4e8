"""Operations as tools that a model may call: a name that is an identifier, and a schema of bounded size."""

import json
import re
from collections.abc import Collection
from typing import Any

from hephaestus_dag.sources.operations import Operation
from hephaestus_dag.sources.phrasing import in_words
from hephaestus_dag.sources.rendering import operation_schema


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
