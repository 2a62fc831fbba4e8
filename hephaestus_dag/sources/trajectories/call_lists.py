"""Requests with tools and the calls that answer them, as BFCL and xLAM write them.

A record has a request (``question``, ``query``, ...: text, messages, or BFCL's list of turns of messages), tools
(``function``, ``functions`` or ``tools``) and calls (``ground_truth``, ``answers``, ...): ``["f(a=1)"]``,
``[{"name", "arguments"}]``, or BFCL's ``[{"f": {"a": [1, "1"]}}]``, of whose allowed values the first is taken. With several
turns there is a list of calls for each. No results are known, and none are made up.
"""

from collections.abc import Iterator
from typing import Any

from hephaestus_dag.documents import Reject
from hephaestus_dag.evaluation.bfcl.reference import MISSING, pick
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.conversations import Conversation, read_conversations, role_of, text_of
from hephaestus_dag.sources.dialogues.declared_tools import declared_tools
from hephaestus_dag.sources.dialogues.tool_calls import MalformedError, bounded, call_of, calls_of, parse_calls, parse_json
from hephaestus_dag.sources.reading.record_files import list_record_items
from hephaestus_dag.trajectories import Call, Message, Trajectory

REQUESTS = ("question", "query", "instruction", "user_request", "prompt")
TOOLS = ("function", "functions", "tools")
ANSWERS = ("ground_truth", "answers", "answer", "calls", "tool_calls")
ROLES = {"system": "system", "user": "user", "assistant": "assistant"}


def list_items(config: SourceConfig) -> list[str]:
    """Return the files of records, or pieces of them."""
    return list_record_items(config)


def read_item(config: SourceConfig, item: str) -> Iterator[Trajectory | Reject]:
    """Yield a trajectory for each record, or a Reject."""
    return read_conversations(config, item, convert)


def convert(record: dict[str, Any]) -> Conversation:
    """Return turns and tools of a record. Raises MalformedError."""
    tools = declared_tools(_first(record, TOOLS, "tools"))
    turns = _turns(_first(record, REQUESTS, "turns"))
    answers = _first(record, ANSWERS, "calls")
    if isinstance(answers, str) and answers.strip().startswith(("[{", "{")):
        answers = parse_json(answers)
    if len(turns) == 1 and not (isinstance(answers, list) and len(answers) == 1 and isinstance(answers[0], list)):
        answers = [answers]
    if not isinstance(answers, list) or len(answers) != len(turns):
        raise MalformedError(f"calls: not one list of calls for each of {len(turns)} turns")
    messages: list[Message] = []
    for turn, answer in zip(turns, answers, strict=True):
        messages += [*turn, Message(role="assistant", calls=_calls(answer, tools))]
    return messages, tools


def _first(record: dict[str, Any], names: tuple[str, ...], category: str) -> Any:
    for name in names:
        if record.get(name) not in (None, "", []):
            return record[name]
    raise MalformedError(f"{category}: nothing under {' or '.join(names)}")


def _turns(value: Any) -> list[list[Message]]:
    """Return the messages that lead up to each list of calls."""
    if isinstance(value, str):
        return [[Message(role="user", content=value)]]
    if isinstance(value, list) and value and all(isinstance(turn, list) for turn in value):
        return [[_message(each) for each in turn] for turn in value]
    if isinstance(value, list) and value:
        return [[_message(each) for each in value]]
    raise MalformedError(f"turns: a request is neither text nor messages but {type(value).__name__}")


def _message(value: Any) -> Message:
    if not isinstance(value, dict):
        raise MalformedError(f"turns: a message is not an object but {type(value).__name__}")
    role = role_of(value, ROLES)
    return Message(
        role="user" if role == "user" else "assistant" if role == "assistant" else "system",
        content=text_of(value.get("content")),
    )


def _calls(value: Any, tools: tuple[dict[str, Any], ...]) -> tuple[Call, ...]:
    if isinstance(value, str):
        return parse_calls(value)
    if not isinstance(value, list):
        return calls_of(value)
    if not value:
        raise MalformedError("calls: an empty list")
    return tuple(call for each in value for call in _call(each, tools))


def _call(value: Any, tools: tuple[dict[str, Any], ...]) -> tuple[Call, ...]:
    if isinstance(value, str):
        return parse_calls(value)
    if isinstance(value, dict) and len(value) == 1 and isinstance(allowed := next(iter(value.values())), dict):
        name = next(iter(value))
        if name != "function":
            return (Call(name=name, arguments=_picked(name, allowed, tools)),)
    return (call_of(value),)


def _picked(name: str, allowed: dict[str, Any], tools: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """Return the first allowed value of each parameter; one that may be left out and has no other value is."""
    required = next((tool["parameters"].get("required") for tool in tools if tool["name"] == name), None)
    if required is not None and not isinstance(required, list):
        raise MalformedError(f"tools: what {name} requires is not a list")
    arguments: dict[str, Any] = {}
    for parameter, values in bounded(allowed).items():
        if not isinstance(values, list):
            raise MalformedError(f"calls: the allowed values of {name}'s {parameter} are not a list")
        value = pick(values, required=parameter in (required or ()))
        if value is not MISSING:
            arguments[parameter] = value
    return arguments
