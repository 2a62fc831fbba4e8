"""What a trajectory must be to be learned from."""

from dataclasses import replace
from typing import Any

import pytest

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.validation import checked, validate
from hephaestus_dag.trajectories import Call, Message, Trajectory

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 2}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOL = {"name": "weather", "description": "", "parameters": PARAMETERS}
USER = Message(role="user", content="Weather?")
RESULT = Message(role="tool", content="12")
SAID = Message(role="assistant", content="12 degrees.")


def called(*arguments: dict[str, Any], name: str = "weather") -> Message:
    return Message(role="assistant", calls=tuple(Call(name=name, arguments=each) for each in arguments))


ONE = called({"city": "Ulm"})
TWO = called({"city": "Ulm"}, {"city": "Bonn"})
GOOD = Trajectory(messages=(USER, ONE, RESULT, SAID), tools=(TOOL,), source="s", origin="a/b.json row 3", license="MIT")


def tool(parameters: Any, name: str = "weather") -> dict[str, Any]:
    return {"name": name, "description": "", "parameters": parameters}


@pytest.mark.parametrize(
    "messages",
    [
        (USER, SAID),
        (Message(role="system", content="Be brief."), USER, ONE),
        (USER, ONE, RESULT, ONE, RESULT, SAID),
        (USER, ONE, ONE, SAID)[:2],
        (USER, TWO, RESULT, RESULT, SAID),
        (USER, TWO, replace(RESULT, answers=1), replace(RESULT, answers=0)),
        (USER, TWO, RESULT, USER, SAID),
        (USER, ONE, replace(RESULT, content=""), SAID),
        (USER, ONE, USER, ONE),
    ],
)
def test_turns_that_make_sense(messages: tuple[Message, ...]) -> None:
    assert validate(replace(GOOD, messages=messages)) is None


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ((), "turns: no assistant turn"),
        ((USER,), "turns: no assistant turn"),
        ((USER, RESULT, SAID), "turns: turn 2 is a result without a call"),
        ((USER, ONE, RESULT, RESULT, SAID), "turns: turn 4 is a result without a call"),
        ((USER, ONE, replace(RESULT, answers=1)), "turns: turn 3 is a result without a call"),
        ((USER, TWO, *[replace(RESULT, answers=1)] * 2), "turns: turn 4 is a result without a call"),
        ((USER, USER, SAID), "turns: two turns of user in a row"),
        ((USER, SAID, SAID), "turns: two turns of assistant in a row"),
        ((USER, SAID, Message(role="system", content="x")), "turns: turn 3 is one of system, which may only open"),
        ((USER, Message(role="assistant")), "turns: turn 2 of assistant is empty"),
        ((replace(USER, content=" "), SAID), "turns: turn 1 of user is empty"),
        ((replace(USER, calls=ONE.calls), SAID), "turns: turn 1 of user calls a tool"),
        ((USER, called({}, name="news")), "undeclared tool: news is called, which is not among weather"),
        ((USER, called({})), 'arguments: weather: "city" is a required property'),
        ((USER, called({"city": "Ulm"}, {"city": 7})), 'arguments: weather: city: 7 is not of type "string"'),
        ((USER, called({"city": "Ulm", "dayz": 1})), "arguments: weather has no parameter dayz"),
        ((USER, replace(SAID, content="\ud800")), "not UTF-8: surrogates not allowed"),
        ((USER, called({"city": "\ud800"})), "not UTF-8: surrogates not allowed"),
    ],
)
def test_what_is_wrong_is_said(messages: tuple[Message, ...], reason: str) -> None:
    assert validate(replace(GOOD, messages=messages)) == reason


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        ((TOOL, tool({}, "weather")), "tools: two are called weather"),
        ((TOOL, tool({"type": "dict"}, "f")), "broken schema: f: "),
        ((TOOL, tool({"properties": 3}, "f")), "broken schema: f: "),
        ((TOOL, tool({"properties": {"a": {"$ref": "#/nowhere"}}}, "f")), "broken schema: f: "),
        ((TOOL, tool({"$ref": "http://example.com/schema"}, "f")), "broken schema: f: "),
        ((TOOL, tool({"properties": {"a": {"pattern": "("}}}, "f")), "broken schema: f: "),
    ],
)
def test_broken_tools_are_named(tools: tuple[dict[str, Any], ...], reason: str) -> None:
    assert (validate(replace(GOOD, tools=tools)) or "").startswith(reason)


@pytest.mark.parametrize("more", [{"additionalProperties": True}, {"allOf": [{"properties": {"zip": {"type": "string"}}}]}])
def test_a_schema_that_says_more_than_its_properties_allows_more(more: dict[str, Any]) -> None:
    messages = (USER, called({"city": "Ulm", "zip": "89073"}))
    assert validate(replace(GOOD, tools=(tool({**PARAMETERS, **more}),), messages=messages)) is None


def test_an_optional_argument_may_be_its_own_default_of_another_type() -> None:
    parameters = {"properties": {"unit": {"type": "string", "default": None}}}
    for value, valid in ((None, True), ("C", True), (0, False)):
        messages = (USER, called({"unit": value}))
        assert (validate(replace(GOOD, tools=(tool(parameters),), messages=messages)) is None) == valid
        required = tool({**parameters, "required": ["unit"]})
        assert (validate(replace(GOOD, tools=(required,), messages=messages)) is None) == (value == "C")


def test_without_declared_tools_the_calls_stand_and_are_known() -> None:
    undeclared = replace(GOOD, tools=(), messages=(USER, called({"anything": 1}, name="news")))
    assert validate(undeclared) is None
    assert undeclared.signatures() == ["news(anything)"]


def test_what_fails_is_set_aside_with_file_position_and_reason() -> None:
    config = SourceConfig(name="s", kind="sharegpt", location="a", domain="agent")
    assert checked(config, "a/b.json", replace(GOOD, messages=(USER,))) == Reject(
        source="s", origin="a/b.json", position="row 3", reason="turns: no assistant turn"
    )
    earlier = Reject(source="s", origin="o", position="p", reason="r")
    assert checked(config, "a/b.json", earlier) is earlier
    kept = checked(config, "a/b.json", GOOD)
    assert isinstance(kept, Trajectory)
    assert kept.format
    assert kept == replace(GOOD, format=kept.format)
