"""OpenAPI descriptions of every version, in JSON and YAML, with references, cycles and what people get wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.openapi.files import Files
from hephaestus_dag.sources.openapi.schemas import Schemas
from hephaestus_dag.sources.operations import Operation, Parameter
from hephaestus_dag.sources.rendering.formats import FORMATS, render
from hephaestus_dag.sources.tools.openapi import read_operations

PETS: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Pet Store API v2.1", "version": "2.1", "license": {"name": "Apache 2.0"}},
    "servers": [{"url": "https://{region}.api.pets.co.uk/v2/", "variables": {"region": {"default": "eu"}}}],
    "paths": {
        "/pets/{petId}": {
            "parameters": [
                {"$ref": "#/components/parameters/id"},
                {"name": "api_key", "in": "query", "schema": {"type": "string"}},
                {"name": "Accept", "in": "header", "schema": {"type": "string"}},
            ],
            "put": {
                "operationId": "replacePet",
                "summary": "Replace a pet",
                "description": "Overwrites **all** fields, see [the guide](https://pets.co.uk/guide).",
                "security": [{"key": []}],
                "parameters": [
                    {"name": "petId", "in": "path", "required": True, "description": "Own words.", "schema": {"type": "string"}}
                ],
                "requestBody": {"$ref": "#/components/requestBodies/pet"},
                "responses": {
                    "200": {"$ref": "#/components/responses/pet"},
                    "404": {"description": "No such pet"},
                    "default": {"description": "Unexpected error"},
                },
            },
        },
        "/pets": {
            "get": {
                "description": "Lists pets.",
                "parameters": [
                    {
                        "name": "kind",
                        "in": "query",
                        "schema": {"type": "array", "items": {"type": "string", "enum": ["cat", "dog"], "default": "cat"}},
                    },
                    {"name": "limit", "in": "query", "schema": {"type": ["integer", "null"], "format": "int32", "default": 20}},
                ],
                "responses": {
                    "200": {
                        "description": "Pets, newest first",
                        "content": {
                            "application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}}
                        },
                    }
                },
            }
        },
        "x-note": "not a path",
    },
    "components": {
        "securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}},
        "parameters": {"id": {"name": "petId", "in": "path", "required": True, "schema": {"type": "integer"}}},
        "requestBodies": {
            "pet": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
        },
        "responses": {
            "pet": {"description": "OK", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
        },
        "schemas": {
            "Named": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "maxLength": 9}}},
            "Pet": {
                "description": "A pet.",
                "allOf": [
                    {"$ref": "#/components/schemas/Named"},
                    {
                        "type": "object",
                        "required": ["owner"],
                        "properties": {
                            "id": {"type": "integer", "readOnly": True},
                            "mother": {"$ref": "#/components/schemas/Pet"},
                            "owner": {"oneOf": [{"type": "string", "format": "uuid"}, {"type": "null"}], "nullable": True},
                            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                            "secret": {"type": "string", "writeOnly": True},
                        },
                    },
                ],
            },
        },
    },
}
SWAGGER: dict[str, Any] = {
    "swagger": "2.0",
    "info": {"title": "Tea", "x-providerName": "tea.example", "x-serviceName": "kettle-v3"},
    "host": "api.tea.example",
    "basePath": "/v3",
    "schemes": ["http", "https"],
    "paths": {
        "/brew~now/{leaf}": {
            "post": {
                "summary": "Brews tea",
                "consumes": ["multipart/form-data"],
                "parameters": [
                    {"name": "leaf", "in": "path", "required": True, "type": "string", "enum": ["oolong", "sencha"]},
                    {"name": "photo", "in": "formData", "type": "file"},
                    {"name": "size", "in": "formData", "required": True, "type": "integer", "description": "In ml"},
                ],
                "responses": {"201": {"description": "A full pot", "schema": {"$ref": "#/definitions/a~1b%20c"}}},
            },
            "patch": {
                "summary": "Changes tea",
                "parameters": [{"name": "pot", "in": "body", "schema": {"$ref": "#/definitions/a~1b%20c"}}],
                "responses": {},
            },
        }
    },
    "definitions": {"a/b c": {"type": "object", "properties": {"pot": {"$ref": "#/definitions/a~1b%20c"}}}},
}


def source(folder: Path, **options: Any) -> SourceConfig:
    return SourceConfig.model_validate(
        {"name": "apis", "kind": "openapi", "location": str(folder), "domain": "agent", **options}
    )


def write(folder: Path, model: Any, name: str = "api.json") -> SourceConfig:
    folder = folder / "apis"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(model if isinstance(model, str) else json.dumps(model))
    return source(folder)


def operations(config: SourceConfig) -> dict[str, Operation]:
    found = [each for item in list_items(config) for each in read_operations(config, item)]
    assert not [each for each in found if isinstance(each, Reject)]
    return {each.name: each for each in found if isinstance(each, Operation)}


def only_reject(config: SourceConfig) -> Reject:
    (found,) = [each for each in read_items(config, list_items(config)) if isinstance(each, Reject)]
    return found


def fields(members: tuple[Parameter, ...]) -> dict[str, Parameter]:
    return {member.name: member for member in members}


def test_an_operation_is_told_whole(tmp_path: Path):
    put = operations(write(tmp_path, PETS))["replacePet"]
    assert (put.method, put.path, put.server) == ("PUT", "/pets/{petId}", "https://eu.api.pets.co.uk/v2")
    assert (put.provider, put.service, put.title) == ("pets.co.uk", "pet-store", "Pet Store API v2.1")
    assert put.api == "pets.co.uk pet-store PUT /pets/{petId}"
    assert put.origin == "apis/api.json/PUT /pets/{petId}"
    assert put.license == "Apache-2.0"
    assert put.description == "Replace a pet.\nOverwrites all fields, see the guide."
    assert put.errors == (("404", "No such pet"),)
    given = fields(put.parameters)
    assert list(given) == ["petId", "body"]  # the key is security, Accept is the client's
    assert (given["petId"].type, given["petId"].description, given["petId"].location) == ("string", "Own words.", "path")
    body = fields(given["body"].children)
    assert list(body) == ["name", "owner", "mother", "tags", "secret"]
    assert [name for name, field in body.items() if field.required] == ["name", "owner"]
    assert (body["owner"].type, body["owner"].format) == ("string", "uuid")
    assert (body["tags"].type, body["tags"].items) == ("map", "string")
    assert list(fields(body["mother"].children)) == ["name", "owner", "mother", "tags", "secret"]
    assert not fields(body["mother"].children)["mother"].children
    assert set(fields(put.returns)) == {"name", "owner", "id", "mother", "tags"}


def test_lists_types_and_defaults(tmp_path: Path):
    get = operations(write(tmp_path, PETS))["get_pets"]
    given = fields(get.parameters)
    assert (given["kind"].type, given["kind"].items, given["kind"].enum) == ("array", "string", ("cat", "dog"))
    assert (given["limit"].type, given["limit"].format, given["limit"].default) == ("integer", "int32", "20")
    assert (get.result, get.response) == ("array of object", "Pets, newest first")
    assert "name" in fields(get.returns)


def test_version_2_has_forms_files_and_bodies(tmp_path: Path):
    found = operations(write(tmp_path, SWAGGER))
    brew = found["post_brew_now_by_leaf"]
    assert brew.server == "https://api.tea.example/v3"
    assert brew.api == "tea.example kettle POST /brew~now/{leaf}"
    body = fields(brew.parameters)["body"]
    assert (body.format, body.required) == ("multipart/form-data", True)
    assert [(field.name, field.type, field.required) for field in body.children] == [
        ("size", "integer", True),
        ("photo", "string", False),
    ]
    assert fields(brew.parameters)["leaf"].enum == ("oolong", "sencha")
    assert fields(brew.returns)["pot"].children[0].name == "pot"
    assert fields(found["patch_brew_now_by_leaf"].parameters)["body"].children[0].name == "pot"


def test_alternatives_share_their_fields(tmp_path: Path):
    card = {"type": "object", "required": ["kind", "number"], "properties": {"kind": {"type": "string"}, "number": {}}}
    bank = {"type": "object", "required": ["kind", "iban"], "properties": {"iban": {}, "kind": {"type": "integer"}}}
    properties = {
        "pay": {"oneOf": [card, bank], "description": "How to pay."},
        "unit": {"anyOf": [{"type": "string", "enum": ["kg"]}, {"type": "string", "enum": ["lb"]}]},
        "free": {"anyOf": [{"type": "string", "enum": ["kg"]}, {"type": "string"}]},
        "either": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        "anything": True,
        "old": {"type": "String"},
        "key": {"type": "string", "default": "e2a6379ab878ae7e58119d4ec842bf9c"},
        "odd": {"type": "Money"},
    }
    body = {"requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": properties}}}}}
    model = {"openapi": "3.1.0", "info": {}, "paths": {"/a": {"post": {"summary": "Pays", **body}}}}
    (operation,) = operations(write(tmp_path, model)).values()
    found = fields(operation.parameters[0].children)
    assert [(field.name, field.type, field.required) for field in found["pay"].children] == [
        ("kind", "string", True),
        ("number", "any", False),
        ("iban", "any", False),
    ]
    assert found["key"].default == ""  # somebody's
    assert found["pay"].description == "How to pay."
    assert (found["unit"].enum, found["free"].enum) == (("kg", "lb"), ())
    assert [found[name].type for name in ("either", "anything", "old", "odd")] == ["string", "any", "string", "any"]


def test_yaml_keeps_dates_status_codes_and_words_as_text(tmp_path: Path):
    text = """
openapi: 3.0.0
info: {title: Diary, version: 2020-01-01}
paths:
  /days/{day}:
    get: &get
      description: >-
        Returns one day,
        in full.
      parameters:
        - name: day
          in: path
          schema: {type: string, format: date, default: 2020-01-01, enum: [on, off, 12:30]}
      responses:
        200: {description: One page of the diary}
        404: {description: Nothing was written}
    head:
      <<: *get
      description: Tells whether a day has a page.
"""
    found = operations(write(tmp_path, text, "diary.yaml"))
    get, head = found["get_days_by_day"], found["head_days_by_day"]
    assert get.description == "Returns one day, in full."
    assert (get.parameters[0].default, get.parameters[0].enum) == ('"2020-01-01"', ("on", "off", "12:30"))
    assert (get.response, get.errors) == ("One page of the diary", (("404", "Nothing was written"),))
    assert (head.description, head.errors) == ("Tells whether a day has a page.", get.errors)
    assert (get.provider, get.service) == ("diary", "diary")


def test_references_reach_files_beside_the_description_and_no_further(tmp_path: Path):
    (tmp_path / "secret.yaml").write_text("Pet: {type: object, properties: {stolen: {type: string}}}")
    pet = "Pet:\n  type: object\n  properties:\n    owner: {$ref: '../people.json#/Owner'}\n    mother: {$ref: '#/Pet'}\n"
    people = {"Owner": {"type": "object", "properties": {"name": {"type": "string"}}}}
    write(tmp_path, people, "v1/people.json")
    write(tmp_path, pet, "v1/models/pet.yaml")

    def asking(reference: str) -> dict[str, Any]:
        content = {"application/json": {"schema": {"$ref": reference}}}
        get = {"summary": "Gets", "responses": {"200": {"description": "ok", "content": content}}}
        return {"openapi": "3.0.0", "info": {}, "paths": {"/pet": {"get": get}}}

    config = write(tmp_path, asking("models/pet.yaml#/Pet"), "v1/api.json").model_copy(update={"exclude": ("people*",)})
    (get,) = [each for each in read_operations(config, "apis/v1/api.json") if isinstance(each, Operation)]
    assert [field.name for field in fields(get.returns)["owner"].children] == ["name"]
    assert [field.name for field in fields(get.returns)["mother"].children] == ["owner", "mother"]
    write(tmp_path, asking("https://pets.example/pet.yaml#/Pet"), "v1/api.json")
    (get,) = read_operations(config, "apis/v1/api.json")
    assert isinstance(get, Operation)
    for reference in ("../../secret.yaml#/Pet", "models/gone.yaml", "#/components/schemas/Gone", "#Pet", "/etc/hostname"):
        write(tmp_path, asking(reference), "v1/api.json")
        (found,) = read_operations(config, "apis/v1/api.json")
        assert isinstance(found, Reject)
        assert (found.position, found.reason.partition(":")[0]) == ("operation GET /pet", "unresolved reference")


@pytest.mark.parametrize(
    ("name", "content", "position", "reason"),
    [
        ("a.json", '{\n"openapi": }', "line 2", "malformed JSON"),
        ("a.json", "{}", "file", "not an OpenAPI description"),
        ("a.json", "", "file", "empty"),
        ("a.yaml", "openapi: 3\na: ]", "line 2", "malformed YAML"),
        ("a.yaml", "openapi: 3\na: &a [*a]", "line 2", "malformed YAML"),
        ("a.yaml", "openapi: 3\na: " + "[" * 100_000, "line 2", "malformed YAML"),
        ("a.yaml", "openapi: 3\n? [a]\n: 1", "line 2", "malformed YAML"),
        ("a.yaml", "openapi: 3\ninfo: {}\npaths: {}\ninfo: {}", "line 4", "doubled key"),
        (
            "a.json",
            '{"openapi": "3.0.0", "paths": {"/a": {"get": {"parameters": [{"in": "query"}]}}}}',
            "operation GET /a",
            "malformed",
        ),
        ("a.json", '{"openapi": "3.0.0", "paths": {"/a": []}}', "path /a", "malformed"),
    ],
)
def test_what_is_malformed_is_set_aside_with_its_place(tmp_path: Path, name: str, content: str, position: str, reason: str):
    found = only_reject(write(tmp_path, content, name))
    assert found.origin.startswith(f"apis/{name}")
    assert (found.position, found.reason.partition(":")[0]) == (position, reason)


def test_an_alias_that_expands_a_billionfold_is_set_aside_at_once(tmp_path: Path):
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    found = only_reject(write(tmp_path, "\n".join(["openapi: 3.0.0", "l0: &l0 [x, x]", *levels]), "bomb.yaml"))
    assert found.reason.startswith("too large: more than 5000000 values")


def test_a_tree_is_listed_and_an_operation_without_words_is_set_aside(tmp_path: Path):
    bare = {"openapi": "3.0.0", "info": {}, "paths": {"/a": {"get": {"operationId": "a"}, "put": {"summary": "Puts"}}}}
    write(tmp_path, bare, "b/api.yml")
    write(tmp_path, {}, "package.json")
    config = write(tmp_path, PETS, "a/api.json")
    assert list_items(config) == ["apis/a/api.json", "apis/b/api.yml"]
    found = read_items(config, list_items(config))
    assert [each.reason for each in found if isinstance(each, Reject)] == ["no description"]
    documents = [each for each in found if isinstance(each, Document)]
    assert [document.provider for document in documents] == ["pets.co.uk", "pets.co.uk", "b"]
    assert documents[0].signatures == "replace_pet(body,pet_id)"
    assert {document.license for document in documents} == {"Apache-2.0", "unknown"}
    stated = source(tmp_path / "apis", license="MIT")
    assert {each.license for each in read_items(stated, list_items(stated)) if isinstance(each, Document)} == {"MIT"}


def test_versions_of_a_service_describe_the_same_api(tmp_path: Path):
    for number in ("1.0", "2.3"):
        info = {"title": f"Tea {number}", "x-providerName": "tea.example", "x-serviceName": f"tea-{number}"}
        model = {**PETS, "info": info, "servers": [{"url": f"https://tea.example/v{number}"}]}
        config = write(tmp_path, model, f"tea-{number}.json")
    found = [each for item in list_items(config) for each in read_operations(config, item)]
    assert len(found) == 4
    assert {each.api for each in found if isinstance(each, Operation)} == {
        "tea.example tea PUT /pets/{petId}",
        "tea.example tea GET /pets",
    }


def test_words_beside_a_reference_count_and_what_holds_only_itself_is_empty(tmp_path: Path):
    schemas = {
        "Tea": {"type": "object", "description": "Any tea.", "properties": {"leaf": {"type": "string"}}},
        "Loop": {"$ref": "#/components/schemas/Loop"},
        "Part": {"allOf": [{"$ref": "#/components/schemas/Part"}, {"type": "object", "properties": {"a": {}}}]},
    }
    refer = {name: {"$ref": f"#/components/schemas/{name}"} for name in schemas}
    own = {"$ref": "#/components/schemas/Tea", "description": "The first cup."}
    model = described_by(schemas, {"type": "object", "properties": {**refer, "own": own}})
    body = fields(operations(write(tmp_path, model))["post"].parameters[0].children)
    assert (body["Tea"].description, body["own"].description) == ("Any tea.", "The first cup.")
    assert [child.name for child in body["own"].children] == ["leaf"]
    assert (body["Loop"].type, body["Part"].type) == ("any", "object")
    assert [child.name for child in body["Part"].children] == ["a"]


NAMES = ("A", "B", "C", "D")
LEAVES = st.sampled_from(
    [
        {"type": "string", "enum": ["x", "y"]},
        {"type": "integer", "default": 1},
        {"type": "object"},
        {"type": "null"},
        {},
        {"type": "array"},
        {"$ref": "#/components/schemas/A"},
        {"$ref": "#/components/schemas/B", "description": "Beside."},
        {"$ref": "#/components/schemas/C"},
        {"$ref": "#/components/schemas/D"},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda p: {"type": "object", "properties": p, "required": list(p)[:1]},
            st.dictionaries(st.sampled_from("pqr"), inner),
        ),
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda values: {"type": "object", "additionalProperties": values}, inner),
        st.builds(
            lambda word, parts: {word: parts},
            st.sampled_from(["allOf", "oneOf", "anyOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
    ),
    max_leaves=6,
)


def described_by(schemas: dict[str, Any], root: Any) -> dict[str, Any]:
    body = {"content": {"application/json": {"schema": root}}}
    post = {"operationId": "post", "summary": "Posts", "requestBody": body, "responses": {"200": {"description": "ok", **body}}}
    return {"openapi": "3.1.0", "info": {"title": "T"}, "paths": {"/a": {"post": post}}, "components": {"schemas": schemas}}


@settings(max_examples=150, deadline=None)
@given(schemas=st.fixed_dictionaries(dict.fromkeys(NAMES, SCHEMAS)), root=SCHEMAS)
def test_schemas_in_circles_end_and_render(tmp_path_factory: pytest.TempPathFactory, schemas: dict[str, Any], root: Any):
    config = write(tmp_path_factory.getbasetemp() / "circles", described_by(schemas, root))
    (post,) = operations(config).values()
    for form in FORMATS:
        assert "Posts" in render(post, form)
    assert post == operations(config)["post"]


def inlined(schema: Any, schemas: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [inlined(part, schemas) for part in schema]
    if not isinstance(schema, dict):
        return schema
    beside = {word: inlined(value, schemas) for word, value in schema.items() if word != "$ref"}
    if "$ref" not in schema:
        return beside
    return {**inlined(schemas[schema["$ref"][-1]], schemas), **beside}


@settings(max_examples=150, deadline=None)
@given(schemas=st.fixed_dictionaries(dict.fromkeys(NAMES, SCHEMAS)), root=SCHEMAS)
@example(
    schemas={"A": {}, "B": {}, "C": {}, "D": {}},
    root={"type": "object", "additionalProperties": {"$ref": "#/components/schemas/D"}},
)
def test_references_mean_what_they_point_at(tmp_path_factory: pytest.TempPathFactory, schemas: dict[str, Any], root: Any):
    # only to names further on, so that they can be written out: A may point at B, C and D, D at none
    chain = {name: json.loads(json.dumps(schemas[name])) for name in NAMES}
    for name in NAMES:
        later = NAMES[NAMES.index(name) + 1 :]
        text = json.dumps(chain[name])
        for other in NAMES:
            if other not in later:
                replaced = f'"$ref": "#/components/schemas/{later[0]}"' if later else '"title": "end"'
                text = text.replace(f'"$ref": "#/components/schemas/{other}"', replaced)
        chain[name] = json.loads(text)
    folder = tmp_path_factory.getbasetemp()
    (referred,) = operations(write(folder / "referred", described_by(chain, root))).values()
    (written,) = operations(write(folder / "written", described_by({}, inlined(root, chain)))).values()
    assert referred == written


@pytest.mark.parametrize(
    ("kind", "default", "told"),
    [
        ("integer", False, ""),
        ("string", False, ""),
        ("integer", "many", ""),
        ("array", "a", ""),
        ("string", "<function now at 0x7f5740c71620>", ""),
        ("boolean", 1, ""),
        ("boolean", True, "true"),
        ("number", 2, "2"),
        ("string", 2, '"2"'),
    ],
)
def test_a_default_of_another_type_is_not_told(kind: str, default: Any, told: str):
    schemas = Schemas(Files(Path(), "a.json", {}))
    assert schemas.parameter("x", {"type": kind, "default": default}, 1, writable=True).default == told
