"""ShareGPT conversations, with the roles that LLaMA-Factory adds for calls and their results.

A record is ``{"conversations": [{"from": "human" | "gpt" | "function_call" | "observation" | "system", "value"}]}``, beside
which ``system`` and ``tools`` (a list, or JSON in a string) may stand. A ``function_call`` holds ``{"name", "arguments"}`` or
a list of them; calls in ``<tool_call>`` tags inside a reply, and tools in the system prompt, are read as well.
"""

from collections.abc import Iterator
from typing import Any

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.conversations import (
    Conversation,
    loss_of,
    merged,
    opening,
    read_conversations,
    role_of,
    text_of,
    turns_of,
)
from hephaestus_dag.sources.dialogues.declared_tools import declared_tools, embedded_tools
from hephaestus_dag.sources.dialogues.tool_calls import parse_calls, split_calls
from hephaestus_dag.sources.reading.record_files import list_record_items
from hephaestus_dag.trajectories import Message, Trajectory

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "function_call": "call",
    "function-call": "call",
    "tool_call": "call",
    "observation": "tool",
    "function_response": "tool",
    "function-response": "tool",
    "tool": "tool",
    "system": "system",
}


def list_items(config: SourceConfig) -> list[str]:
    """Return the files of records, or pieces of them."""
    return list_record_items(config)


def read_item(config: SourceConfig, item: str) -> Iterator[Trajectory | Reject]:
    """Yield a trajectory for each record, or a Reject."""
    return read_conversations(config, item, convert)


def convert(record: dict[str, Any]) -> Conversation:
    """Return turns and tools of a record. Raises MalformedError."""
    messages = [_message(turn) for turn in turns_of(record, "conversations", "conversation")]
    if messages[0].role != "system":
        messages = opening(record.get("system")) + messages
    tools = declared_tools(record.get("tools"))
    if not tools and messages[0].role == "system" and "<tools>" in messages[0].content:
        tools, prompt = embedded_tools(messages[0].content)
        messages[0] = Message(role="system", content=prompt)
    return merged(messages), tools


def _message(turn: dict[str, Any]) -> Message:
    role, text, loss = role_of(turn, ROLES, "from"), text_of(turn.get("value")), loss_of(turn)
    if role == "call":
        return Message(role="assistant", calls=parse_calls(text), loss=loss)
    if role == "assistant":
        content, calls = split_calls(text) if "<tool_call>" in text else (text, ())
        return Message(role="assistant", content=content, calls=calls, loss=loss)
    return Message(role="user" if role == "user" else "tool" if role == "tool" else "system", content=text)
