"""Tools of Model Context Protocol servers, as ``tools/list`` answers: one document per tool.

Read are files that hold the result itself (``{"tools": [...]}``), the JSON-RPC answer around it, several of them in a list
or one a line, and records that put ``serverInfo`` beside the tools. Format: https://modelcontextprotocol.io/specification.
"""

from collections.abc import Iterator
from typing import Any

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.json_schema import schema_parameters, schema_result
from hephaestus_dag.sources.naming import named_after
from hephaestus_dag.sources.operations import Operation, documentation
from hephaestus_dag.sources.reading.distributions import locate
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.reading.record_files import file_of, list_record_items, read_records

_HINTS = {
    "readOnlyHint": "It only reads.",
    "destructiveHint": "It may delete or overwrite.",
    "idempotentHint": "Calling it again changes nothing more.",
    "openWorldHint": "It reaches systems outside.",
}


list_items = list_record_items


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Return the documentation of every tool of a file."""
    return documentation(config, read_operations(config, item))


def read_operations(config: SourceConfig, item: str) -> Iterator[Operation | Reject]:
    """Yield the tools of a file; one that is malformed is set aside with its name."""
    license, file = locate(config, item)[0].license, file_of(item)
    server: dict[str, Any] = {}
    num_lists = num_malformed = 0
    for found in read_records(config, item):
        if isinstance(found, Reject):
            num_malformed += 1
            yield found
            continue
        if not _holds_tools(found.value):
            # in a recorded session the answer to initialize, which names the server, is a record of its own
            server = _server(found.value) or server
        owner, tools = _tools(found.value, server)
        num_lists += tools is not None
        for number, tool in enumerate(tools or (), 1):
            yield _operation(config, file, f"{found.position}, tool {number}", owner, tool, license)
    if not num_lists and not num_malformed:
        yield reject(config, item, "file", "no tools: neither a tools/list result nor a JSON-RPC answer that holds one")


def _tools(value: dict[str, Any], server: dict[str, Any]) -> tuple[dict[str, Any], list[Any] | None]:
    """Return the server and the tools of a result or of the answer around it; None for a record of something else."""
    server = _server(value) or server
    tools = value.get("tools")
    if isinstance(tools, list):
        return server, tools
    result = value.get("result")
    return _tools(result, server) if isinstance(result, dict) and "tools" in result else (server, None)


def _holds_tools(value: dict[str, Any]) -> bool:
    result = value.get("result")
    return "tools" in value or (isinstance(result, dict) and "tools" in result)


def _server(value: dict[str, Any]) -> dict[str, Any] | None:
    result = value.get("result")
    for holder in (value, result if isinstance(result, dict) else {}):
        for key in ("serverInfo", "server_info", "server"):
            info = holder.get(key)
            if isinstance(info, dict) and isinstance(info.get("name"), str):
                return info
            if isinstance(info, str) and info:
                return {"name": info}
    return None


def _operation(
    config: SourceConfig, file: str, position: str, server: dict[str, Any], tool: Any, license: str
) -> Operation | Reject:
    try:
        name = tool["name"]
        if not isinstance(name, str) or not name.strip():
            raise TypeError("name is not a string")
        notes = tool.get("annotations") or {}
        title = tool.get("title") or notes.get("title") or ""
        hints = [words for key, words in _HINTS.items() if notes.get(key) is True]
        described = str(tool.get("description") or title).strip()
        provider = str(server.get("name") or config.provider or named_after(file, config.name)).strip()
        returns, result, response = schema_result(tool.get("outputSchema"))
        return Operation(
            name=name,
            provider=provider,
            service=provider,
            title=str(server.get("title") or provider),
            origin=f"{file}/{position.partition(',')[0]}/{name}",
            license=license,
            description="\n\n".join([described, " ".join(hints)] if described and hints else [described]),
            parameters=schema_parameters(tool.get("inputSchema")),
            returns=returns,
            result=result,
            response=response,
        )
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        return reject(config, file, position, f"malformed tool: {type(error).__name__}: {error}")
