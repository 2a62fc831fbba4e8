"""What a reader meets: descriptions made plain and cut where they may be, and an operation in each format."""

import ast
import json
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.documents import Document
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.operations import Operation, Parameter, documentation
from hephaestus_dag.sources.rendering.descriptions import clean_html, clean_markdown, shorten
from hephaestus_dag.sources.rendering.formats import (
    FORMATS,
    LONGEST,
    PROSE_FORMATS,
    choose_format,
    formats_of,
    operation_schema,
    render,
)

BREW = Operation(
    name="tea-pots/brew",
    provider="tea.example",
    service="tea",
    title="Tea House",
    origin="tea.json/POST /pots/{pot-id}",
    license="MIT",
    description="Brews tea in a pot.\nThe pot must be empty.",
    method="POST",
    path="/pots/{pot-id}",
    server="https://tea.example/v1",
    parameters=(
        Parameter("X-Trace", "string", location="header", description="Shown in */ logs", default='"none"'),
        Parameter("pot-id", "integer", required=True, location="path", format="int64"),
        Parameter("from", "string", required=True, location="query", enum=("tap", "well")),
        Parameter("size", "integer", location="query", enum=("1", "2"), default="2"),
        Parameter(
            "body",
            "object",
            required=True,
            location="body",
            children=(
                Parameter("leaf", "string", required=True, description="What to brew.", enum=("oolong", "it's sencha")),
                Parameter("when", "string", format="date-time"),
                Parameter("cups", "array", items="object", children=(Parameter("ml", "number"),)),
                Parameter("notes", "map", items="string"),
            ),
        ),
    ),
    returns=(Parameter("id", "string", format="uuid", description="Of the brew."),),
    result="array of object",
    response="The brews so far",
    errors=(("404", "No such pot"),),
)
WIDE = Operation(
    name="wide",
    provider="p",
    service="s",
    title="Wide",
    origin="o",
    license="MIT",
    description="Does much. " * 900,
    path="/wide",
    parameters=tuple(
        Parameter(
            f"option_{n}",
            "object",
            required=n % 7 == 0,
            description=f"Sets option {n}. " * 20,
            children=tuple(Parameter(f"field_{m}", "string", description="Inner words. " * 9) for m in range(40)),
        )
        for n in range(150)
    ),
)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_tells_name_service_call_parameters_values_result_and_errors(form: Any):
    text = render(BREW, form)
    for word in ("tea-pots/brew", "Tea House", "POST /pots/{pot-id}", "Brews tea in a pot.", "oolong", "well", "uuid"):
        assert word in text
    for parameter in (*BREW.parameters, *BREW.parameters[-1].children):
        assert parameter.name in text
    if form != "schema":
        assert "No such pot" in text
        assert "The brews so far" in text


@pytest.mark.parametrize("form", FORMATS)
def test_an_operation_of_unusual_size_keeps_its_required_parameters(form: Any):
    text = render(WIDE, form)
    assert len(text) <= 1.2 * LONGEST
    assert all(re.search(rf"\b{parameter.name}\b", text) for parameter in WIDE.parameters if parameter.required)
    assert text == render(WIDE, form)


def test_a_signature_is_python():
    head = render(BREW, "signature").partition(" -> list[dict]")[0]
    (node,) = ast.parse(f"def {head}: ...").body
    assert isinstance(node, ast.FunctionDef)
    assert (node.name, [argument.arg for argument in node.args.args]) == (
        "tea_pots_brew",
        ["pot_id", "from_", "body", "X_Trace", "size"],
    )
    assert [ast.literal_eval(default) for default in node.args.defaults] == ["none", 2]
    assert "`pot-id`" in render(BREW, "signature")


def test_a_schema_page_is_json_with_values_of_their_type():
    page = json.loads(render(BREW, "schema"))
    assert page["parameters"]["required"] == ["pot-id", "from", "body"]
    assert page["parameters"]["properties"]["size"] == {"type": "integer", "enum": [1, 2], "default": 2}
    body = page["parameters"]["properties"]["body"]["properties"]
    assert body["cups"] == {"type": "array", "items": {"type": "object", "properties": {"ml": {"type": "number"}}}}
    assert body["notes"] == {"type": "object", "additionalProperties": {"type": "string"}}
    assert page["returns"]["items"]["properties"]["id"]["format"] == "uuid"
    assert operation_schema(BREW)["parameters"]["properties"]["body"]["required"] == ["leaf"]


def test_a_typescript_declaration_closes_what_it_opens():
    text = render(BREW, "typescript")
    assert '  "X-Trace"?: string;' in text
    assert "Shown in *\\/ logs" in text
    assert text.count("/**") == text.count("*/")
    assert text.count("{") - text.count("{pot-id}") == text.count("}") - text.count("{pot-id}")
    assert 'leaf: "oolong" | "it\'s sencha";' in text
    assert text.endswith("}[]>;")


def test_a_result_of_which_nothing_is_said_is_not_told_to_be_none():
    unknown = replace(BREW, returns=(), result="", response="")
    assert ") -> Any" in render(unknown, "signature")
    assert "Promise<unknown>;" in render(unknown, "typescript")


@pytest.mark.parametrize("form", FORMATS)
def test_what_follows_a_hash_is_never_sent_and_not_told(form: Any):
    marked = replace(BREW, method="POST", path="/v1/do#Target=Make")
    assert "#Target" not in render(marked, form)
    assert "/v1/do" in render(marked, form)


def test_no_line_of_a_document_ends_in_blanks():
    config = SourceConfig(name="s", kind="tool_lists", location="in", domain="agent")
    for origin in "abcdefgh":  # several formats
        told = replace(BREW, origin=origin, description="**Needs:** \n* a key.\t\nThat is all.")
        (document,) = documentation(config, [told])
        assert isinstance(document, Document)
        assert not re.search(r"[ \t]$", document.text, re.MULTILINE)


def test_a_request_is_a_command_that_a_shell_reads():
    page = render(BREW, "http")
    command = page.partition("Example request:\n\n")[2].partition("\n\nParameters:")[0]
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:4] == ["curl", "-X", "POST", "https://tea.example/v1/pots/1?from=tap"]
    assert json.loads(words[words.index("-d") + 1]) == {"leaf": "oolong"}
    assert json.loads(page.partition("The brews so far\n\n")[2].partition("\n\nid")[0])[0]["id"].count("-") == 4


def test_formats_are_drawn_evenly_and_a_request_only_where_there_is_a_path():
    assert formats_of(BREW) == FORMATS
    unreachable = Operation(name="n", provider="p", service="s", title="t", origin="o", license="MIT")
    assert "http" not in formats_of(unreachable)
    unplaced = replace(BREW, parameters=(Parameter("leaf", "string"),))
    assert "http" not in formats_of(unplaced)
    drawn = [choose_format(f"origin {n}", formats=FORMATS) for n in range(500)]
    assert all(70 <= drawn.count(form) <= 130 for form in FORMATS)
    assert {choose_format(f"origin {n}") for n in range(50)} == set(PROSE_FORMATS)
    assert drawn != [choose_format(f"origin {n}", 1, FORMATS) for n in range(500)]


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("Plain words.", "Plain words."),
        ("See [the **guide**](https://a.b/c_(d)) or ![logo](x.png)[ref][1].\n\n[1]: https://a.b", "See the guide or ref."),
        ("**Note:** *really* __do it__ `a*b*c`", "Note: really do it `a*b*c`"),
        ("snake_case_name, __init__ and __main__, 2 * 3 * 4", "snake_case_name, __init__ and __main__, 2 * 3 * 4"),
        ("## Errors ##\nMany", "Errors:\nMany"),
        ("* one\n  * two\n1. three", "- one\n  - two\n1. three"),
        ("| a | b |\n|---|:-:|\n| 1 | `x` |", "a | b\n1 | `x`"),
        ("<p>Uses <code>x</code>.</p><table><tr><td>a</td><td>b</td></tr></table>", "Uses `x`.\na | b"),
        (
            "a<br/>b <bucket> <https://a.b> &lt;x&gt; ?a=1&parameter=2",
            "a\nb <bucket> https://a.b <x> ?a=1&parameter=2",
        ),
        ("```json\n  {\n    **a** \n  }\n```\nafter", "```\n{\n  **a**\n}\n```\nafter"),
        ("left <!-- hidden\nwords --> right", "left right"),
        ("Image: data:image/png;base64," + "A" * 300, "Image: data:image/png;base64," + "A" * 38 + "..."),
        (
            "These words were broken at the eightieth column, as is the custom of\nwriters.\nNot\nthese",
            "These words were broken at the eightieth column, as is the custom of writers.\nNot\nthese",
        ),
        ("Escaped \\_underscores\\_ and\r\nline ends", "Escaped _underscores_ and\nline ends"),
    ],
)
def test_markdown_and_html_become_plain_text(written: str, plain: str):
    assert clean_markdown(written) == plain


def test_entities_need_their_semicolon():
    assert clean_html("a&lt;b &amp; c&parameter=1") == "a<b & c&parameter=1"


@given(st.text(alphabet=st.sampled_from("ab `*_[]()<>|#-\n&;.:/!~\\"), max_size=80) | st.text(max_size=80))
def test_cleaning_never_fails_and_leaves_no_empty_lines(text: str):
    clean = clean_markdown(text)
    assert "\n\n" not in clean or "```" in clean or clean == text


LIST = "Takes one of these:\n- first choice\n- second choice\n- third choice"
CODE = "Call it like this.\n```\nx = 1. Then 2.\ny = 2\n```\nIt answers."
TABLE = "Codes are listed.\n1 | one thing\n2 | other thing"


@pytest.mark.parametrize(
    ("text", "longest", "short"),
    [
        ("One. Two three. Four.", 14, "One."),
        ("One, e.g. Two. Three.", 16, "One, e.g. Two."),
        (LIST, 40, "Takes one of these:\n- first choice"),
        (LIST, 22, "Takes one of these:\n- first choice"),  # not the words that only introduce it
        (CODE, 30, "Call it like this."),
        (CODE, 52, "Call it like this.\n```\nx = 1. Then 2.\ny = 2\n```"),
        (TABLE, 35, "Codes are listed.\n1 | one thing"),
        (
            "this clause is here, and that one goes on for long without any end at all, so it is cut",
            28,
            "this clause is here, ...",
        ),
        ("w" * 50, 10, "w" * 10 + " ..."),
    ],
)
def test_a_text_is_cut_at_its_structure(text: str, longest: int, short: str):
    assert shorten(text, longest) == short


WORD = st.sampled_from(["alpha", "beta.", "Gamma", "delta:", "one,", "`code`", "\n- item", "\nrow | cell"])


@given(st.lists(WORD, max_size=60), st.integers(20, 120), st.integers(0, 3))
def test_a_cut_text_ends_where_something_ends(words: list[str], longest: int, blocks: int):
    text = " ".join(words).strip() + "\n```\nif x: y. Z\nelse: z\n```" * blocks
    short = shorten(text, longest)
    assert text.startswith(short.removesuffix(" ..."))
    assert len(short) <= max(3 * longest, longest + 4)
    if short != text and not short.endswith(" ..."):
        assert short.count("```") % 2 == 0
        rest = text[len(short) :]
        assert rest.startswith("\n") or short.endswith((".", "!", "?"))
