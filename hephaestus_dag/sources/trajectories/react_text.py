"""Agent loops as text: Thought, Action, Action Input, Observation, Final Answer; see ``react`` for the notations.

A record holds messages, one text with the whole loop (``text``, ``content``, ``trajectory``), or a list of steps
``{"thought", "action", "observation"}`` (SWE-agent's, whose actions are commands: calls of ``shell``). A ``.txt`` file is
one loop. Such text seldom declares tools, so calls are mostly held against none, see ``validation``.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.conversations import (
    Conversation,
    conversation,
    opening,
    read_conversations,
    text_of,
    turns_of,
)
from hephaestus_dag.sources.dialogues.declared_tools import declared_tools
from hephaestus_dag.sources.dialogues.react import call_of_action, read_loop, says_notation
from hephaestus_dag.sources.dialogues.tool_calls import MalformedError
from hephaestus_dag.sources.reading.distributions import list_files
from hephaestus_dag.sources.reading.files import read_text, reject
from hephaestus_dag.sources.reading.record_files import list_record_items
from hephaestus_dag.sources.trajectories import agent_flan
from hephaestus_dag.trajectories import Call, Message, Trajectory

TEXTS = ("text", "content", "trajectory", "react")
QUESTIONS = ("question", "query", "instruction", "task", "problem_statement")
STEPS = ("trajectory", "steps")


def list_items(config: SourceConfig) -> list[str]:
    """Return the files of records, or pieces of them, and text files."""
    texts = [] if config.form == "dataset" else list_files(config, (".txt",))
    return sorted([*list_record_items(config), *texts])


def read_item(config: SourceConfig, item: str) -> Iterator[Trajectory | Reject]:
    """Yield a trajectory for each record or text, or a Reject; one whose prompt asks for ReAct text is rendered as such."""
    for found in _read(config, item):
        asks = isinstance(found, Trajectory) and says_notation(found.messages)
        yield replace(found, format="react") if isinstance(found, Trajectory) and asks else found


def _read(config: SourceConfig, item: str) -> Iterator[Trajectory | Reject]:
    if not item.lower().endswith(".txt"):
        yield from read_conversations(config, item, convert)
        return
    text = read_text(config, item)
    try:
        yield text if isinstance(text, Reject) else conversation(config, item, _loop(text))
    except MalformedError as error:
        yield reject(config, item, "file", str(error))


def convert(record: dict[str, Any]) -> Conversation:
    """Return turns and tools of a record. Raises MalformedError."""
    if isinstance(record.get("traj"), dict):
        record = {**record["traj"], **{key: value for key, value in record.items() if key != "traj"}}
    if any(isinstance(record.get(name), list) for name in ("messages", "conversations", "conversation")):
        messages, tools = agent_flan.convert(record)
        return messages, tools or declared_tools(record.get("tools"))
    question = next((record[name] for name in QUESTIONS if isinstance(record.get(name), str)), "")
    asked = [Message(role="user", content=question)] if question.strip() else []
    tools = declared_tools(record.get("tools"))
    if any(isinstance(record.get(name), list) for name in STEPS):
        steps = [message for step in turns_of(record, *STEPS) for message in _step(step)]
        return [*(asked or _prompts(record)), *steps], tools
    text = next((record[name] for name in TEXTS if isinstance(record.get(name), str)), None)
    if text is None:
        raise MalformedError(f"turns: no messages, no steps, and no text under {' or '.join(TEXTS)}")
    return [*opening(record.get("system")), *asked, *_loop(text)], tools


def _loop(text: str) -> list[Message]:
    messages = read_loop(text)
    if not any(message.calls or message.thought for message in messages):
        raise MalformedError("turns: no Thought and no Action: not ReAct text")
    return messages


def _step(step: dict[str, Any]) -> list[Message]:
    action, thought = text_of(step.get("action")).strip(), text_of(step.get("thought")).strip()
    calls = () if not action else (_command(action),)
    messages = [Message(role="assistant", thought=thought, calls=calls)] if action or thought else []
    if step.get("observation") is not None and calls:
        messages.append(Message(role="tool", content=text_of(step["observation"])))
    return messages


def _command(action: str) -> Call:
    if action.startswith("{") or (action.endswith(("]", ")")) and " " not in action.split("[")[0].split("(")[0]):
        return call_of_action(action)
    return Call(name="shell", arguments={"command": action})


def _prompts(record: dict[str, Any]) -> list[Message]:
    """Return the system and user turns before an agent's first step, of a record that keeps the whole history."""
    history = record.get("history")
    prompts: list[Message] = []
    for turn in history if isinstance(history, list) else []:
        if not isinstance(turn, dict) or turn.get("role") not in ("system", "user"):
            break
        if prompts and prompts[-1].role == turn["role"]:
            prompts[-1] = replace(prompts[-1], content=f"{prompts[-1].content}\n\n{text_of(turn.get('content'))}")
        else:
            prompts.append(Message(role=turn["role"], content=text_of(turn.get("content"))))
    return prompts
