"""ToolACE's conversations: tools as JSON in the system prompt, calls as ``[Func Name(a=1, b="x")]``.

A record is ``{"system", "conversations": [{"from": "user" | "assistant" | "tool", "value"}]}``. Type words that are not JSON
Schema's are normalised, see ``declared_tools``. Of the prompt only what it says of date and time is kept: the tools stand
in the trajectory's own field, and every rendering shows by itself how calls are written.
"""

import re
from collections.abc import Iterator
from typing import Any

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.conversations import Conversation, opening, read_conversations, role_of, text_of, turns_of
from hephaestus_dag.sources.dialogues.declared_tools import declared_tools, embedded_tools
from hephaestus_dag.sources.dialogues.tool_calls import MalformedError, split_calls
from hephaestus_dag.sources.reading.record_files import list_record_items
from hephaestus_dag.trajectories import Message, Trajectory

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "tool": "tool"}

_SENTENCE_END = re.compile(r"(?<=\.)\s|\n")
_WHEN = re.compile(r"\b(?:current (?:date|time)|today(?:'s date)? is)\b", re.IGNORECASE)


def list_items(config: SourceConfig) -> list[str]:
    """Return the files of records, or pieces of them."""
    return list_record_items(config)


def read_item(config: SourceConfig, item: str) -> Iterator[Trajectory | Reject]:
    """Yield a trajectory for each record, or a Reject."""
    return read_conversations(config, item, convert)


def convert(record: dict[str, Any]) -> Conversation:
    """Return turns and tools of a record. Raises MalformedError."""
    turns = turns_of(record, "conversations", "conversation")
    prompt = text_of(record.get("system"))
    if role_of(turns[0], ROLES, "from") == "system":
        prompt, turns = text_of(turns[0].get("value")), turns[1:]
    tools, rest = embedded_tools(prompt)
    tools = tools or declared_tools(record.get("tools"))
    if not tools and prompt:
        raise MalformedError("tools: the system prompt holds no list of them")
    when = "\n".join(sentence.strip() for sentence in _SENTENCE_END.split(rest) if _WHEN.search(sentence))
    return [*opening(when), *map(_message, turns)], tools


def _message(turn: dict[str, Any]) -> Message:
    role, text = role_of(turn, ROLES, "from"), text_of(turn.get("value"))
    if role == "assistant":
        content, calls = split_calls(text)
        return Message(role="assistant", content=content, calls=calls)
    return Message(role="user" if role == "user" else "tool" if role == "tool" else "system", content=text)
