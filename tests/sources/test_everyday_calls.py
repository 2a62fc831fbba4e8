"""Everyday calls: values stand in the question, calls fit their schemas, and training never sees what development asks."""

import json
import re
from collections import Counter
from random import Random
from typing import Any

import pytest

from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.synthesis.config import SyntheticCallsConfig
from hephaestus_dag.sources.synthesis.everyday.calls import EVERYDAY_SHARES, make_everyday, synthesise_everyday
from hephaestus_dag.sources.synthesis.everyday.catalogue import declare, load_functions, say, tidy
from hephaestus_dag.sources.synthesis.everyday.values import Kind, Value, parse_kind
from hephaestus_dag.sources.synthesis.synthetic_calls import draw_operations, quoted, synthesise_from_sources
from hephaestus_dag.trajectories import Message, Trajectory

TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
MADE = list(synthesise_everyday(600, seed=3))


def kind_of(trajectory: Trajectory) -> str:
    return trajectory.origin.split(", ")[2].partition(":")[0]


def calls_of(trajectory: Trajectory) -> list[Any]:
    return [call for message in trajectory.messages for call in message.calls]


def test_the_same_numbers_give_the_same_trajectories() -> None:
    assert list(synthesise_everyday(40, seed=3)) == MADE[:40]
    assert list(synthesise_everyday(40, seed=4)) != MADE[:40]


def test_every_call_fits_the_schema_of_a_tool_at_hand() -> None:
    for trajectory in MADE:
        schemas = {tool["name"]: tool["parameters"] for tool in trajectory.tools}
        for call in calls_of(trajectory):
            schema = schemas[call.name]
            assert set(schema["required"]) <= set(call.arguments) <= set(schema["properties"])
            for name, value in call.arguments.items():
                member = schema["properties"][name]
                assert isinstance(value, TYPES[member["type"]]), (call, member)
                assert isinstance(value, bool) == (member["type"] == "boolean")
                assert value in member.get("enum", [value])
                if member["type"] == "array":
                    assert all(isinstance(item, TYPES[member["items"]["type"]]) for item in value)
            assert re.fullmatch(r"[A-Za-z_][\w.]*\(.*\)", call.as_python(), re.DOTALL)
            assert "**" not in call.as_python()


def test_strings_are_copied_from_what_the_user_says() -> None:
    found = total = 0
    for trajectory in MADE:
        said = " ".join(message.content for message in trajectory.messages if message.role == "user").lower()
        for call in calls_of(trajectory):
            schema = next(tool for tool in trajectory.tools if tool["name"] == call.name)["parameters"]["properties"]
            for name, value in call.arguments.items():
                if isinstance(value, str) and "enum" not in schema[name]:
                    total += 1
                    found += value.lower() in said
    assert total > 300
    assert found / total > 0.9  # the others are dates and times in other words


def test_kinds_come_in_their_shares_and_mean_what_they_say() -> None:
    shares = Counter(map(kind_of, MADE))
    assert all(abs(shares[kind] / len(MADE) - share) < 0.06 for kind, share in EVERYDAY_SHARES.items())
    for trajectory in MADE:
        first = trajectory.messages[1]
        names = {call.name for call in first.calls}
        match kind_of(trajectory):
            case "single":
                assert len(first.calls) == len(trajectory.tools) == 1
            case "choose":
                assert len(first.calls) == 1 < len(trajectory.tools)
            case "parallel":
                assert len(first.calls) > 1 == len(names)
                assert len({json.dumps(call.arguments) for call in first.calls}) == len(first.calls)
            case "mixed":
                assert len(names) > 1
            case _:
                assert not first.calls
                assert first.content


def test_a_conversation_holds_requests_of_many_kinds_about_the_same_tools() -> None:
    made = [each for each in synthesise_everyday(300, seed=3, conversations=0.8) if kind_of(each) == "conversation"]
    assert 200 < len(made) < 280
    first_turns = Counter(bool(each.messages[1].calls) for each in made)
    assert first_turns[True] > first_turns[False] > 30
    for trajectory in made:
        roles = [message.role for message in trajectory.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert len(roles) // 2 >= 2
        schemas = {tool["name"]: tool["parameters"] for tool in trajectory.tools}
        for call in calls_of(trajectory):
            assert set(schemas[call.name]["required"]) <= set(call.arguments) <= set(schemas[call.name]["properties"])
        for wish, reply in zip(trajectory.messages[::2], trajectory.messages[1::2], strict=True):
            assert wish.content
            assert bool(reply.calls) != bool(reply.content)
    assert any(len(trajectory.tools) > 1 for trajectory in made)
    assert max(len({call.name for call in message.calls}) for each in made for message in each.messages) > 1


def test_what_is_missing_is_asked_for_and_then_used() -> None:
    answered = [each for each in MADE if kind_of(each) == "missing" and len(each.messages) == 4]
    assert answered
    for trajectory in answered:
        (call,) = trajectory.messages[3].calls
        assert set(trajectory.tools[0]["parameters"]["required"]) <= set(call.arguments)


def test_questions_have_no_traces_of_templates() -> None:
    for trajectory in MADE:
        for message in trajectory.messages:
            assert not re.search(r"[{}]|\s[,.?!]|\s\s|[,;:][.?!]|\bNone\b(?! of)", message.content), message.content


def test_held_out_topics_and_values_never_occur_in_training() -> None:
    held_out = list(synthesise_everyday(200, seed=3, held_out=True))
    topics = [{function.does for function in load_functions(held_out=flag)} for flag in (False, True)]
    assert all(topics)
    assert not topics[0] & topics[1]
    descriptions = [{tool["description"] for each in part for tool in each.tools} for part in (MADE, held_out)]
    assert not descriptions[0] & descriptions[1]
    for name in ("city", "movie", "plant", "museum", "last"):
        drawn = [{Kind(name, ()).draw(Random(n), flag).value for n in range(300)} for flag in (False, True)]
        assert not drawn[0] & drawn[1]


def test_one_function_is_declared_in_many_ways() -> None:
    function = load_functions(held_out=False)[0]
    tools = [declare(function, Random(n)) for n in range(60)]
    assert len({tool.schema["name"] for tool in tools}) > 8
    assert len({json.dumps(tool.schema) for tool in tools}) > 40
    for tool in tools:
        assert set(tool.shown.values()) <= set(tool.schema["parameters"]["properties"])


def test_a_question_leaves_out_what_is_not_given() -> None:
    question = "Find a flight[ from {a}][ to {b}][, {direct|direct|stops are fine}]."
    assert say(question, {"a": Value("Ulm", "Ulm")}) == "Find a flight from Ulm."
    assert say(question, {"b": Value("Rom", "Rom"), "direct": Value(False, "no")}) == "Find a flight to Rom, stops are fine."
    assert tidy("what , then ?") == "What, then?"


@pytest.mark.parametrize("wrong", ["", "nonsense", "list(nonsense)", "int(1"])
def test_an_unknown_kind_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no kind of value"):
        parse_kind(wrong)


def test_every_function_can_be_asked_for_in_every_kind() -> None:
    for flag in (False, True):
        functions = load_functions(flag)
        for kind in EVERYDAY_SHARES:
            assert make_everyday(kind, functions, Random(1), flag, "test").messages
    assert len(load_functions(False)) > 100


def test_everyday_calls_follow_those_of_the_recipe_s_operations() -> None:
    config = SyntheticCallsConfig(count=0, everyday=5)
    assert list(synthesise_from_sources([], config)) == list(synthesise_everyday(5, 0))
    assert not list(synthesise_from_sources([], SyntheticCallsConfig(count=0)))


def test_held_out_services_are_never_drawn() -> None:
    source = SourceConfig(name="aws", kind="botocore", location="package:botocore", domain="agent", license="Apache-2.0")
    first = {operation.service for operation in draw_operations([source], 1, seed=0)}
    others = {operation.service for operation in draw_operations([source], 1, seed=0, wanted=lambda name: name not in first)}
    assert first
    assert others
    assert not first & others


def test_marks_around_values_change_in_the_user_s_words_alone() -> None:
    assert quoted(Message(role="user", content="Use `a b` and `c`."), "'").content == "Use 'a b' and 'c'."
    assert quoted(Message(role="assistant", content="`a`"), "'").content == "`a`"
