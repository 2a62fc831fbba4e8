"""The parsers of tools, schemas, procedures and pages survive damaged files."""

from pathlib import Path

import orjson
import pytest
from fuzzing import fuzz

SDL = b'''
"""Tea."""
type Query {
  "Finds pots."
  pots(leaf: Leaf! = OOLONG, size: [Int!], near: Place, old: Int @deprecated): [Pot!]!
  "Gone."
  cups: Int @deprecated(reason: "no more")
}
extend type Query { """Counts pots.""" count(where: Filter = {ml: 3}): Int }
type Mutation { "Brews tea." brew(input: Filter!): Pot }
enum Leaf { OOLONG SENCHA }
input Filter { "How much." ml: Int! inner: Filter }
input Place { name: String = "here" }
type Pot { id: ID! leaf: Leaf inner: Pot }
schema { query: Query mutation: Mutation }
'''
NAMED = {"kind": "NON_NULL", "ofType": {"kind": "LIST", "ofType": {"kind": "OBJECT", "name": "Pot"}}}
INTROSPECTION = {
    "data": {
        "__schema": {
            "queryType": {"name": "Query"},
            "types": [
                {
                    "kind": "OBJECT",
                    "name": "Query",
                    "fields": [
                        {
                            "name": "pots",
                            "description": "Finds pots.",
                            "args": [{"name": "leaf", "type": {"kind": "ENUM", "name": "Leaf"}, "defaultValue": "OOLONG"}],
                            "type": NAMED,
                        }
                    ],
                },
                {"kind": "OBJECT", "name": "Pot", "fields": [{"name": "inner", "args": [], "type": NAMED}]},
                {"kind": "ENUM", "name": "Leaf", "enumValues": [{"name": "OOLONG"}, {"name": "SENCHA", "isDeprecated": True}]},
            ],
        }
    }
}
SCHEMA = {
    "type": "object",
    "properties": {
        "leaf": {"$ref": "#/$defs/Leaf", "description": "What to brew."},
        "pots": {
            "type": "array",
            "items": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"ml": {"type": "int"}}}]},
        },
        "notes": {"type": ["string", "null"], "default": "none"},
        "extra": {"allOf": [{"properties": {"a": {"type": "dict"}}}, {"required": ["a"]}], "additionalProperties": False},
    },
    "required": ["leaf"],
    "$defs": {"Leaf": {"enum": ["oolong", "sencha"]}},
}
TOOL = {"name": "brew", "description": "Brews tea.", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True}}
LISTS = [
    {"type": "function", "function": {"name": "brew", "description": "Brews tea.", "parameters": SCHEMA}},
    {"name": "pour", "description": "Pours tea.", "input_schema": SCHEMA},
    {"name": "stir", "description": "Stirs tea.", "parameters": {"type": "dict", "properties": {"times": {"type": "float"}}}},
    {
        "api_name": "Tea API - Pots: wash",
        "api_call": "POST /pots",
        "functionality": "Washes.",
        "api_arguments": {"a": "int: b"},
    },
    {"id": "heat", "desc": "Heats.", "parameters": [{"name": "c", "type": "number", "desc": "Degrees."}]},
    {"tools": '[{"name": "sip", "description": "Sips.", "parameters": {"hot": {"type": "bool"}}}]'},
]
PROTO = b"""// The tea house.
syntax = "proto3";
package tea.v1;
import "tea/pot.proto";
option java_package = "com.tea.v1";
// Brews.
service Brewer {
  option (google.api.default_host) = "tea.example.com";
  // Brews a pot
  // of tea.
  rpc Brew(BrewRequest) returns (stream Pot) {
    option (google.api.http) = { post: "/v1/{name=pots/*}:brew" body: "*" };
  }
  rpc Pour(.tea.v1.Pot) returns (google.protobuf.Empty); // Pours.
}
message BrewRequest {
  // What to brew.
  string name = 1 [(google.api.field_behavior) = REQUIRED];
  repeated Leaf leaves = 2; /* Which. */
  map<string, Pot> pots = 3;
  oneof size { int32 ml = 4; double cups = 5; }
  enum Leaf { LEAF_UNSPECIFIED = 0; OOLONG = 1; }
  reserved 9 to 11;
}
message Pot { Pot inner = 1; google.protobuf.Timestamp made = 2; }
"""
MAN = b""".\\" A comment
.de Xy
.B \\\\$1
..
.ds Nn tea
.TH BREW 1 "May 2020" "teatools 1.2" "User \\(lqCommands"
.SH NAME
brew \\- make \\*(Nn
.SH SYNOPSIS
.B brew
[\\fIOPTION\\fR]... \\
FILE
.SH OPTIONS
.TP
\\fB\\-a\\fR, \\fB\\-\\-all\\fR
All of it, \\s-1LOUD\\s0.
.RS
.IP \\(bu 2
One
.if n \\{\\
.Xy two
.\\}
.ie t x
.el y
.RE
.nf
  $ brew \\e
    \\-a
.fi
.TS
tab(;);
l l.
a;b
T{
c
T};d
.TE
.UR https://example.com
.UE .
"""
MDOC = b""".Dd May 1, 2020
.Dt POUR 1
.Os
.Sh NAME
.Nm pour
.Nd pours tea
.Sh SYNOPSIS
.Nm
.Op Fl a Ns Ar b
.Oo Ar cup Oc
.Sh DESCRIPTION
The
.Nm
utility, see
.Xr brew 1 .
.Bl -tag -width Ds
.It Fl v , Fl -verbose
Says more.
.Bl -enum
.It
One
.El
.El
.Bd -literal
pour -a
.Ed
.Fo tea
.Fa "int ml"
.Fc
"""
PAGE = b"""# brew

> Brew tea.
> More information: <https://example.com>.

- [B]rew a pot:

`brew {{[-p|--pot]}} {{path/to/pot}}`

- Stop:

`brew stop`
"""
CASES = {
    "graphql": ("graphql", "tea.graphql", SDL),
    "graphql introspection": ("graphql", "tea.json", orjson.dumps(INTROSPECTION)),
    "mcp_tools": ("mcp_tools", "tea.json", orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": [TOOL, TOOL]}})),
    "tool_lists": ("tool_lists", "tea.json", orjson.dumps(LISTS)),
    "tool_lists lines": ("tool_lists", "tea.jsonl", b"\n".join(map(orjson.dumps, LISTS))),
    "protobuf": ("protobuf", "tea/brewer.proto", PROTO),
    "manual_pages man": ("manual_pages", "man1/brew.1", MAN),
    "manual_pages mdoc": ("manual_pages", "man1/pour.1", MDOC),
    "tldr_pages": ("tldr_pages", "common/brew.md", PAGE),
}
LENIENT = ("manual_pages man", "manual_pages mdoc", "tldr_pages")
"""What is damaged can still be read as long as its title is whole, so that few copies are set aside."""


@pytest.mark.parametrize("case", CASES)
def test_damaged_files_are_set_aside(case: str, tmp_path: Path) -> None:
    kind, name, content = CASES[case]
    assert fuzz(kind, tmp_path / "in", name, content, count=300) >= (1 if case in LENIENT else 30)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_ten_thousand_damaged_files_are_set_aside(case: str, tmp_path: Path) -> None:
    kind, name, content = CASES[case]
    assert fuzz(kind, tmp_path / "in", name, content, count=10_000)
