"""AWS service models, as the botocore package ships them: one document per operation."""

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import orjson

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.operations import Operation, Parameter, documentation
from hephaestus_dag.sources.reading.distributions import locate
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.rendering.descriptions import clean_html

_TYPES = {
    "string": "string",
    "character": "string",
    "blob": "string",
    "timestamp": "string",
    "integer": "integer",
    "long": "integer",
    "bigint": "integer",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
    "list": "array",
    "map": "map",
    "structure": "object",
}


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per service, its newest API version: ``botocore==1.44.5/ec2/2016-11-15``."""
    newest: dict[tuple[str, str], str] = {}
    for root in config.roots():
        for file in root.files():
            *_, service, version, name = ("", "", *file.split("/"))
            if name in ("service-2.json", "service-2.json.gz"):
                key = root.label, service
                newest[key] = max(newest.get(key, ""), version)
    return sorted(f"{label}/{service}/{version}" for (label, service), version in newest.items())


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Return the documentation of every operation of a service."""
    return documentation(config, read_operations(config, item))


def read_operations(config: SourceConfig, item: str) -> Iterator[Operation | Reject]:
    """Yield the operations of a service; one that is malformed is set aside with its name."""
    root, file = locate(config, item)
    folder = root.folder / ("botocore/data" if root.distribution else "") / file
    packed = folder / "service-2.json.gz"
    try:
        content = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / "service-2.json").read_bytes()
        model = orjson.loads(content)
        operations = sorted(model["operations"].items())
        service = _Service(model, file.rpartition("/")[0].rpartition("/")[2])
    except orjson.JSONDecodeError as error:
        yield reject(config, item, f"line {error.lineno}", f"malformed JSON: {error.msg}")
        return
    except (EOFError, OSError, zlib.error) as error:
        yield reject(config, item, "file", f"unreadable: {error}")
        return
    except (AttributeError, LookupError, TypeError) as error:
        yield reject(config, item, "file", f"not a service model: {type(error).__name__}: {error}")
        return
    for name, operation in operations:
        try:
            yield service.operation(name, operation, f"{item}/{name}", root.license)
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            yield reject(config, f"{item}/{name}", f"operation {name}", f"malformed: {type(error).__name__}: {error}")


class _Service:
    """Turns the shapes of one service into parameters, each shape once per depth (shapes may contain themselves)."""

    def __init__(self, model: dict[str, Any], name: str) -> None:
        self.name = name
        self.shapes: dict[str, Any] = model["shapes"]
        self.title: str = model["metadata"]["serviceFullName"]
        self._members: dict[tuple[str, int], tuple[Parameter, ...]] = {}

    def operation(self, name: str, model: dict[str, Any], origin: str, license: str) -> Operation:
        """Return one operation, with its input two levels down and its output one."""
        http = model.get("http", {})
        return Operation(
            name=name,
            provider="amazonaws.com",
            title=self.title,
            service=self.name,
            origin=origin,
            license=license,
            description=clean_html(model.get("documentation", "")),
            method=http.get("method", ""),
            path=http.get("requestUri", ""),
            parameters=self.members(model["input"]["shape"], 2) if "input" in model else (),
            returns=self.members(model["output"]["shape"], 1) if "output" in model else (),
            errors=tuple(self.error(error["shape"]) for error in model.get("errors", ())),
        )

    def error(self, name: str) -> tuple[str, str]:
        """Return name and description of an error."""
        return name, clean_html(self.shapes[name].get("documentation", ""))

    def members(self, name: str, depth: int) -> tuple[Parameter, ...]:
        """Return the members of a structure, ``depth`` levels down; required ones first, else in the vendor's order."""
        key = name, depth
        if key not in self._members:
            shape = self.shapes[name]
            required = set(shape.get("required", ()))
            found = [self.parameter(n, m, n in required, depth) for n, m in shape["members"].items()]
            self._members[key] = tuple(sorted(found, key=lambda parameter: not parameter.required))
        return self._members[key]

    def parameter(self, name: str, member: dict[str, Any], required: bool, depth: int) -> Parameter:
        """Return one member."""
        shape_name = member["shape"]
        shape = self.shapes[shape_name]
        kind = _TYPES.get(shape["type"], "any")
        items, inner, inner_name = "", shape, shape_name
        if kind in ("array", "map"):
            inner_name = shape["member" if kind == "array" else "value"]["shape"]
            inner = self.shapes[inner_name]
            items = _TYPES.get(inner["type"], "any")
        described = member.get("documentation") or shape.get("documentation") or ""
        return Parameter(
            name=name,
            type=kind,
            required=required,
            description=clean_html(described),
            items=items,
            enum=tuple(str(value) for value in inner.get("enum", ())),
            children=self.members(inner_name, depth - 1) if depth and inner["type"] == "structure" else (),
        )
