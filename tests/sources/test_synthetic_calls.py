"""Calls made from schemas: what they promise about validity, grounding and determinism."""

import re
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.sources.phrasing import imperative, plain, value_in_words
from hephaestus_dag.sources.synthesis.config import Kind, SyntheticCallsConfig
from hephaestus_dag.sources.synthesis.synthetic_calls import synthesise
from hephaestus_dag.sources.synthesis.values import UnfillableError, draw
from hephaestus_dag.sources.synthesis.wording import spoken
from hephaestus_dag.trajectories import Trajectory

TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}


def conforms(value: Any, schema: dict[str, Any]) -> bool:
    """Check a value against the part of JSON Schema that tools use."""
    kind = schema.get("type", "string")
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if value not in schema.get("enum", [value]):
        return False
    if kind in ("integer", "number"):
        in_range = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        return in_range and value % schema.get("multipleOf", value or 1) == 0
    if kind == "string":
        long_enough = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return long_enough and bool(re.search(schema.get("pattern", ""), value))
    if kind == "array":
        fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return fits and all(conforms(item, schema.get("items") or {}) for item in value)
    if kind == "boolean":
        return True
    members = schema.get("properties", {})
    extra = schema.get("additionalProperties", {})
    return set(schema.get("required", [])) <= set(value) and all(
        conforms(each, members.get(name, extra)) for name, each in value.items()
    )


def tool(name: str, description: str, required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "parameters": {"type": "object", "properties": properties, "required": required},
    }


STRING = {"type": "string"}
TOOLS = [
    tool("mail_send_message", "Sends a message to someone.", ["to_email"], to_email=STRING, subject=STRING),
    tool("mail_list_messages", "Lists messages. Newest first.", [], limit={"type": "integer", "minimum": 1, "maximum": 9}),
    tool("mail_delete_folder", "Deletes a folder.", ["folderId"], folderId=STRING),
    tool("disk_resize", "Resizes a disk.", ["size"], size={"type": "integer", "multipleOf": 8, "minimum": 8, "maximum": 64}),
    tool("disk_create", "Creates a disk.", ["zone", "kind"], zone=STRING, kind={"type": "string", "enum": ["ssd", "hdd"]}),
    tool("disk_tag", "Tags a disk.", ["tags"], tags={"type": "array", "items": STRING, "minItems": 2}),
]


SHARES: dict[Kind, float] = {"single": 0.25, "choose": 0.35, "parallel": 0.15, "refusal": 0.15, "missing": 0.1}


@pytest.fixture(scope="module")
def made() -> list[Trajectory]:
    return list(synthesise(TOOLS, 400, seed=7, shares=SHARES))


def test_calls_are_valid_and_said_by_the_user(made: list[Trajectory]):
    schemas = {each["name"]: each["parameters"] for each in TOOLS}
    for each in made:
        assert each.synthetic
        said = " ".join(message.content for message in each.messages if message.role == "user")
        for call in (call for message in each.messages for call in message.calls):
            assert call.name in [one["name"] for one in each.tools]
            assert conforms(call.arguments, schemas[call.name])
            assert all(value_in_words(value) in said for value in call.arguments.values())


def test_each_kind_does_what_it_is_named_after(made: list[Trajectory]):
    kinds = {kind: [each for each in made if f" {kind}:" in each.origin] for kind in SHARES}
    shares = Counter({kind: len(each) / len(made) for kind, each in kinds.items()})
    assert all(abs(shares[kind] - share) < 0.07 for kind, share in SHARES.items())
    assert all(len(each.tools) == 1 and each.messages[-1].calls for each in kinds["single"])
    assert all(2 <= len(each.tools) <= 4 for each in kinds["choose"])
    assert all(2 <= len(each.messages[-1].calls) <= 3 for each in kinds["parallel"])
    assert all(not each.messages[-1].calls and len(each.messages) == 2 for each in kinds["refusal"])
    assert all(not each.messages[1].calls for each in kinds["missing"])
    assert {len(each.messages) for each in kinds["missing"]} == {2, 4}


def test_the_same_seed_gives_the_same_and_more_begins_with_the_same(made: list[Trajectory]):
    assert list(synthesise(TOOLS, 50, seed=7, shares=SHARES)) == made[:50]
    assert list(synthesise(TOOLS, 50, seed=8, shares=SHARES)) != made[:50]


def test_too_few_tools_are_refused():
    with pytest.raises(ValueError, match="2 usable tools are too few"):
        list(synthesise(TOOLS[:2], 1, seed=0))


def test_kinds_with_results_need_operations_that_say_what_they_return():
    kinds = {each.origin.split(", ")[2].partition(":")[0] for each in synthesise(TOOLS, 100, seed=0)}
    assert kinds == set(SHARES)
    with pytest.raises(ValueError, match="the operations fit none of answered, chain"):
        list(synthesise(TOOLS, 1, seed=0, shares={"answered": 1, "chain": 1}))


@pytest.mark.parametrize("shares", [{}, {"single": 0}, {"single": 1, "chain": -1}])
def test_shares_that_draw_nothing_are_refused(shares: dict[Kind, float]):
    with pytest.raises(ValueError, match="shares holds a negative weight or none above 0"):
        SyntheticCallsConfig(count=1, shares=shares)


def test_parameters_that_are_no_python_names_are_not_used():
    odd = tool("mail_find_things", "Finds things.", [], **{"x.y": STRING, "from": STRING, "nextToken": STRING})
    made = synthesise([odd, *TOOLS[3:]], 200, seed=0, shares={"single": 1})
    assert {
        name for each in made for call in each.messages[1].calls for name in call.arguments if call.name == odd["name"]
    } == set()


def test_tools_that_cannot_be_filled_are_left_out():
    impossible = tool("odd_create", "Creates odd.", ["x"], x={"type": "string", "pattern": "^[0-9]{30}$"})
    calls = [c.name for t in synthesise([*TOOLS, impossible], 200, seed=0) for m in t.messages for c in m.calls]
    assert "odd_create" not in calls
    assert calls


SCALARS = st.one_of(
    st.just({"type": "boolean"}),
    st.just({}),
    st.builds(
        lambda a, b: {"type": "integer", "minimum": min(a, b), "maximum": max(a, b)}, st.integers(-50, 500), st.integers()
    ),
    st.builds(lambda n: {"type": "number", "minimum": n}, st.integers(-10, 10)),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, st.integers(0, 40), st.integers(0, 9)
    ),
    st.sampled_from([{"type": "string", "format": f} for f in ("date", "date-time", "email", "uri", "uuid", "ipv4")]),
    st.builds(lambda values: {"type": "string", "enum": values}, st.lists(st.text(min_size=1), min_size=1)),
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(
            lambda members: {"type": "object", "properties": members, "required": sorted(members)[:1]},
            st.dictionaries(st.sampled_from(["name", "size", "startDate", "userId", "count"]), inner, max_size=3),
        )
    ),
    max_leaves=5,
)


@given(SCHEMAS, st.sampled_from(["user id", "page size", "created at", "cidr block", "colour", "x"]), st.integers(0, 99))
def test_drawn_values_are_valid(schema: dict[str, Any], name: str, seed: int):
    try:
        value = draw(schema, name, Random(seed))
    except UnfillableError:
        return
    assert conforms(value, schema)


@pytest.mark.parametrize(
    ("sentence", "request_"),
    [
        ("Creates the specified user", "create the user"),
        ("Applies and removes tags", "apply and remove tags"),
        ("Permanently deletes a key", "permanently delete a key"),
        ("To list your buckets", "list your buckets"),
        ("Status of the job", None),
        ("The name of a bucket", None),
    ],
)
def test_descriptions_become_requests(sentence: str, request_: str | None):
    assert imperative(sentence) == request_


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Joins an an item and and the the list in a VPC.", "Joins an item and the list in a VPC."),
        ("Takes a an hour of the day", "Takes an hour of the day"),
    ],
)
def test_words_that_stand_twice_stand_once(text: str, expected: str):
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"DBInstanceArn": "a", "multiAZ": True}, "DB instance ARN `a` and multi AZ set to true"),
        ({"body": {"labels": {"stage": "x"}, "size": 3}}, "labels stage `x` and size 3"),
        ({"disk": {"diskSize": 3}, "IPv6Ids": ["a", "b"]}, "disk size 3 and IPv6 IDs `a` and `b`"),
        ({"MaxResults": 5}, "at most 5 results"),
    ],
)
def test_arguments_are_said_in_words(arguments: dict[str, Any], words: str):
    assert spoken(arguments) == words
