"""Chats in OpenAI's form: messages with ``tool_calls`` and the results that answer them by id.

A record is ``{"messages": [{"role", "content", "tool_calls": [{"id", "function": {"name", "arguments": JSON}}],
"tool_call_id"}], "tools": [...]}``; the older ``function_call`` and role ``function`` are read too. tau-bench's runs name the
list ``traj``. A record that carries a ``reward`` below 1 is a run that failed, and is set aside.
"""

from collections.abc import Iterator
from typing import Any

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.conversations import (
    Conversation,
    loss_of,
    merged,
    read_conversations,
    role_of,
    text_of,
    turns_of,
)
from hephaestus_dag.sources.dialogues.declared_tools import declared_tools
from hephaestus_dag.sources.dialogues.tool_calls import MalformedError, call_of
from hephaestus_dag.sources.reading.record_files import list_record_items
from hephaestus_dag.trajectories import Call, Message, Trajectory

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def list_items(config: SourceConfig) -> list[str]:
    """Return the files of records, or pieces of them."""
    return list_record_items(config)


def read_item(config: SourceConfig, item: str) -> Iterator[Trajectory | Reject]:
    """Yield a trajectory for each record, or a Reject."""
    return read_conversations(config, item, convert)


def convert(record: dict[str, Any]) -> Conversation:
    """Return turns and tools of a record. Raises MalformedError."""
    reward = record.get("reward")
    if isinstance(reward, int | float) and reward < 1:
        raise MalformedError(f"failed run: its reward is {reward}")
    messages: list[Message] = []
    ids: dict[str, int] = {}
    for turn in turns_of(record, "messages", "traj", "conversation"):
        role = role_of(turn, ROLES)
        if role == "assistant":
            calls, ids = _calls(turn)
            messages.append(
                Message(
                    role="assistant",
                    content=text_of(turn.get("content")),
                    thought=text_of(turn.get("reasoning_content")),
                    calls=calls,
                    loss=loss_of(turn),
                )
            )
        elif role == "tool":
            messages.append(Message(role="tool", content=text_of(turn.get("content")), answers=_answers(turn, ids)))
        else:
            messages.append(Message(role="user" if role == "user" else "system", content=text_of(turn.get("content"))))
    tools = record.get("tools") if record.get("tools") is not None else record.get("functions")
    return merged(messages), declared_tools(tools)


def _calls(turn: dict[str, Any]) -> tuple[tuple[Call, ...], dict[str, int]]:
    """Return the calls of a turn, and where each stands by its id."""
    if isinstance(turn.get("function_call"), dict):
        return (call_of(turn["function_call"]),), {}
    written = turn.get("tool_calls")
    if written is None:
        return (), {}
    if not isinstance(written, list):
        raise MalformedError(f"calls: tool_calls is not a list but {type(written).__name__}")
    calls = tuple(call_of(call) for call in written)
    ids = [call.get("id") for call in written]
    named = {call_id: number for number, call_id in enumerate(ids) if isinstance(call_id, str)}
    if len(named) < sum(isinstance(call_id, str) for call_id in ids):
        raise MalformedError("calls: two of one turn have the same id")
    return calls, named


def _answers(turn: dict[str, Any], ids: dict[str, int]) -> int | None:
    """Return which call a result answers; None where nothing says so."""
    call_id = turn.get("tool_call_id")
    if not isinstance(call_id, str) or not ids:
        return None
    if call_id not in ids:
        raise MalformedError(f"turns: a result answers the call {call_id[:60]!r}, which was not made just before")
    return ids[call_id]
