"""What the formats of conversations share: records become trajectories, or rejects that say what was malformed."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.tool_calls import MalformedError
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.reading.record_files import file_of, read_records
from hephaestus_dag.trajectories import Message, Trajectory

Conversation = tuple[Sequence[Message], tuple[dict[str, Any], ...]]
"""Turns and tools."""


def read_conversations(
    config: SourceConfig, item: str, convert: Callable[[dict[str, Any]], Conversation]
) -> Iterator[Trajectory | Reject]:
    """Yield what ``convert`` makes of each record; one for which it raises MalformedError becomes a Reject."""
    for record in read_records(config, item):
        if isinstance(record, Reject):
            yield record
            continue
        try:
            messages, tools = convert(record.value)
        except MalformedError as error:
            yield reject(config, file_of(item), record.position, str(error))
            continue
        yield conversation(config, f"{file_of(item)} {record.position}", messages, tools)


def conversation(
    config: SourceConfig, origin: str, messages: Sequence[Message], tools: tuple[dict[str, Any], ...] = ()
) -> Trajectory:
    """Return the trajectory of a conversation."""
    return Trajectory(
        messages=tuple(messages), tools=tools, source=config.name, origin=origin, license=config.license or "unknown"
    )


def turns_of(record: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    """Return the list of turns under the first of the names that the record has. Raises MalformedError."""
    found = next((record[name] for name in names if record.get(name) is not None), None)
    if not isinstance(found, list) or not found:
        raise MalformedError(f"turns: no list under {' or '.join(names)}")
    for number, turn in enumerate(found, 1):
        if not isinstance(turn, dict):
            raise MalformedError(f"turns: turn {number} is not an object but {type(turn).__name__}")
    return found


def role_of(turn: dict[str, Any], roles: dict[str, str], key: str = "role") -> str:
    """Return what a format's word for a role stands for. Raises MalformedError."""
    word = turn.get(key)
    if not isinstance(word, str) or word.strip().lower() not in roles:
        raise MalformedError(f"turns: unknown role {str(word)[:40]!r}")
    return roles[word.strip().lower()]


def text_of(value: Any) -> str:
    """Return a turn's content as text: text as it is, OpenAI's text parts joined, JSON results as JSON, None as nothing.

    Raises MalformedError for parts that are no text, such as pictures.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and value and all(isinstance(part, dict) and "type" in part for part in value):
        for part in value:
            if part["type"] != "text" or not isinstance(part.get("text"), str):
                raise MalformedError(f"turns: a part of type {str(part['type'])[:40]!r} is no text")
        return "\n".join(part["text"] for part in value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:  # a table may hold dates and bytes
        raise MalformedError(f"turns: content that is not JSON: {error}") from None


def loss_of(turn: dict[str, Any]) -> bool:
    """Return whether a turn's own flag lets it be trained on: ``loss`` (Agent-FLAN), ``weight`` (OpenAI), or else yes.

    Raises MalformedError for a flag that is neither true nor false.
    """
    flag = next((turn[key] for key in ("loss", "weight") if turn.get(key) is not None), True)
    if flag not in (0, 1):
        raise MalformedError(f"turns: the loss flag {str(flag)[:40]!r} is neither true nor false")
    return bool(flag)


def merged(messages: Sequence[Message]) -> list[Message]:
    """Return the turns with what an assistant says and then calls, or calls one by one, as one turn."""
    found: list[Message] = []
    for message in messages:
        last = found[-1] if found else None
        if (
            last
            and last.role == message.role == "assistant"
            and last.loss == message.loss
            and message.calls
            and not (message.content or message.thought)
        ):
            found[-1] = replace(last, calls=last.calls + message.calls)
        else:
            found.append(message)
    return found


def opening(text: Any) -> list[Message]:
    """Return a record's own system prompt as a turn, where it has one."""
    return [Message(role="system", content=text)] if isinstance(text, str) and text.strip() else []
