"""GraphQL schemas, MCP tools, lists of functions, gRPC services, manual pages and tldr pages become documents."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources import list_items, load_kind, read_items
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.json_schema import schema_parameters, schema_result
from hephaestus_dag.sources.manuals.blocks import render_blocks
from hephaestus_dag.sources.manuals.roff import read_manual
from hephaestus_dag.sources.naming import named_after
from hephaestus_dag.sources.operations import Operation
from hephaestus_dag.sources.rendering.formats import operation_schema
from hephaestus_dag.sources.tools.tldr_pages import parse_page, render_page


def source(folder: Path, kind: str, files: dict[str, str | bytes], **values: Any) -> SourceConfig:
    for name, content in files.items():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return SourceConfig.model_validate(
        {"name": "s", "kind": kind, "location": str(folder / "in"), "domain": "agent", "license": "MIT", **values}
    )


def operations(config: SourceConfig) -> dict[str, Operation]:
    reader: Any = load_kind(config.kind)
    found = [each for item in list_items(config) for each in reader.read_operations(config, item)]
    assert not [each for each in found if isinstance(each, Reject)]
    return {operation.name: operation for operation in found}


def read(config: SourceConfig) -> tuple[list[Document], list[Reject]]:
    found = read_items(config, list_items(config))
    assert found == read_items(config, list_items(config))
    return [f for f in found if isinstance(f, Document)], [f for f in found if isinstance(f, Reject)]


SDL = '''
schema { query: Root mutation: Mutation }
type Root {
  """Finds
  pots."""
  pots(size: [Int!]!, leaf: Leaf = OOLONG, near: Place): [Pot!]!
  "Gone." cups: Int @deprecated
  "How many." count: Int!
}
type Mutation { "Brews." brew(input: BrewInput!): BrewPayload }
input BrewInput { leaf: Leaf! ml: Int! = 200 to: Place }
type BrewPayload { "What was brewed." pot: Pot old: Int @deprecated }
enum Leaf { OOLONG SENCHA }
'''
OTHER = 'input Place { "Its name." name: String!  inner: Place } type Pot { id: ID! }'


def test_a_graphql_schema_over_two_files_becomes_operations(tmp_path: Path):
    found = operations(source(tmp_path, "graphql", {"teahouse/schema.graphql": SDL, "teahouse/types.graphqls": OTHER}))
    assert list(found) == ["pots", "count", "brew"]  # what is deprecated is left out
    pots, brew = found["pots"], found["brew"]
    assert pots.description == "Finds pots.\n\nGraphQL: `pots(size: [Int!]!, leaf: Leaf, near: Place): [Pot!]!`"
    assert (pots.provider, pots.api, pots.result) == ("teahouse", "teahouse query pots", "array of object")
    assert [p.name for p in pots.returns] == ["id"]
    assert found["count"].result == "integer"
    schema = operation_schema(pots)["parameters"]
    assert schema["required"] == ["size"]
    assert schema["properties"]["leaf"] == {"type": "string", "enum": ["OOLONG", "SENCHA"], "default": "OOLONG"}
    assert schema["properties"]["near"]["properties"]["name"] == {"type": "string", "description": "Its name."}
    inside = operation_schema(brew)["parameters"]["properties"]["input"]
    assert inside["required"] == ["leaf"]  # a default makes ml optional
    assert inside["properties"]["to"]["required"] == ["name"]
    assert [p.name for p in brew.returns] == ["pot"]


def test_an_introspection_result_says_the_same_as_the_schema(tmp_path: Path):
    from graphql import build_schema, introspection_from_schema

    written = operations(source(tmp_path / "a", "graphql", {"tea.graphql": SDL + OTHER}))
    result = introspection_from_schema(build_schema(SDL + OTHER), input_value_deprecation=True)
    asked = operations(source(tmp_path / "b", "graphql", {"tea.json": json.dumps({"data": result})}))
    for name in written:
        assert operation_schema(asked[name]) == operation_schema(written[name])
        assert asked[name].returns == written[name].returns


TOOL = {
    "name": "brew",
    "title": "Brew tea",
    "description": "Brews a pot.",
    "inputSchema": {"type": "object", "properties": {"leaf": {"type": "string", "title": "Leaf"}}, "required": ["leaf"]},
    "outputSchema": {"type": "object", "properties": {"ml": {"type": "integer"}}},
    "annotations": {"destructiveHint": True, "readOnlyHint": False},
}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"serverInfo": {"name": "teahouse"}, "tools": [TOOL]}),
        json.dumps([{"result": {"serverInfo": {"name": "teahouse"}}}, {"jsonrpc": "2.0", "result": {"tools": [TOOL]}}]),
        '{"id":1,"result":{"serverInfo":{"name":"teahouse"}}}\n{"id":2,"result":' + json.dumps({"tools": [TOOL]}) + "}\n",
    ],
)
def test_mcp_tools_are_found_in_results_answers_and_recorded_sessions(tmp_path: Path, content: str):
    brew = operations(source(tmp_path, "mcp_tools", {"x.json": content}))["brew"]
    assert (brew.provider, brew.api) == ("teahouse", "teahouse teahouse brew")
    assert brew.description == "Brews a pot.\n\nIt may delete or overwrite."
    assert brew.parameters[0].description == ""  # the title only repeats the name
    assert [p.name for p in brew.returns] == ["ml"]


def test_mcp_files_without_tools_and_broken_tools_are_set_aside(tmp_path: Path):
    files: dict[str, str | bytes] = {
        "a.json": "{}",
        "b.json": json.dumps({"tools": [TOOL, {"name": 1}]}),
        "c.json": '{"tools": [',
    }
    documents, rejects = read(source(tmp_path, "mcp_tools", files))
    assert len(documents) == 1
    assert [(r.origin, r.reason.partition(":")[0]) for r in rejects] == [
        ("in/a.json", "no tools"),
        ("in/b.json", "malformed tool"),
        ("in/c.json", "not JSON"),
    ]
    assert rejects[1].position == "row 1, tool 2"


PARAMETERS = {"type": "object", "properties": {"leaf": {"type": "string"}, "ml": {"type": "integer"}}, "required": ["leaf"]}


BREW = {"name": "brew", "description": "Brews."}
LISTED = [{"name": "leaf", "type": "String", "required": True}, {"name": "ml", "type": "INT"}]


@pytest.mark.parametrize(
    "record",
    [
        {"type": "function", "function": {**BREW, "parameters": PARAMETERS}},
        {**BREW, "input_schema": PARAMETERS},
        {**BREW, "parameters": {**PARAMETERS, "type": "dict"}},
        {**BREW, "parameters": {"leaf": {"type": "str", "required": True}, "ml": {"type": "int"}}},
        {**BREW, "required_parameters": LISTED[:1], "optional_parameters": LISTED[1:]},
        {"api_name": "brew", "functionality": "Brews.", "api_arguments": {"leaf": "[REQUIRED] string: It.", "ml": "integer"}},
        {"id": "brew", "desc": "Brews.", "parameters": LISTED},
        {"tools": json.dumps([{**BREW, "parameters": PARAMETERS}])},
    ],
)
def test_functions_are_read_however_they_are_declared(tmp_path: Path, record: dict[str, Any]):
    found = operations(
        source(tmp_path, "tool_lists", {"teahouse.json": json.dumps([record]), "lines.jsonl": json.dumps(record)})
    )
    schema = operation_schema(found["brew"])
    properties = schema["parameters"]["properties"]
    assert schema["description"] == "Brews."
    assert {name: member["type"] for name, member in properties.items()} == {"leaf": "string", "ml": "integer"}
    assert schema["parameters"]["required"] == ["leaf"]


def test_a_catalogue_says_vendor_and_request(tmp_path: Path):
    record = {
        "api_name": "Tea API - Pots: wash",
        "api_call": "POST /pots/{id}",
        "functionality": "Washes.",
        "api_arguments": {},
    }
    config = source(tmp_path, "tool_lists", {"apis.jsonl": json.dumps(record) + '\n{"x": 1}\n'})
    (document,), (reject,) = read(config)
    assert (document.provider, document.api) == ("Tea API", "Tea API Pots POST /pots/{id}")
    assert (reject.position, reject.reason.partition(":")[0]) == ("line 2", "no functions")


PROTO = """
syntax = "proto3";
package tea.house.v1;
import "tea/pot.proto";
option java_package = "com.teahouse.v1";
service Brewer {
  // Brews a pot
  // of tea.
  //
  // - slowly
  rpc Brew(BrewRequest) returns (stream Pot) {
    option (google.api.http) = { post: "/v1/{name=pots/*}:brew" body: "*" };
  }
  rpc Pour(.tea.house.v1.Pot) returns (google.protobuf.Empty); // Pours.
  rpc Hidden(BrewRequest) returns (Pot);
}
message BrewRequest {
  enum Leaf { LEAF_UNSPECIFIED = 0; OOLONG = 1; SENCHA = 2; }
  // Required. What to brew.
  string name = 1 [(google.api.field_behavior) = REQUIRED];
  repeated Leaf leaves = 2; // Which.
  map<string, Pot> pots = 3;
  // One of these.
  oneof size { int32 ml = 4; double cups = 5; }
  string etag = 6 [(google.api.field_behavior) = OUTPUT_ONLY];
}
"""
POT = """
syntax = "proto3";
package tea.house.v1;
message Pot {
  // How much.
  int32 ml = 1;
  Pot inner = 2;
  google.protobuf.Timestamp made = 3;
}
"""


def test_procedures_know_their_messages_over_imports(tmp_path: Path):
    config = source(tmp_path, "protobuf", {"v1/tea/brewer.proto": PROTO, "v1/tea/pot.proto": POT})
    found = operations(config)
    brew, pour = found["Brew"], found["Pour"]
    assert brew.description == "Brews a pot of tea.\n\n- slowly\n\nIt streams responses."
    assert (brew.method, brew.path, brew.provider) == ("POST", "/v1/{name}:brew", "teahouse.com")
    schema = operation_schema(brew)["parameters"]
    assert schema["required"] == ["name"]
    assert list(schema["properties"]) == ["name", "leaves", "pots", "ml", "cups"]
    assert schema["properties"]["leaves"] == {
        "type": "array",
        "items": {"type": "string", "enum": ["OOLONG", "SENCHA"]},
        "description": "Which.",
    }
    assert schema["properties"]["pots"]["additionalProperties"]["properties"]["made"] == {"type": "string"}
    assert schema["properties"]["ml"] == {"type": "integer"}
    assert brew.parameters[0].location == "path"
    assert pour.description == "Pours.\n\ngRPC: `/tea.house.v1.Brewer/Pour`"
    assert pour.api == "teahouse.com tea.house.Brewer Pour"
    documents, rejects = read(config)
    assert len(documents) == 2
    assert [(r.position, r.reason) for r in rejects] == [("operation Hidden", "no description")]


def test_a_proto_file_that_is_none_is_set_aside_with_its_line(tmp_path: Path):
    _, (reject,) = read(
        source(tmp_path, "protobuf", {"a.proto": 'syntax = "proto3";\nservice Tea {\n  rpc ;\n}\n', "b.proto": POT})
    )
    assert (reject.origin, reject.position) == ("in/a.proto", "line 3")


MAN = r""".\" comment
.de Sp
.if n .sp
..
.TH BREW 1 "May 2020" "teatools 1.2" "User Commands"
.ie \n(.g .ds Aq \(aq
.el .ds Aq '
.SH NAME
brew \- make \fBgood\fR tea
.SH "SYNOPSIS"
.B brew
[\fIOPTION\fR]... \
\fIFILE\fR
.SH OPTIONS
.TP
\fB\-a\fR, \fB\-\-all\fR
brew \*(Aqall\*(Aq of it,
and \s-1LOUDLY\s0\&.
.Sp
More on it.
.TP
.BR \-v " or " \-\-verbose
.nf
  $ brew \e
    \-v
.fi
.if t \{\
.B Never.
.\}
.PP
\-x, \-\-docbook
.RS 4
Written by a program.
.RE
.IP \(bu 2
One
.SH TABLE
.TS
tab(;);
l l.
a;T{
long
cell
T}
.TE
"""
MDOC = """.Dd May 1, 2020
.Dt POUR 1
.Os
.Sh NAME
.Nm pour
.Nd pours tea
.Sh SYNOPSIS
.Nm
.Op Fl v Ns Ar level
.Op Fl -cup Ar name
.Ar
.Sh DESCRIPTION
The
.Nm
utility is not
.Xr brew 1 .
Quote
.Dq this ,
please.
.Bl -tag -width Ds
.It Fl v , Fl -verbose
Says more.
.Bl -enum
.It
One
.El
.El
"""


def test_a_man_page_is_read_as_it_is_meant():
    manual = read_manual(MAN)
    assert (manual.name, manual.section, manual.source, manual.title) == ("brew", "1", "teatools 1.2", "User Commands")
    assert render_blocks(manual.blocks, "markdown") == "\n".join(
        [
            "## NAME\n\nbrew - make good tea\n",
            "## SYNOPSIS\n\nbrew [OPTION]... FILE\n",
            "## OPTIONS\n",
            "- `-a, --all`: brew 'all' of it, and LOUDLY.\n",
            "  More on it.\n",
            "- `-v or --verbose`\n",
            "  ```\n    $ brew \\\n      -v\n  ```\n",
            "- `-x, --docbook`: Written by a program.\n",
            "- One\n",
            "## TABLE\n\na | long cell",
        ]
    )


def test_an_option_of_an_option_is_told_from_its_description():
    page = read_manual(".TH T 1\n.SH S\n<type>\n.RS\nhard\n.RS\nFor the kernel.\n.RE\n.RE\n.PP\n# t \\-x\n")
    assert render_blocks(page.blocks, "markdown") == "## S\n\n- `<type>`\n\n  - `hard`: For the kernel.\n\n`# t -x`"


def test_an_mdoc_page_is_read_as_it_is_meant():
    manual = read_manual(MDOC)
    assert render_blocks(manual.blocks, "terminal") == "\n".join(
        [
            "NAME\n       pour - pours tea\n",
            "SYNOPSIS\n       pour [-vlevel] [--cup name] file ...\n",
            "DESCRIPTION\n       The pour utility is not brew(1). Quote “this”, please.\n",
            "       -v, --verbose\n           Says more.\n",
            "           1.  One",
        ]
    )


def test_manual_pages_carry_their_project_and_split_at_sections(tmp_path: Path):
    long = MAN + "".join(f".SH PART {n}\n{'word ' * 60}\n" for n in range(9))
    files: dict[str, str | bytes] = {
        "man1/brew.1.gz": gzip.compress(MAN.encode()),
        "man1/long.1": long,
        "man1/other.1": ".so man1/brew.1\n",
        "man1/none.1": "words\n",
        "man1/torn.1.gz": gzip.compress(MAN.encode())[:-20],
        "notes.txt": "x",
    }
    config = source(tmp_path, "manual_pages", files, max_characters=1_500)
    documents, rejects = read(config)
    whole, *parts = documents
    assert (whole.origin, whole.provider, whole.api, whole.kind) == ("in/man1/brew.1.gz", "teatools", "brew(1)", "manual_page")
    assert len(parts) > 1
    assert [p.origin for p in parts[:2]] == ["in/man1/long.1", "in/man1/long.1/part 2"]
    assert all(len(p.text) <= 1_500 for p in parts)
    assert all(p.text.split("\n")[2].removeprefix("## ") in ("NAME", *(f"PART {n}" for n in range(9))) for p in parts)
    assert [(r.origin, r.reason.partition(":")[0]) for r in rejects] == [
        ("in/man1/none.1", "not a manual page"),
        ("in/man1/other.1", "another name"),
        ("in/man1/torn.1.gz", "unreadable"),
    ]


@settings(max_examples=200)
@given(st.text(alphabet="ab .'\\\n\"()[]{}*$fB-", max_size=200))
def test_no_text_keeps_the_reader_of_manuals_from_ending(text: str):
    page = read_manual(f".TH T 1\n.SH NAME\nt \\- u\n{text}\n")
    assert "\x00" not in render_blocks(page.blocks, "markdown") + render_blocks(page.blocks, "terminal")


PAGE = """# brew tea

> Brew tea.
> See also: `pour`.
> More information: <https://example.com>.

- [B]rew a pot and write `it` to a [f]ile:

`brew {{[-p|--pot]}} {{path/to/pot}}`

- PDF menu:

`brew menu`
"""


def test_a_tldr_page_is_written_in_four_ways(tmp_path: Path):
    page = parse_page(PAGE)
    assert not isinstance(page, str)
    assert render_page(page, "table") == (
        "brew tea: Brew tea.\nSee also: `pour`.\n\nBrew a pot and write `it` to a file: brew --pot <path/to/pot>\n"
        "PDF menu: brew menu\n\nSee https://example.com"
    )
    assert "# Brew a pot and write `it` to a file\n$ brew --pot <path/to/pot>" in render_page(page, "session")
    assert "To brew a pot and write `it` to a file, run `brew --pot <path/to/pot>`." in render_page(page, "prose")
    rows = "".join(json.dumps({"name": f"common/{n}", "text": PAGE}) + "\n" for n in range(40))
    files: dict[str, str | bytes] = {"pages/common/brew.md": PAGE, "README.md": "# Read me\n", "pages/x.jsonl": rows}
    documents, (reject,) = read(source(tmp_path, "tldr_pages", files))
    assert {d.format for d in documents} == {"page", "table", "prose", "session"}
    assert {(d.provider, d.api, d.kind) for d in documents} == {("brew", "brew tea", "command_reference")}
    assert (reject.origin, reject.reason.partition(":")[0]) == ("in/README.md", "not a page")


def test_files_are_named_after_what_is_a_name():
    assert named_after("octokit==1.0/github/schema.graphql", "s") == "github"
    assert named_after("in/shopify-admin.tools.json", "s") == "shopify-admin"
    assert named_after("api/v1/schema.json", "s") == "s"
    assert named_after("@octokit/graphql-schema@15.26.1/schema.json", "s") == "octokit"
    assert named_after("shop@1.2.0/schema.json", "s") == "shop"


def test_types_that_go_in_and_come_out_are_parameters_and_results(tmp_path: Path):
    tool = {"id": "Text-to-Video", "desc": "Makes a video of a text.", "input-type": ["text"], "output-type": ["video"]}
    (documents, rejects) = read(source(tmp_path, "tool_lists", {"a.json": json.dumps([tool])}))
    assert rejects == []
    assert documents[0].signatures == "text_to_video(text)"
    assert "video" in documents[0].text.replace("Makes a video", "").replace("Text-to-Video", "").replace("Text_to_Video", "")


LEAVES = st.sampled_from(["string", "integer", "number", "boolean"]).map(lambda kind: {"type": kind})
NAMES = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=6)


def objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    members = st.dictionaries(NAMES, inner, min_size=1, max_size=3)
    return members.flatmap(
        lambda properties: st.lists(st.sampled_from(sorted(properties)), unique=True).map(
            lambda required: {"type": "object", "properties": properties, "required": required}
        )
    )


SCHEMAS = objects(LEAVES | LEAVES.map(lambda leaf: {"type": "array", "items": leaf}) | objects(LEAVES))


def same(made: dict[str, Any], given: dict[str, Any]) -> None:
    assert made.get("type") == given["type"]
    assert set(made.get("required", ())) == set(given.get("required", ()))
    assert made.get("properties", {}).keys() == given.get("properties", {}).keys()
    for name, member in given.get("properties", {}).items():
        same(made["properties"][name], member)
    if "items" in given:
        same(made["items"], given["items"])


@given(SCHEMAS)
def test_a_schema_keeps_names_types_and_needs(schema: dict[str, Any]):
    values: dict[str, Any] = {"provider": "p", "service": "s", "title": "t", "origin": "o", "license": "MIT"}
    operation = Operation(name="f", parameters=schema_parameters(schema), **values)
    same(operation_schema(operation)["parameters"], schema)


def test_schemas_are_resolved_and_circles_survived():
    schema = {
        "properties": {
            "ref": {"$ref": "#/$defs/a~1b", "description": "Mine."},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]},
            "both": {"allOf": [{"properties": {"x": {"type": "float"}}}, {"required": ["x"]}]},
            "kind": {"oneOf": [{"const": "a"}, {"const": "b"}]},
            "tags": {"additionalProperties": {"type": "string"}},
            "size": {"type": ["null", "integer"], "default": 3},
            "pairs": {"type": "List[int]"},
        },
        "$defs": {"a/b": {"type": "dict", "properties": {"y": {"type": "tuple"}}}},
    }
    found = {p.name: p for p in schema_parameters(schema)}
    assert (found["ref"].type, found["ref"].description, found["ref"].children[0].type) == ("object", "Mine.", "array")
    assert (found["maybe"].type, found["maybe"].items, len(found["maybe"].children)) == ("array", "object", 7)
    assert found["both"].children[0].required
    assert found["both"].children[0].type == "number"
    assert found["kind"].enum == ("a", "b")
    assert (found["tags"].type, found["tags"].items) == ("map", "string")
    assert (found["size"].type, found["size"].default) == ("integer", "3")
    assert (found["pairs"].type, found["pairs"].items) == ("array", "integer")
    with pytest.raises(ValueError, match="refers to itself"):
        schema_parameters({"properties": {"a": {"$ref": "#/properties/a"}}})
    with pytest.raises(LookupError):
        schema_parameters({"properties": {"a": {"$ref": "#/nowhere"}}})
    assert schema_result({"type": "array", "items": {"type": "string"}})[1] == "array of string"


def test_a_recipe_may_name_the_provider(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text('[{"name": "brew", "description": "Brews tea.", "parameters": {}}]')
    named = {"name": "s", "kind": "tool_lists", "location": str(tmp_path), "domain": "agent", "provider": "tea.example"}
    config = SourceConfig.model_validate(named)
    (document,) = read_items(config, list_items(config))
    assert isinstance(document, Document)
    assert document.provider == "tea.example"
