"""Calls with results and chains of calls, made from real operations: validity, grounding and agreement."""

import json
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hephaestus_dag.sources import list_items, load_kind
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.operations import Operation, Parameter
from hephaestus_dag.sources.phrasing import value_in_words
from hephaestus_dag.sources.synthesis.config import SyntheticCallsConfig
from hephaestus_dag.sources.synthesis.links import Links
from hephaestus_dag.sources.synthesis.results import GENERIC, is_job
from hephaestus_dag.sources.synthesis.synthetic_calls import synthesise, synthesise_from_sources
from hephaestus_dag.sources.synthesis.tasks import find_tasks
from hephaestus_dag.sources.synthesis.wording import plural, singular, words
from hephaestus_dag.sources.tool_schemas import tool_with_returns, trim_tool
from hephaestus_dag.trajectories import Call, Trajectory

SERVICES = {
    "botocore": ("package:botocore", ("sqs", "ecs", "kinesis", "workspaces", "amplify")),
    "google_discovery": ("package:google-api-python-client", ("tasks.v1", "drive.v3", "dns.v1", "pubsub.v1", "classroom.v1")),
}


@cache
def operations() -> tuple[dict[str, Any], ...]:
    """Return the tools of some AWS and Google services, with what they return."""
    found: list[Operation] = []
    for kind, (location, services) in SERVICES.items():
        source = SourceConfig(name=kind, kind=kind, location=location, domain="agent", license="Apache-2.0")
        read: Any = load_kind(kind)
        for item in list_items(source):
            if set(services) & set(item.split("/")):
                found += [each for each in read.read_operations(source, item) if isinstance(each, Operation)]
    return tuple(tool_with_returns(operation, longest=2_500) for operation in found)


def made(seed: int, count: int = 25, **shares: float) -> list[Trajectory]:
    return list(synthesise(operations(), count, seed, shares=shares or {"answered": 1, "chain": 1, "follow_up": 1}))  # type: ignore[arg-type]


def steps(trajectory: Trajectory) -> list[tuple[Call, dict[str, Any]]]:
    """Return calls with their results."""
    calls = [call for message in trajectory.messages for call in message.calls]
    results = [json.loads(message.content) for message in trajectory.messages if message.role == "tool"]
    return list(zip(calls, results, strict=True))


def scalars(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [each for item in inner for each in scalars(item)]


def said(text: str, value: Any) -> set[str]:
    """Return the spellings of a value that stand in a text."""
    return {spelling for spelling in (value_in_words(value), json.dumps(value, ensure_ascii=False)) if spelling in text}


def fields(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, list):
        return [pair for item in value for pair in fields(item)]
    return [pair for n, v in value.items() for pair in [(words(n), v), *fields(v)]] if isinstance(value, dict) else []


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_arguments_and_results_are_valid_against_the_shown_and_the_full_schema(seed: int):
    full = {tool["name"]: tool for tool in reversed(operations())}
    for trajectory in made(seed):
        assert trajectory.synthetic
        assert trajectory.to_document().kind == "synthetic_trajectory"
        shown = {tool["name"]: tool for tool in trajectory.tools}
        for call, result in steps(trajectory):
            for tool in (shown[call.name], full[call.name]):
                Draft202012Validator.check_schema(tool["returns"])
                Draft202012Validator(tool["parameters"]).validate(call.arguments)
                Draft202012Validator(tool["returns"]).validate(result)
            assert set(result) <= set(shown[call.name]["returns"]["properties"])
            assert set(call.arguments) <= set(shown[call.name]["parameters"]["properties"])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_each_later_call_takes_a_value_that_only_an_earlier_result_gave(seed: int):
    for trajectory in made(seed, chain=1, follow_up=1):
        assert 2 <= len(steps(trajectory)) <= 4
        asked, returned, calls = "", "", 0
        for message in trajectory.messages:
            if message.role == "user":
                asked += message.content
            for call in message.calls:
                calls += 1
                values = scalars(list(call.arguments.values()))
                new = [v for v in values if not said(asked, v)]
                assert all(json.dumps(v, ensure_ascii=False) in returned for v in new), trajectory.origin
                assert bool(new) == (calls > 1), trajectory.origin
            if message.role == "tool":
                returned += message.content


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_answers_state_only_what_a_result_says(seed: int):
    for trajectory in made(seed):
        returned: list[str] = []
        for message in trajectory.messages:
            if message.role == "tool":
                returned += [value_in_words(value) for value in scalars(json.loads(message.content))]
            if message.role == "assistant" and message.content:
                assert set(re.findall(r"`[^`]*`", message.content)) <= set(returned), trajectory.origin


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_results_agree_with_the_arguments_and_hold_no_pages(seed: int):
    for trajectory in made(seed):
        returns = {tool["name"]: tool["returns"] for tool in trajectory.tools}
        for call, result in steps(trajectory):
            given_ = {words(name): value for name, value in call.arguments.items()}
            for name, value in fields(result):
                assert not re.search(r"\btoken$|marker$", name) or name in ("access token", "session token")
                if isinstance(value, str) and isinstance(given_.get(name), str) and name not in GENERIC:
                    assert value == given_[name] or is_job(returns[call.name]), (trajectory.origin, name)
            assert all(len(each) <= 3 for each in result.values() if isinstance(each, list)) or any(
                isinstance(value, list) for value in scalars_of_lists(call.arguments)
            )


def scalars_of_lists(arguments: Any) -> list[list[Any]]:
    """Return the lists in arguments: a result may hold one item for each of theirs."""
    inner = arguments.values() if isinstance(arguments, dict) else arguments if isinstance(arguments, list) else ()
    return [found for each in inner for found in ([each] if isinstance(each, list) else []) + scalars_of_lists(each)]


def test_kinds_have_the_turns_they_are_named_after():
    roles = {
        kind: [[m.role for m in t.messages] for t in made(1, 60, **{kind: 1})] for kind in ("answered", "chain", "follow_up")
    }
    assert all(each == ["user", "assistant", "tool", "assistant"] for each in roles["answered"])
    assert all(each[0] == "user" and each.count("user") == 1 and each[-1] == "assistant" for each in roles["chain"])
    assert {each.count("tool") for each in roles["chain"]} >= {2, 3}
    assert all(each == ["user", "assistant", "tool", "assistant"] * (len(each) // 4) for each in roles["follow_up"])
    assert {each.count("user") for each in roles["follow_up"]} == {2, 3}


def test_the_same_seed_gives_the_same_and_more_begins_with_the_same():
    assert made(5, 40) == [*made(5, 40)]
    assert made(5, 40)[:15] == made(5, 15)
    assert made(5, 15) != made(6, 15)


def test_a_chain_is_made_of_calls_that_fit_in_reality():
    tasks = find_tasks(operations())
    links = Links(tasks)
    pairs = {(tasks[link.giver].name, tasks[link.taker].name) for place in links.givers[0] for link in links.after(place)}
    assert {
        ("sqs_create_queue", "sqs_send_message"),
        ("ecs_create_task_set", "ecs_delete_task_set"),
        ("tasks_tasklists_list", "tasks_tasklists_get"),
    } & pairs >= {("sqs_create_queue", "sqs_send_message")}
    assert ("sqs_send_message", "sqs_create_queue") not in pairs
    assert all(tasks[a].service == tasks[b].service for a in links.givers[0] for b in (link.taker for link in links.after(a)))
    assert len(pairs) > 100


def test_no_thing_is_ended_that_was_just_made():
    tasks = find_tasks(operations())
    links = Links(tasks)
    verbs = {(tasks[a].verb, tasks[link.taker].verb) for a in links.givers[0] for link in links.after(a)}
    assert ("create", "delete") not in verbs
    assert ("list", "delete") in verbs


def test_trimming_keeps_what_is_used_and_leaves_out_the_rest():
    text = Parameter("spare", "string", description="x" * 300)
    operation = Operation(
        name="GetThing", provider="p", service="s", title="S", origin="o", license="MIT", description="Gets a thing.",
        parameters=(Parameter("thingId", "string", required=True), Parameter("used", "string"), text),
        returns=(Parameter("name", "string"), text),
    )  # fmt: skip
    tool = tool_with_returns(operation)
    trimmed = trim_tool(tool, ["used"], ["name"], 500)
    assert len(json.dumps(trimmed)) <= 500 < len(json.dumps(tool))
    assert list(trimmed["parameters"]["properties"]) == ["thingId", "used"]
    assert list(trimmed["returns"]["properties"]) == ["name"]
    assert trim_tool(tool, [], [], 10_000) == tool


def test_trajectories_are_made_from_the_sources_of_a_recipe():
    source = SourceConfig(
        name="aws", kind="botocore", location="package:botocore", domain="agent", license="Apache-2.0",
        exclude=("botocore/data/[a-df-z]*", "botocore/data/e[a-bd-z]*"),
    )  # fmt: skip
    config = SyntheticCallsConfig(count=20, operations=100, shares={"chain": 1, "single": 1})
    found = list(synthesise_from_sources([source], config))
    assert len(found) == 20
    assert {each.license for each in found} == {"Apache-2.0"}
    assert {each.origin.split(", ")[2].partition(":")[0] for each in found} == {"chain", "single"}


@pytest.mark.parametrize(
    ("one", "many"), [("policy", "policies"), ("address", "addresses"), ("vpc", "vpcs"), ("key", "keys"), ("box", "boxes")]
)
def test_plurals(one: str, many: str):
    assert (plural(one), singular(many), singular(one)) == (many, one, one)
