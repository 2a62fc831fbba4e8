"""gRPC services from Protocol Buffers files: one document per remote procedure.

Files are read with proto-schema-parser, in Python alone: protoc would want every imported file to be there. Messages are
looked up in the file and in what it imports, as far as the source holds it. A procedure with the option ``google.api.http``
has its method and path; of others the path over gRPC is told.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from proto_schema_parser import ast

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.naming import named_after
from hephaestus_dag.sources.operations import Operation, Parameter, documentation
from hephaestus_dag.sources.proto_files import MalformedProtoError, ProtoFile, Scope, comments, option, parse_proto
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import read_text, reject

_DECLARATION = re.compile(r"^\s*(?:message|enum|extend|syntax|edition|package|import)\b", re.MULTILINE)
LARGEST_FILE = 4_000_000
"""Characters above which a file is not parsed; it becomes many documents."""

_SCALARS = {
    **dict.fromkeys(("double", "float"), "number"),
    **dict.fromkeys(
        ("int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64"), "integer"
    ),
    "bool": "boolean",
    "string": "string",
    "bytes": "string",
}
_WELL_KNOWN = {
    "google.protobuf.Timestamp": "string",
    "google.protobuf.Duration": "string",
    "google.protobuf.FieldMask": "string",
    "google.protobuf.Any": "object",
    "google.protobuf.Struct": "object",
    "google.protobuf.Empty": "object",
    "google.protobuf.Value": "any",
    "google.protobuf.NullValue": "any",
    "google.protobuf.ListValue": "array",
    "google.protobuf.DoubleValue": "number",
    "google.protobuf.FloatValue": "number",
    "google.protobuf.Int64Value": "integer",
    "google.protobuf.UInt64Value": "integer",
    "google.protobuf.Int32Value": "integer",
    "google.protobuf.UInt32Value": "integer",
    "google.protobuf.BoolValue": "boolean",
    "google.protobuf.StringValue": "string",
    "google.protobuf.BytesValue": "string",
}
"""Messages that have a JSON form of their own (https://protobuf.dev/programming-guides/json)."""
_DOMAINS = ("com", "org", "net", "io", "dev", "ai", "app", "cloud", "co", "de", "uk", "fr", "cn")


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per file."""
    return list_files(config, (".proto",))


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Return the documentation of every procedure of a file; a file without services yields nothing."""
    return documentation(config, read_operations(config, item))


def read_operations(config: SourceConfig, item: str) -> Iterator[Operation | Reject]:
    """Yield the procedures of a file; one that is malformed is set aside with its name."""
    text = read_text(config, item, LARGEST_FILE)
    if isinstance(text, Reject):
        yield text
        return
    if not re.search(r"^\s*service\s+\w", text, re.MULTILINE):
        if not _DECLARATION.search(text):
            yield reject(config, item, "file", "not Protocol Buffers: declares no service, message, enumeration or import")
        return
    root, path = locate(config, item)
    try:
        file = parse_proto(text)
        scope = Scope(file, root.folder, path)
        publisher = _publisher(file, config.provider or named_after(item, config.name))
    except MalformedProtoError as error:
        yield reject(config, item, f"line {error.line}", f"malformed: {error}")
        return
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        yield reject(config, item, "file", f"malformed: {type(error).__name__}: {error}")
        return
    for service in file.services:
        for method, described in comments(service.elements, ast.Method):
            place = f"{service.name}.{method.name}"
            try:
                yield _operation(scope, service, method, described, publisher, f"{item}/{place}", root.license)
            except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
                yield reject(config, f"{item}/{place}", f"procedure {place}", f"malformed: {type(error).__name__}: {error}")


def _operation(
    scope: Scope, service: ast.Service, method: ast.Method, described: str, publisher: str, origin: str, license: str
) -> Operation:
    full = ".".join(part for part in (scope.file.package, service.name) if part)
    host = option(service.elements, "google.api.default_host")
    host = host if isinstance(host, str) and "." in host else ""
    verb, path, body = _http(method) or ("", "", "")
    told = [described]
    if streams := [word for word, side in (("requests", method.input_type), ("responses", method.output_type)) if side.stream]:
        told.append(f"It streams {' and '.join(streams)}.")
    if not path:
        told.append(f"gRPC: `/{full}/{method.name}`")
    if option(method.elements, "deprecated") is True:
        told[0] = f"Deprecated. {described}"
    request, response = (scope.find(side.type, scope.file.package) for side in (method.input_type, method.output_type))
    placed = ((field, _location(field.name, path, body)) for field in _fields(scope, request, 2, writable=True))
    given = [replace(field, location=place, required=field.required or place == "path") for field, place in placed]
    return Operation(
        name=method.name,
        provider=".".join(host.split(":")[0].split(".")[-2:]) or publisher,
        service=re.sub(r"\.v\d+\w*(?=\.)", "", full),
        title=full,
        origin=origin,
        license=license,
        description="\n\n".join(told) if described else "",
        method=verb,
        path=path,
        server=f"https://{host}" if host and path else "",
        parameters=tuple(sorted(given, key=lambda parameter: not parameter.required)),
        returns=_fields(scope, response, 1, writable=False),
    )


def _location(name: str, path: str, body: str) -> str:
    """Return where a request over HTTP carries a field (google/api/http.proto)."""
    if not path:
        return ""
    if f"{{{name}}}" in path:
        return "path"
    if body in ("*", name):
        return "body" if body == name else ""
    return "query"


def _fields(scope: Scope, found: "tuple[str, Any] | None", depth: int, writable: bool) -> tuple[Parameter, ...]:
    """Return the fields of a message; for a request, without those that only the server writes."""
    if not found or not isinstance(found[1], ast.Message | ast.Group) or found[0] in _WELL_KNOWN:
        return ()
    fields: list[Parameter] = []
    for field, described in comments(_flattened(found[1].elements), (ast.Field, ast.MapField)):
        behaviour = str(option(field.options, "google.api.field_behavior"))
        if (writable and "OUTPUT_ONLY" in behaviour) or option(field.options, "deprecated") is True:
            continue
        fields.append(_parameter(scope, found[0], field, described, behaviour, depth, writable))
    return tuple(fields)


def _parameter(
    scope: Scope, inside: str, field: "ast.Field | ast.MapField", described: str, behaviour: str, depth: int, writable: bool
) -> Parameter:
    is_map = isinstance(field, ast.MapField)
    named = field.value_type if is_map else field.type
    cardinality = None if is_map else field.cardinality
    found = None if named in _SCALARS or named in _WELL_KNOWN else scope.find(named, inside)
    full = found[0] if found else named.lstrip(".")
    enum = found[1] if found and isinstance(found[1], ast.Enum) else None
    kind = _SCALARS.get(named) or _WELL_KNOWN.get(full) or ("string" if enum else "object")
    outer = "map" if is_map else "array" if cardinality == ast.FieldCardinality.REPEATED else ""
    values = [value.name for value, _ in comments(enum.elements, ast.EnumValue)] if enum else []
    return Parameter(
        name=field.name,
        type=outer or kind,
        required="REQUIRED" in behaviour or cardinality == ast.FieldCardinality.REQUIRED,
        description=re.sub(r"^(?:Required|Optional)\.\s+", "", described).replace("\n\n", "\n"),
        items=kind if outer else "",
        # the zero value of an enumeration says that nothing was chosen
        enum=tuple(value for value in values if not value.endswith("_UNSPECIFIED")),
        children=_fields(scope, found, depth - 1, writable) if depth else (),
    )


def _flattened(elements: list[Any]) -> Iterator[Any]:
    """Yield the elements of a message, those of a oneof after it."""
    for element in elements:
        yield element
        if isinstance(element, ast.OneOf):
            yield from element.elements


def _http(method: ast.Method) -> tuple[str, str, str] | None:
    """Return verb, path and which field is the body, as the option for HTTP has them; None without the option."""
    rule = option(method.elements, "google.api.http")
    if not isinstance(rule, ast.MessageLiteral):
        return None
    given = {part.name: part.value for part in rule.elements if isinstance(part, ast.MessageLiteralField)}
    for verb in ("get", "post", "put", "patch", "delete"):
        if isinstance(path := given.get(verb), str):
            return verb.upper(), re.sub(r"\{([\w.]+)=[^{}]*\}", r"{\1}", path), str(given.get("body", ""))
    return None


def _publisher(file: ProtoFile, otherwise: str) -> str:
    """Return who publishes a file: the domain of its Java package, the owner of its Go package, or its first name."""
    java = file.options.get("java_package")
    first, _, rest = java.partition(".") if isinstance(java, str) else ("", "", "")
    if first in _DOMAINS and rest:
        return f"{rest.partition('.')[0]}.{first}"
    go = file.options.get("go_package")
    parts = go.split(";")[0].split("/") if isinstance(go, str) else []
    if len(parts) > 1 and "." in parts[0]:
        return parts[1] if parts[0] in ("github.com", "gitlab.com", "bitbucket.org") else ".".join(parts[0].split(".")[-2:])
    return file.package.partition(".")[0] or otherwise
