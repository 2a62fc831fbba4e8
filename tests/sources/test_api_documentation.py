"""Service models of AWS and Google, read from the installed packages and from planted, broken and mutated files."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.operations import Operation
from hephaestus_dag.sources.rendering.descriptions import clean_html, shorten
from hephaestus_dag.sources.rendering.formats import FORMATS, LONGEST, operation_schema, render
from hephaestus_dag.sources.tools import botocore, google_discovery

AWS = {
    "metadata": {"serviceFullName": "Tree Service"},
    "operations": {
        "GrowTree": {
            "http": {"method": "POST", "requestUri": "/trees"},
            "input": {"shape": "Tree"},
            "output": {"shape": "Tree"},
            "errors": [{"shape": "TooTall"}],
            "documentation": "<p>Grows a <code>tree</code> &amp; waters it.</p><ul><li><p>One</p></li><li>Two</li></ul>",
        }
    },
    "shapes": {
        "Tree": {
            "type": "structure",
            "required": ["Name"],
            "members": {
                "Left": {"shape": "Tree", "documentation": "<p>A tree of its own.</p>"},
                "Kind": {"shape": "Kind"},
                "Many": {"shape": "Trees"},
                "Tags": {"shape": "Tags"},
                "Name": {"shape": "Name", "documentation": "Name in the form <tree-name>."},
            },
        },
        "Trees": {"type": "list", "member": {"shape": "Tree"}},
        "Tags": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Name"}},
        "Kind": {"type": "string", "enum": ["oak", "fir"]},
        "Name": {"type": "string"},
        "TooTall": {"type": "structure", "members": {}, "documentation": "It is too tall."},
    },
}

GOOGLE = {
    "name": "trees",
    "title": "Trees API",
    "servicePath": "trees/v1/",
    "schemas": {
        "Tree": {
            "properties": {
                "left": {"$ref": "Tree"},
                "branches": {"type": "array", "items": {"$ref": "Tree"}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "height": {"type": "integer", "description": "Output only. Height."},
                "kind": {"type": "string", "enum": ["oak", "fir"]},
            }
        }
    },
    "resources": {
        "trees": {
            "methods": {
                "grow": {
                    "id": "trees.trees.grow",
                    "httpMethod": "POST",
                    "path": "trees/{name}",
                    "description": "Grows a tree.",
                    "parameters": {
                        "dry": {"type": "boolean", "location": "query"},
                        "name": {"type": "string", "required": True, "description": "Its name."},
                    },
                    "request": {"$ref": "Tree"},
                    "response": {"$ref": "Tree"},
                }
            }
        }
    },
}


def aws(folder: Path, content: str) -> SourceConfig:
    (folder / "aws" / "tree" / "2020-01-01").mkdir(parents=True, exist_ok=True)
    (folder / "aws" / "tree" / "2020-01-01" / "service-2.json").write_text(content)
    return SourceConfig(name="aws", kind="botocore", location=str(folder / "aws"), domain="agent", license="Apache-2.0")


def google(folder: Path, content: str) -> SourceConfig:
    (folder / "google").mkdir(exist_ok=True)
    (folder / "google" / "trees.v1.json").write_text(content)
    return SourceConfig(name="google", kind="google_discovery", location=str(folder / "google"), domain="agent")


def the_operation(config: SourceConfig) -> Operation:
    module = botocore if config.kind == "botocore" else google_discovery
    (operation,) = [found for item in list_items(config) for found in module.read_operations(config, item)]
    assert isinstance(operation, Operation)
    return operation


def test_a_service_that_contains_itself_becomes_a_schema_two_levels_deep(tmp_path: Path):
    operation = the_operation(aws(tmp_path, json.dumps(AWS)))
    assert operation.origin == "aws/tree/2020-01-01/GrowTree"
    assert operation.description == "Grows a `tree` & waters it.\n- One\n- Two"
    assert operation.errors == (("TooTall", "It is too tall."),)
    schema = operation_schema(operation)
    assert schema["parameters"]["required"] == ["Name"]
    properties = schema["parameters"]["properties"]
    assert properties["Name"] == {"type": "string", "description": "Name in the form <tree-name>."}
    assert properties["Kind"] == {"type": "string", "enum": ["oak", "fir"]}
    assert properties["Tags"] == {"type": "object", "additionalProperties": {"type": "string"}}
    inner = properties["Many"]["items"]["properties"]["Left"]["properties"]["Left"]
    assert inner == {"type": "object", "description": "A tree of its own."}


def test_a_google_method_has_its_body_as_a_parameter_without_what_only_the_server_writes(tmp_path: Path):
    operation = the_operation(google(tmp_path, json.dumps(GOOGLE)))
    assert (operation.name, operation.path) == ("trees.trees.grow", "/trees/v1/trees/{name}")
    schema = operation_schema(operation)
    assert schema["parameters"]["required"] == ["name", "body"]
    body = schema["parameters"]["properties"]["body"]["properties"]
    assert list(body) == ["left", "branches", "labels", "kind"]
    assert "height" in [parameter.name for parameter in operation.returns]
    assert body["branches"]["items"]["properties"]["kind"]["enum"] == ["oak", "fir"]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_tells_what_a_caller_needs(tmp_path: Path, form: Any):
    for operation in (the_operation(aws(tmp_path, json.dumps(AWS))), the_operation(google(tmp_path, json.dumps(GOOGLE)))):
        text = render(operation, form)
        for word in (operation.name, operation.title, operation.path, *(p.name for p in operation.parameters), "oak"):
            assert word in text
    assert json.loads(render(operation, "schema"))["name"] == operation.name


def test_the_newest_version_of_a_service_is_read(tmp_path: Path):
    config = aws(tmp_path, json.dumps(AWS))
    newer = tmp_path / "aws" / "tree" / "2021-05-05"
    newer.mkdir()
    (newer / "service-2.json").write_text(json.dumps(AWS))
    assert list_items(config) == ["aws/tree/2021-05-05"]


def test_malformed_files_and_operations_are_set_aside_with_their_place(tmp_path: Path):
    config = aws(tmp_path, '{\n "operations": {,}\n}')
    (found,) = read_items(config, list_items(config))
    assert isinstance(found, Reject)
    assert (found.origin, found.position) == ("aws/tree/2020-01-01", "line 2")
    assert "malformed JSON" in found.reason
    dangling = {**AWS, "operations": {**AWS["operations"], "CutTree": {"input": {"shape": "Gone"}}}}
    config = aws(tmp_path, json.dumps(dangling))
    cut, grown = read_items(config, list_items(config))
    assert isinstance(grown, Document)
    assert isinstance(cut, Reject)
    assert (cut.origin, cut.position) == ("aws/tree/2020-01-01/CutTree", "operation CutTree")
    assert "Gone" in cut.reason
    config = google(tmp_path, "[]")
    (found,) = read_items(config, list_items(config))
    assert isinstance(found, Reject)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "shape", "$ref", "x"]), inner),
    max_leaves=3,
)


def mutate(model: Any, places: list[int], junk: Any) -> Any:
    """Put junk somewhere inside a copy of the model: each number picks a child, the last one is replaced."""
    if not places or not isinstance(model, dict | list) or not model:
        return junk
    keys = list(model) if isinstance(model, dict) else list(range(len(model)))
    key = keys[places[0] % len(keys)]
    copy = dict(model) if isinstance(model, dict) else list(model)
    copy[key] = mutate(model[key], places[1:], junk)
    return copy


@settings(max_examples=150, deadline=None)
@given(places=st.lists(st.integers(0, 9), max_size=8), junk=JUNK, vendor=st.sampled_from(["aws", "google"]))
def test_mutated_models_never_raise(tmp_path_factory: pytest.TempPathFactory, places: list[int], junk: Any, vendor: str):
    folder = tmp_path_factory.getbasetemp()
    made = aws(folder, json.dumps(mutate(AWS, places, junk))) if vendor == "aws" else None
    config = made or google(folder, json.dumps(mutate(GOOGLE, places, junk)))
    found = read_items(config, list_items(config))
    assert all(isinstance(item, Document | Reject) for item in found)
    assert all(item.text.encode() for item in found if isinstance(item, Document))


@cache
def installed(kind: str, package: str) -> SourceConfig:
    pytest.importorskip("botocore" if kind == "botocore" else "googleapiclient")
    return SourceConfig(name=kind, kind=kind, location=f"package:{package}", domain="agent")


@pytest.mark.parametrize(
    ("kind", "package", "name", "least"),
    [
        ("botocore", "botocore", "/sqs/", 20),
        ("botocore", "botocore", "/s3/", 90),
        ("botocore", "botocore", "/wafv2/", 40),  # its Statement contains itself
        ("google_discovery", "google-api-python-client", "/gmail.v1", 70),
        ("google_discovery", "google-api-python-client", "/drive.v3", 50),
    ],
)
def test_real_services_are_read_whole_and_twice_the_same(kind: str, package: str, name: str, least: int):
    config = installed(kind, package)
    items = [item for item in list_items(config) if name in item]
    assert len(items) == 1
    found = read_items(config, items)
    documents = [item for item in found if isinstance(item, Document)]
    assert len(documents) == len(found) >= least
    assert found == read_items(config, items)
    assert {document.license for document in documents} == {"Apache-2.0"}
    assert max(len(document.text) for document in documents) <= 1.5 * LONGEST
    assert not any("</p>" in document.text or "</code>" in document.text for document in documents)
    assert len({document.text[:1] for document in documents}) >= 3  # all formats are met


def test_the_whole_packages_are_listed():
    assert len(list_items(installed("botocore", "botocore"))) >= 400
    assert len(list_items(installed("google_discovery", "google-api-python-client"))) >= 500


def test_html_becomes_text_and_placeholders_stay():
    assert clean_html("<p>Use <code>a&lt;b</code>\n now.</p> <p>Then <i>stop</i>.</p>") == "Use `a<b` now.\nThen stop."
    assert clean_html("arn:<partition>:s3 1 < 2") == "arn:<partition>:s3 1 < 2"


@given(st.text(max_size=300), st.integers(1, 100))
def test_shortening_keeps_a_beginning(text: str, longest: int):
    short = shorten(text, longest)
    assert len(short) <= max(3 * longest, longest + 4)
    assert text.startswith(short.removesuffix(" ..."))


def test_what_google_says_of_a_parameter_twice_is_said_once(tmp_path: Path):
    parameters = {
        "mask": {"type": "string", "description": "Required. Fields to update."},
        "note": {"type": "string", "description": "Optional. Immutable. Optional. A note."},
    }
    method = {"id": "t.do", "path": "do", "description": "Does.", "parameters": parameters}
    (tmp_path / "t.v1.json").write_text(json.dumps({"name": "t", "methods": {"do": method}}))
    config = SourceConfig(name="g", kind="google_discovery", location=str(tmp_path), domain="agent", license="MIT")
    (found,) = google_discovery.read_operations(config, *google_discovery.list_items(config))
    assert isinstance(found, Operation)
    assert [(p.name, p.required, p.description) for p in found.parameters] == [
        ("mask", True, "Fields to update."),
        ("note", False, "A note."),
    ]
