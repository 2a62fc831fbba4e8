"""Agent-FLAN's and AgentInstruct's dialogues: actions as ReAct text or JSON in the replies, with flags of what is trained.

A record is ``{"conversation": [{"role", "content", "loss"}]}`` or ``{"conversations": [{"from", "value", "loss"}]}``. Turns
whose ``loss`` is false stay in the dialogue and out of the loss. Tools that a prompt lists are the trajectory's tools.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.conversations import Conversation, loss_of, read_conversations, role_of, text_of, turns_of
from hephaestus_dag.sources.dialogues.declared_tools import embedded_tools
from hephaestus_dag.sources.dialogues.react import read_dialogue, says_notation
from hephaestus_dag.sources.reading.record_files import list_record_items
from hephaestus_dag.trajectories import Trajectory

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "function": "tool",
    "tool": "tool",
    "observation": "tool",
    "environment": "tool",
}


def list_items(config: SourceConfig) -> list[str]:
    """Return the files of records, or pieces of them."""
    return list_record_items(config)


def read_item(config: SourceConfig, item: str) -> Iterator[Trajectory | Reject]:
    """Yield a trajectory for each record, or a Reject; one whose prompt asks for ReAct text is rendered as such."""
    for found in read_conversations(config, item, convert):
        asks = isinstance(found, Trajectory) and says_notation(found.messages)
        yield replace(found, format="react") if isinstance(found, Trajectory) and asks else found


def convert(record: dict[str, Any]) -> Conversation:
    """Return turns and tools of a record. Raises MalformedError."""
    turns = turns_of(record, "conversation", "conversations", "messages")
    messages = read_dialogue(
        (
            role_of(turn, ROLES, "role" if "role" in turn else "from"),
            text_of(turn.get("content", turn.get("value"))),
            loss_of(turn),
        )
        for turn in turns
    )
    if messages[0].role not in ("system", "user"):
        return messages, ()
    tools, prompt = embedded_tools(messages[0].content)
    return [replace(messages[0], content=prompt), *messages[1:]], tools
