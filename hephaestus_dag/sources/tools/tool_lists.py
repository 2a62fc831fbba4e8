"""Lists of functions that a model may call: one document per function.

Read are OpenAI's tools, bare lists of functions with a JSON Schema, Anthropic's tools, records of API catalogues
(name, what it does, arguments as an object or a list), in JSON, JSON lines or tables, also as a member of larger records
(``tools`` or ``functions``, there also as a string of JSON). What is called what differs: see the names below.
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.json_schema import json_type, schema_parameters, schema_result
from hephaestus_dag.sources.naming import named_after
from hephaestus_dag.sources.operations import Operation, Parameter, documentation
from hephaestus_dag.sources.reading.distributions import locate
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.reading.record_files import file_of, list_record_items, read_records

_NAMES = ("name", "api_name", "name_for_model", "function_name", "id")
_DESCRIPTIONS = ("description", "desc", "description_for_model", "functionality", "api_description", "summary")
_PARAMETERS = (
    "parameters",
    "input_schema",
    "inputSchema",
    "api_arguments",
    "arguments",
    "input_parameters",
    "params",
    "args",
    "input-type",
)
_RETURNS = ("output_schema", "outputSchema", "returns", "response", "results", "output_parameters", "output-type")
_LISTS = ("tools", "functions", "function", "nodes", "apis", "api_list", "tool_list", "items", "entries", "data")
_REQUEST = re.compile(r"(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS)\s+(?:https?://[^/\s]+)?(/\S*)")
_TYPED = re.compile(
    r"(?:\[(?P<required>required|optional)\]\s*)?(?P<type>[a-z]\w*(?:\[[\w ,]+\])?)(?::\s*(?P<text>.*))?", re.I | re.S
)


list_items = list_record_items


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Return the documentation of every function of a file."""
    return documentation(config, read_operations(config, item))


def read_operations(config: SourceConfig, item: str) -> Iterator[Operation | Reject]:
    """Yield the functions of a file; one that is malformed is set aside with its place."""
    license, file = locate(config, item)[0].license, file_of(item)
    for found in read_records(config, item):
        if isinstance(found, Reject):
            yield found
            continue
        records = list(_records(found.value))
        if not records:
            yield reject(config, file, found.position, "no functions: no name, and no list of functions inside")
        for number, record in enumerate(records, 1):
            position = found.position if len(records) == 1 else f"{found.position}, function {number}"
            origin = f"{file}/{position.replace(', ', '/')}"
            try:
                yield _operation(record, origin, config.provider or named_after(file, config.name), license)
            except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
                yield reject(config, file, position, f"malformed function: {type(error).__name__}: {error}")


def _records(value: Any, depth: int = 4) -> Iterator[Any]:
    """Yield the functions in a JSON value, however they are wrapped."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return
    if not depth:
        return
    if isinstance(value, list):
        for each in value:
            if isinstance(each, dict):
                yield from _records(each, depth - 1)
    elif isinstance(value, dict):
        if isinstance(value.get("function"), dict):
            yield value["function"]
        elif any(isinstance(value.get(key), str) for key in _NAMES) and not isinstance(value.get("tools"), list):
            yield value
        else:
            for key in _LISTS:
                if key in value:
                    yield from _records(value[key], depth - 1)


def _operation(record: dict[str, Any], origin: str, owner: str, license: str) -> Operation:
    name = next((record[key].strip() for key in _NAMES if isinstance(record.get(key), str)), "")
    if not name:
        raise ValueError("no name")
    # catalogues name an API with its vendor: `Zoom Account API - Information Barriers: InformationBarriersUpdate`
    vendor, dash, rest = name.partition(" - ")
    title, _, short = rest.rpartition(": ") if dash else ("", "", name)
    request = _REQUEST.fullmatch(str(record.get("api_call") or "").strip())
    provider = vendor if dash else owner
    called = record.get("api_call") if not request else None
    described = re.sub(r"\s*\n\s*?\n\s*", "\n\n", str(_first(record, _DESCRIPTIONS) or "")).strip()
    if isinstance(called, str) and called.strip() and described:
        described += f"\n\nCall: `{called.strip()}`"
    returns, result, response = schema_result(_schema(_first(record, _RETURNS)))
    return Operation(
        name=short.strip() or name,
        provider=provider,
        service=title.strip() or provider,
        title=f"{vendor}: {title}" if title.strip() else re.sub(r"[_-]+", " ", provider),
        origin=origin,
        license=license,
        description=described,
        method=request[1] if request else "",
        path=request[2] if request else "",
        parameters=_parameters(record),
        returns=returns,
        result=result,
        response=response,
    )


def _parameters(record: dict[str, Any]) -> tuple[Parameter, ...]:
    if "required_parameters" in record or "optional_parameters" in record:
        required, optional = (_schema(record.get(f"{word}_parameters") or {}) for word in ("required", "optional"))
        members = {**required.get("properties", {}), **optional.get("properties", {})}
        return schema_parameters({"properties": members, "required": list(required.get("properties", {}))})
    return schema_parameters(_schema(_first(record, _PARAMETERS)))


def _first(record: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((record[key] for key in keys if record.get(key)), None)


def _schema(given: Any) -> dict[str, Any]:
    """Return what declares parameters as a JSON Schema.

    Known are a JSON Schema, an object of names with a schema, words (``[REQUIRED] integer: How many.``) or an example,
    a list of records or names, and any of them as a string of JSON. Other strings (``N/A``) declare nothing.
    """
    if isinstance(given, str):
        given = orjson.loads(given) if given.lstrip()[:1] in ("{", "[") else None
    if isinstance(given, dict):
        if isinstance(given.get("properties"), dict) or given.get("type") in ("object", "dict") or "$ref" in given:
            return given
        return {"properties": {name: _member(each) for name, each in given.items()}}
    if isinstance(given, list):
        named = [(_first(each, ("name", "id")) if isinstance(each, dict) else each, each) for each in given]
        return {"properties": {str(name): _member(each) for name, each in named if isinstance(name, str)}}
    if given is None:
        return {}
    raise TypeError(f"parameters is a {type(given).__name__}, not an object or a list")


def _member(given: Any) -> dict[str, Any]:
    if isinstance(given, dict):
        kind = _first(given, ("type", "data_type", "datatype"))
        return {**given, "type": kind, "description": _first(given, _DESCRIPTIONS)}
    if not isinstance(given, str):
        return {} if isinstance(given, list) else {"default": given}
    words = _TYPED.fullmatch(given.strip())
    if words and json_type(words["type"]) != "any":
        required = (words["required"] or "").lower() == "required"
        return {"type": words["type"], "description": words["text"] or "", "required": required}
    return {"description": given} if " " in given else {}
