"""Says whether a trajectory is one that a model may learn from.

Turns come in an order that makes sense: a system turn opens, user and assistant take turns, and results follow the calls
that they answer. Every call names a declared tool, and its arguments fit the tool's JSON Schema or are its own defaults.
Where no tools are declared (most ReAct text) there is nothing to hold calls against: the trajectory passes, and the names
and parameters that it calls are known from `Trajectory.signatures`.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jsonschema_rs

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.trajectories import Message, Trajectory

_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)
_OPEN_ENDED = {"additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf", "if"}
"""Keywords that say more about which parameters there are than ``properties`` does."""


def checked(config: SourceConfig, item: str, found: Trajectory | Reject) -> Trajectory | Reject:
    """Return a valid trajectory with its format drawn, and a Reject with file, position and reason for another one."""
    if isinstance(found, Reject):
        return found
    if reason := validate(found):
        position = found.origin.removeprefix(item).strip() or "trajectory"
        return Reject(source=config.name, origin=item, position=position, reason=reason)
    return found.in_format(config.seed)


def validate(trajectory: Trajectory) -> str | None:
    """Return why a trajectory is set aside, its category before the first colon, or None for one that is fine."""
    return (
        _unwritable(trajectory)
        or _wrong_turns(trajectory.messages)
        or _wrong_tools(trajectory.tools)
        or (_wrong_calls(trajectory) if trajectory.tools else None)
    )


def _unwritable(trajectory: Trajectory) -> str | None:
    texts = [text for m in trajectory.messages for text in (m.content, m.thought, *(call.as_json() for call in m.calls))]
    try:
        "".join([*texts, json.dumps(trajectory.tools, ensure_ascii=False)]).encode()
    except UnicodeEncodeError as error:
        return f"not UTF-8: {error.reason}"
    return None


def _wrong_turns(messages: Sequence[Message]) -> str | None:
    if not any(message.role == "assistant" for message in messages):
        return "turns: no assistant turn"
    turns = messages[1:] if messages[0].role == "system" else messages
    before = ""
    open_calls: set[int] = set()
    for number, message in enumerate(turns, 1):
        if not (message.content.strip() or message.thought.strip() or message.calls or message.role == "tool"):
            return f"turns: turn {number} of {message.role} is empty"
        if message.role == "system":
            return f"turns: turn {number} is one of system, which may only open"
        if message.role == "tool":
            if not open_calls or (message.answers is not None and message.answers not in open_calls):
                return f"turns: turn {number} is a result without a call"
            open_calls.remove(min(open_calls) if message.answers is None else message.answers)
        elif message.role == before:
            return f"turns: two turns of {message.role} in a row"
        if message.role == "assistant":
            open_calls = set(range(len(message.calls)))
        elif message.calls:
            return f"turns: turn {number} of {message.role} calls a tool"
        before = message.role
    return None


def _wrong_tools(tools: Sequence[dict[str, Any]]) -> str | None:
    names: set[str] = set()
    for tool in tools:
        if tool["name"] in names:
            return f"tools: two are called {tool['name']}"
        names.add(tool["name"])
        if isinstance(schema := _schema(tool), str):
            return f"broken schema: {tool['name']}: {schema}"
    return None


def _wrong_calls(trajectory: Trajectory) -> str | None:
    tools = {tool["name"]: tool for tool in trajectory.tools}
    for call in (call for message in trajectory.messages for call in message.calls):
        if call.name not in tools:
            return f"undeclared tool: {call.name} is called, which is not among {', '.join(tools)[:200]}"
        tool = tools[call.name]
        allowed = tool["parameters"].get("properties", {})
        open_ended = not _OPEN_ENDED.isdisjoint(tool["parameters"])
        if unknown := [] if open_ended else sorted(call.arguments.keys() - allowed.keys()):
            return f"arguments: {call.name} has no parameter {', '.join(unknown)[:200]}"
        schema = _schema(tool)
        assert not isinstance(schema, str), "tools are checked before calls"
        try:
            schema.validate(_without_defaults(call.arguments, tool["parameters"]))
        except (jsonschema_rs.ValidationError, ValueError, RecursionError) as error:
            where = "/".join(map(str, getattr(error, "instance_path", ())))
            return f"arguments: {call.name}: {where}{': ' if where else ''}{_short(error)}"
    return None


def _without_defaults(arguments: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out optional arguments that equal their own default: it often lies outside of the type (null, ``"N/A"``)."""
    properties, required = schema.get("properties", {}), schema.get("required", ())
    given: dict[str, Any] = {}
    for name, value in arguments.items():
        described = properties.get(name)
        optional = name not in required and isinstance(described, dict) and "default" in described
        if not (optional and json.dumps(described["default"]) == json.dumps(value)):
            given[name] = value
    return given


def _schema(tool: dict[str, Any]) -> Any:
    """Return the validator of a tool's parameters, or what is wrong with them."""
    return _compiled(json.dumps(tool["parameters"]))


@lru_cache(maxsize=4_096)
def _compiled(schema: str) -> Any:
    try:
        # offline: a reference to the web is broken, not fetched
        return jsonschema_rs.validator_for(json.loads(schema), offline=True, pattern_options=_PATTERNS)
    except (jsonschema_rs.ValidationError, ValueError, RecursionError) as error:
        return _short(error)


def _short(error: Exception) -> str:
    return str(getattr(error, "message", error)).partition("\n")[0][:200]
