"""GraphQL APIs, from introspection results (JSON) or schema files (SDL): one document per query, mutation or subscription.

A schema file may extend types of, and name types in, the other schema files of its folder.
"""

import codecs
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from graphql import GraphQLError, TypeNode, parse, print_ast
from graphql.language import ast

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.naming import named_after
from hephaestus_dag.sources.operations import Operation, Parameter, documentation
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import reject

_SDL = (".graphql", ".graphqls", ".gql")
_SCALARS = {"Int": "integer", "Float": "number", "Boolean": "boolean", "String": "string", "ID": "string"}
_ROOTS = {"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}
_MOST_ARGUMENTS = 6
"""Arguments above which the declaration of a field is not repeated in its description."""
_DEEPEST_WRAPPING = 8

Types = dict[str, dict[str, Any]]
"""Type name -> the type as introspection describes it: kind, description, fields, inputFields, enumValues."""


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per file."""
    return list_files(config, (*_SDL, ".json"))


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Return the documentation of every operation of a schema."""
    return documentation(config, read_operations(config, item))


def read_operations(config: SourceConfig, item: str) -> Iterator[Operation | Reject]:
    """Yield the operations of a schema, without those deprecated; one that is malformed is set aside with its name."""
    root, file = locate(config, item)
    try:
        content = (root.folder / file).read_bytes()
        if file.endswith(".json"):
            own, roots = _introspected(content.removeprefix(codecs.BOM_UTF8))
            types = own
        else:
            own, roots = _declared(content.decode("utf-8-sig"))
            # what another file of the folder adds to a type of this one is that file's to describe
            types = own if _complete(own) else _folder_types((root.folder / file).parent) | own
    except orjson.JSONDecodeError as error:
        yield reject(config, item, f"line {error.lineno}", f"malformed JSON: {error.msg}")
        return
    except UnicodeDecodeError as error:
        yield reject(config, item, f"byte {error.start}", f"not UTF-8: {error.reason}")
        return
    except GraphQLError as error:
        line = error.locations[0].line if error.locations else 1
        yield reject(config, item, f"line {line}", f"malformed schema: {error.message}")
        return
    except OSError as error:
        yield reject(config, item, "file", f"unreadable: {error.strerror}")
        return
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        yield reject(config, item, "file", f"not a GraphQL schema: {type(error).__name__}: {error}")
        return
    api = _Api(types, item, config.provider or named_after(item, config.name), root.license)
    for verb, name in roots.items():
        fields = own.get(name, {}).get("fields")
        for number, field in enumerate(fields if isinstance(fields, list) else (), 1):
            called = field.get("name") if isinstance(field, dict) else None
            try:
                if not field.get("isDeprecated"):
                    yield api.operation(verb, field)
            except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
                place = f"{verb} {called or number}"
                yield reject(config, f"{item}/{place.replace(' ', '/')}", place, f"malformed: {type(error).__name__}: {error}")


class _Api:
    """Turns the types of one schema into parameters, each type once per depth (types may contain themselves)."""

    def __init__(self, types: Types, item: str, provider: str, license: str) -> None:
        self.types = types
        self.item = item
        self.provider = provider
        self.license = license
        self._members: dict[tuple[str, str, int], tuple[Parameter, ...]] = {}

    def operation(self, verb: str, field: dict[str, Any]) -> Operation:
        """Return one field of a root type, with its arguments two levels down and the fields of its result."""
        name = _name(field)
        arguments = [self.parameter(argument, 2, "inputFields") for argument in field.get("args") or ()]
        result = self.parameter({**field, "description": "", "defaultValue": None}, 1, "fields")
        description = _text(field)
        if description:
            given = ", ".join(f"{_name(a)}: {_written(a['type'])}" for a in field.get("args") or ())
            call = f"{name}({given})" if given else name
            shown = call if len(arguments) <= _MOST_ARGUMENTS else f"{name}(...)"
            description += f"\n\nGraphQL: `{shown}: {_written(field['type'])}`"
        return Operation(
            name=name,
            provider=self.provider,
            service=verb,
            title=f"{self.provider} GraphQL {verb}",
            origin=f"{self.item}/{verb}/{name}",
            license=self.license,
            description=description,
            parameters=tuple(sorted(arguments, key=lambda argument: not argument.required)),
            returns=result.children,
            result=f"array of {result.items}" if result.items else "" if result.type in ("object", "any") else result.type,
        )

    def members(self, name: str, part: str, depth: int) -> tuple[Parameter, ...]:
        """Return the fields of an object, or the input fields of an input object, without those deprecated."""
        key = name, part, depth
        if key not in self._members:
            members = self.types.get(name, {}).get(part) or ()
            found = [self.parameter(member, depth, part) for member in members if not member.get("isDeprecated")]
            self._members[key] = tuple(sorted(found, key=lambda p: not p.required)) if part == "inputFields" else tuple(found)
        return self._members[key]

    def parameter(self, member: dict[str, Any], depth: int, part: str) -> Parameter:
        """Return one argument, input field or field of a result."""
        name, is_list = _unwrapped(member["type"])
        described = self.types.get(name, {})
        kind = _SCALARS.get(name) or {"ENUM": "string", "SCALAR": "string", None: "any"}.get(described.get("kind"), "object")
        default = member.get("defaultValue")
        values = [value for value in described.get("enumValues") or () if not value.get("isDeprecated")]
        return Parameter(
            name=_name(member),
            type="array" if is_list else kind,
            required=part == "inputFields" and member["type"].get("kind") == "NON_NULL" and default is None,
            description=_text(member).replace("\n\n", "\n"),
            default=_default(default),
            items=kind if is_list else "",
            enum=tuple(_name(value) for value in values),
            children=self.members(name, part, depth - 1) if depth else (),
        )


def _name(member: dict[str, Any]) -> str:
    if not isinstance(member["name"], str) or not member["name"]:
        raise TypeError("name is not a string")
    return member["name"]


def _text(member: dict[str, Any]) -> str:
    text = member.get("description") or ""
    if not isinstance(text, str):
        raise TypeError("description is not a string")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n")).strip()


def _default(written: Any) -> str:
    """Return a default as JSON, which that of an enumeration is not; empty for an object, which GraphQL writes otherwise."""
    if not isinstance(written, str) or written in ("", "null"):
        return ""
    try:
        return orjson.dumps(orjson.loads(written)).decode()
    except orjson.JSONDecodeError:
        return orjson.dumps(written).decode() if written.isidentifier() else ""


def _unwrapped(reference: dict[str, Any]) -> tuple[str, bool]:
    """Return the name of the type that a reference wraps, and whether it is inside a list."""
    is_list = False
    for _ in range(_DEEPEST_WRAPPING):
        if not reference.get("ofType"):
            return _name(reference), is_list
        is_list = is_list or reference.get("kind") == "LIST"
        reference = reference["ofType"]
    raise ValueError("a type is wrapped too often")


def _written(reference: dict[str, Any]) -> str:
    """Return a type reference in GraphQL's own words: ``[String!]!``."""
    inner = reference.get("ofType")
    if reference.get("kind") == "NON_NULL" and inner:
        return f"{_written(inner)}!"
    return f"[{_written(inner)}]" if inner else _name(reference)


def _introspected(content: bytes) -> tuple[Types, dict[str, str]]:
    """Return the types of an introspection result, and the names of its root types by verb."""
    result = orjson.loads(content)
    schema = (result.get("data") or result)["__schema"]
    types = {_name(described): described for described in schema["types"]}
    return types, {verb: _name(root) for verb in _ROOTS if (root := schema.get(f"{verb}Type"))}


def _declared(text: str) -> tuple[Types, dict[str, str]]:
    """Return the types that a schema file declares or extends, and the names of its root types by verb."""
    types: Types = {}
    roots = dict(_ROOTS)
    for node in parse(text, no_location=True).definitions:
        if isinstance(node, ast.SchemaDefinitionNode | ast.SchemaExtensionNode):
            roots |= {part.operation.value: part.type.name.value for part in node.operation_types}
        elif isinstance(node, ast.TypeDefinitionNode | ast.TypeExtensionNode):
            described = _type(node)
            known = types.setdefault(described["name"], described)
            if known is not described:
                for part in ("fields", "inputFields", "enumValues"):
                    known[part] += described[part]
    return types, roots


def _complete(types: Types) -> bool:
    """Return whether every type that is named is there."""
    members = [member for described in types.values() for member in (*described["fields"], *described["inputFields"])]
    named = {_unwrapped(each["type"])[0] for member in members for each in (member, *member["args"])}
    return named <= types.keys() | _SCALARS.keys()


@lru_cache(maxsize=4)
def _folder_types(folder: Path) -> Types:
    """Return the types of all schema files of a folder that can be read."""
    types: Types = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _SDL and path.is_file():
            try:
                types |= _declared(path.read_text("utf-8-sig"))[0]
            except (GraphQLError, OSError, UnicodeDecodeError, RecursionError):  # set aside when its own turn comes
                continue
    return types


def _type(node: ast.TypeDefinitionNode | ast.TypeExtensionNode) -> dict[str, Any]:
    kind = node.kind.removesuffix("_definition").removesuffix("_extension").removesuffix("_type")
    fields: Any = getattr(node, "fields", None) or ()
    is_input = kind == "input_object"
    return {
        "name": node.name.value,
        "kind": kind.upper(),
        "fields": [] if is_input else [_member(field) for field in fields],
        "inputFields": [_member(field) for field in fields] if is_input else [],
        "enumValues": [
            {"name": value.name.value, "isDeprecated": _deprecated(value)} for value in getattr(node, "values", None) or ()
        ],
    }


def _member(node: ast.FieldDefinitionNode | ast.InputValueDefinitionNode) -> dict[str, Any]:
    default = getattr(node, "default_value", None)
    return {
        "name": node.name.value,
        "description": node.description.value if node.description else "",
        "type": _reference(node.type),
        "isDeprecated": _deprecated(node),
        "defaultValue": print_ast(default) if default else None,
        "args": [_member(argument) for argument in getattr(node, "arguments", None) or ()],
    }


def _deprecated(node: Any) -> bool:
    return any(directive.name.value == "deprecated" for directive in node.directives or ())


def _reference(node: TypeNode) -> dict[str, Any]:
    if isinstance(node, ast.NonNullTypeNode):
        return {"kind": "NON_NULL", "ofType": _reference(node.type)}
    if isinstance(node, ast.ListTypeNode):
        return {"kind": "LIST", "ofType": _reference(node.type)}
    assert isinstance(node, ast.NamedTypeNode)
    return {"name": node.name.value}
