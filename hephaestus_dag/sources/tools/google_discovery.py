"""Google discovery documents, as google-api-python-client ships them: one document per method."""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.operations import Operation, Parameter, documentation
from hephaestus_dag.sources.reading.distributions import locate
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.rendering.descriptions import clean_html

_SAID_ELSEWHERE = re.compile(r"(?:(?:Required|Optional|Immutable|Output only)\.\s+)*(?:Required|Optional)\.(?:\s+|$)")
_INSIDE_PACKAGE = "googleapiclient/discovery_cache/documents"


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per API version: ``google-api-python-client==2.202.0/compute.v1``."""
    items: list[str] = []
    for root in config.roots():
        inside = f"{_INSIDE_PACKAGE}/" if root.distribution else ""
        files = (file for file in root.files() if file.startswith(inside) and file.endswith(".json"))
        items += [root.item(file.removeprefix(inside).removesuffix(".json")) for file in files]
    return sorted(item for item in items if not item.endswith("/index"))


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Return the documentation of every method of an API."""
    return documentation(config, read_operations(config, item))


def read_operations(config: SourceConfig, item: str) -> Iterator[Operation | Reject]:
    """Yield the methods of an API; one that is malformed is set aside with its name."""
    root, name = locate(config, item)
    path = root.folder / (_INSIDE_PACKAGE if root.distribution else "") / f"{name}.json"
    try:
        model = orjson.loads(path.read_bytes())
        api = _Api(model)
        methods = list(_methods(model))
    except orjson.JSONDecodeError as error:
        yield reject(config, item, f"line {error.lineno}", f"malformed JSON: {error.msg}")
        return
    except (AttributeError, LookupError, TypeError, RecursionError) as error:
        yield reject(config, item, "file", f"not a discovery document: {type(error).__name__}: {error}")
        return
    for place, method in methods:
        origin = f"{item}/{place}"
        try:
            yield api.operation(method, origin, root.license)
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            yield reject(config, origin, f"method {place}", f"malformed: {type(error).__name__}: {error}")


def _methods(resource: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, method in sorted(resource.get("methods", {}).items()):
        yield place + name, method
    for name, inner in sorted(resource.get("resources", {}).items()):
        yield from _methods(inner, f"{place}{name}.")


class _Api:
    """Turns the schemas of one API into parameters, each schema once per depth (schemas may contain themselves)."""

    def __init__(self, model: dict[str, Any]) -> None:
        self.name: str = model["name"]
        self.title: str = model.get("title") or self.name
        self.base = f"/{model.get('servicePath', '')}".replace("//", "/")
        self.schemas: dict[str, Any] = model.get("schemas", {})
        self._fields: dict[tuple[str, int, bool], tuple[Parameter, ...]] = {}

    def operation(self, method: dict[str, Any], origin: str, license: str) -> Operation:
        """Return one method; the request body is a parameter called ``body``, two levels deep."""
        given = [self.parameter(name, schema, 0, writable=True) for name, schema in method.get("parameters", {}).items()]
        if request := method.get("request"):
            described = self.schemas[request["$ref"]].get("description", "") if "$ref" in request else ""
            body = {"description": described, **request, "required": True}
            given.append(self.parameter("body", body, 2, writable=True))
        response = self.parameter("response", method.get("response", {}), 2, writable=False)
        return Operation(
            name=method["id"],
            provider="googleapis.com",
            title=self.title,
            service=self.name,
            origin=origin,
            license=license,
            description=_clean(method.get("description", "")),
            method=method.get("httpMethod", ""),
            path=self.base + (method.get("flatPath") or method["path"]),
            parameters=tuple(sorted(given, key=lambda parameter: not parameter.required)),
            returns=response.children,
        )

    def fields(self, name: str, depth: int, writable: bool) -> tuple[Parameter, ...]:
        """Return the fields of a named schema; for a request, without those that only the server writes."""
        key = name, depth, writable
        if key not in self._fields:
            self._fields[key] = self.properties(self.schemas[name], depth, writable)
        return self._fields[key]

    def properties(self, schema: dict[str, Any], depth: int, writable: bool) -> tuple[Parameter, ...]:
        """Return the fields of a schema."""
        fields = schema.get("properties", {}).items()
        kept = [(n, f) for n, f in fields if not (writable and _read_only(f))]
        return tuple(self.parameter(n, f, depth, writable) for n, f in kept)

    def parameter(self, name: str, schema: dict[str, Any], depth: int, writable: bool) -> Parameter:
        """Return one parameter or field with what is inside it, ``depth`` levels down."""
        kind, inner = self.kind(schema), schema
        if schema.get("repeated"):
            kind, items = "array", self.kind(schema)
        elif kind == "array":
            inner = schema["items"]
            items = self.kind(inner)
        elif kind == "map":
            inner = schema["additionalProperties"]
            items = self.kind(inner)
        else:
            items = ""
        children: tuple[Parameter, ...] = ()
        if depth and "$ref" in inner:
            children = self.fields(inner["$ref"], depth - 1, writable)
        elif depth and "properties" in inner:
            children = self.properties(inner, depth - 1, writable)
        description = _clean(schema.get("description", ""))
        return Parameter(
            name=name,
            type=kind,
            required=bool(schema.get("required")) or description.startswith("Required."),
            description=_SAID_ELSEWHERE.sub("", description),
            items=items,
            enum=tuple(str(value) for value in inner.get("enum", ())),
            children=children,
        )

    def kind(self, schema: dict[str, Any]) -> str:
        """Return the type of a schema in the words of ``Parameter.type``."""
        if "$ref" in schema:
            target = self.schemas[schema["$ref"]]
            return "object" if "properties" in target else target.get("type", "object")
        if schema.get("type") == "object":
            return "map" if schema.get("additionalProperties") else "object"
        return schema.get("type", "any")


def _read_only(schema: dict[str, Any]) -> bool:
    return bool(schema.get("readOnly")) or schema.get("description", "").startswith(("Output only.", "[Output"))


def _clean(text: str) -> str:
    # most descriptions are Markdown or prose wrapped at 80 columns, some are HTML
    return clean_html(text) if "</" in text or "<br" in text else "\n".join(" ".join(p.split()) for p in text.split("\n\n"))
