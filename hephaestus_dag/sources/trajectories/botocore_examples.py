"""Trajectories from the worked examples that botocore ships beside its service models: request, call and result.

Inputs and outputs are taken as written (``data/<service>/<version>/examples-1.json``). The request is the example's own
description or title, turned into a request, followed by the values that it does not mention. The tool is the operation's
schema from the same package.
"""

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.operations import Operation
from hephaestus_dag.sources.phrasing import asked, capitalised, enumeration, first_sentence, imperative, in_words, plain
from hephaestus_dag.sources.phrasing import value_in_words as words
from hephaestus_dag.sources.reading.distributions import locate
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.tool_schemas import tool_schema
from hephaestus_dag.sources.tools import botocore
from hephaestus_dag.trajectories import Call, Message, Trajectory

_FILE = re.compile(r"(?:^|/)(?P<service>[\w.-]+)/(?P<version>\d{4}-\d{2}-\d{2})/examples-1\.json(?:\.gz)?$")


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per service that has examples: ``botocore==1.44.5/ec2``."""
    return sorted({root.item(match["service"]) for root in config.roots() for f in root.files() if (match := _FILE.search(f))})


def read_item(config: SourceConfig, item: str) -> Iterator[Trajectory | Reject]:
    """Yield one trajectory per example of a service, newest API version first, each example once.

    An example whose operation or arguments the service model does not know becomes a Reject that names them.
    """
    root, service = locate(config, item)
    files = sorted((m["version"], f) for f in root.files() if (m := _FILE.search(f)) and m["service"] == service)
    operations = _operations(config, item)
    seen: set[str] = set()
    for _, file in reversed(files):
        origin = root.item(file)
        try:
            content = (root.folder / file).read_bytes()
            examples = json.loads(gzip.decompress(content) if file.endswith(".gz") else content)["examples"]
        except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
            yield reject(config, origin, "file", f"not a file of examples: {type(error).__name__}: {error}")
            continue
        for name, written in sorted(examples.items()):
            for example in written:
                key = json.dumps([name, example.get("input"), example.get("output")], sort_keys=True)
                if key in seen:
                    continue
                seen.add(key)
                position = f"operation {name}, example {example.get('id', '?')}"
                if name not in operations:
                    yield reject(config, origin, position, "the service model has no such operation")
                elif unknown := set(example.get("input", {})) - {p.name for p in operations[name].parameters}:
                    yield reject(
                        config, origin, position, f"arguments unknown to the service model: {', '.join(sorted(unknown))}"
                    )
                else:
                    yield _trajectory(operations[name], example, config, f"{origin} {name} {example.get('id', '')}".rstrip())


def _operations(config: SourceConfig, item: str) -> dict[str, Operation]:
    """Return the newest operations of a service, by name."""
    service_items = [found for found in botocore.list_items(config) if found.rpartition("/")[0] == item]
    found = [operation for each in service_items for operation in botocore.read_operations(config, each)]
    return {operation.name: operation for operation in found if isinstance(operation, Operation)}


def _trajectory(operation: Operation, example: dict[str, Any], config: SourceConfig, origin: str) -> Trajectory:
    arguments = example.get("input", {})
    tool = tool_schema(operation, used=set(arguments))
    messages = [
        Message(role="user", content=_request(operation, example, arguments)),
        Message(role="assistant", calls=(Call(name=tool["name"], arguments=arguments),)),
    ]
    if "output" in example:
        messages.append(Message(role="tool", content=json.dumps(example["output"], ensure_ascii=False)))
    return Trajectory(
        messages=tuple(messages),
        tools=(tool,),
        source=config.name,
        origin=origin,
        license=config.license or operation.license,
        provider=operation.provider,
    )


def _request(operation: Operation, example: dict[str, Any], arguments: dict[str, Any]) -> str:
    title, description = (re.sub(r"^Example:? |(?:/n)+", "", plain(example.get(key, ""))) for key in ("title", "description"))
    sentence = first_sentence(description)
    request = (
        asked(sentence)
        or imperative(sentence)
        or imperative(title)
        or (sentence if " " in sentence else in_words(operation.name))
    )
    request = capitalised(request).rstrip(".:") + "."
    unsaid = [f"{in_words(name)} {words(value)}" for name, value in arguments.items() if words(value).strip("`") not in request]
    return f"{request} Use {enumeration(unsaid)}." if unsaid else request
