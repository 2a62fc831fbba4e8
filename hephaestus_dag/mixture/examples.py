"""Make masked examples of trajectories, and set aside what cannot become one."""

import ast
import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from hephaestus_dag.documents import Reject
from hephaestus_dag.mixture.chat import ChatRenderer, turn_text
from hephaestus_dag.mixture.config import InstructionConfig
from hephaestus_dag.mixture.tool_prompts import ToolPrompt
from hephaestus_dag.sources.dialogues.react import says_notation
from hephaestus_dag.trajectories import Message, messages_from_json


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as tokens, and what was left out of it."""

    identity: str
    source: str
    tokens: np.ndarray
    """int64, [tokens]"""
    mask: np.ndarray
    """uint8, [tokens]: 1 on targets of the loss"""
    target_bytes: int
    """UTF-8 bytes of the turns that are trained on"""
    dropped_tools: int
    dropped_turns: int


@dataclass(frozen=True, slots=True)
class _Conversation:
    messages: tuple[Message, ...]
    tools: list[dict[str, Any]]
    react: bool
    """Whether the prompt asks for the text of an agent loop; it may describe the tools in words, too."""
    style: ToolPrompt = "plain"

    def replies(self) -> list[int]:
        """Return where the turns that a model learns are."""
        return [index for index, turn in enumerate(self.messages) if turn.loss and turn_text(turn, self.react)]

    def check(self) -> None:
        """Raise `_Unfit` when there is no reply to train on, or when a call cannot be made of the tools at hand."""
        if not self.replies():
            says_nothing = not any(message.role == "assistant" for message in self.messages)
            raise _Unfit("no assistant turn" if says_nothing else "no assistant turn to train on")
        calls = [call for message in self.messages for call in message.calls]
        unknown = sorted({call.name for call in calls} - {tool["name"] for tool in self.tools})
        if unknown and (self.tools or not self.react):
            raise _Unfit(f"undeclared tool: {unknown[0]} is called, which is not among its tools")
        if not self.react and (wrong := next((call for call in calls if not _is_python(call.as_python())), None)):
            raise _Unfit(f"no Python call: {wrong.name}")

    def until(self, reply: int) -> "_Conversation":
        return replace(self, messages=self.messages[: reply + 1])

    def without(self, dropped: Sequence[int]) -> "_Conversation":
        return replace(self, tools=[tool for index, tool in enumerate(self.tools) if index not in dropped])


class ExampleBuilder:
    """Makes examples of trajectories, and sets aside what cannot become one.

    A conversation that is too long for a sequence ends with the last trained reply that fits, and keeps all tool schemas. Only
    when the first trained reply does not fit, schemas of tools that are not called up to it are left out, as few as it takes.

    Calls are written as a list of Python calls. Where the prompt asks for Thought, Action and Action Input, turns are written
    so, thoughts included; only there may calls be of tools that no schema declares.
    """

    def __init__(self, render: ChatRenderer, config: InstructionConfig) -> None:
        self.render, self.config = render, config
        self.rejects: list[Reject] = []

    def accepted(self, rows: Iterator[tuple[str, str, str, str]]) -> Iterator[Example]:
        """Yield the examples of rows ``(id, source, tools, messages)``; `rejects` gets the others with their reasons."""
        for identity, source, tools, messages in rows:
            try:
                whole = self._conversation(messages_from_json(messages), json.loads(tools))
                yield self._example(identity, source, replace(whole, style=self._style(identity)))
            except _Unfit as reason:
                self.rejects.append(Reject(source=source, origin=identity, position="trajectory", reason=str(reason)))

    def _style(self, identity: str) -> ToolPrompt:
        """Draw the prompt of an example, so that it depends on the seed and the example alone."""
        weights = self.config.prompts
        return Random(f"{self.config.seed}:prompt:{identity}").choices(list(weights), list(weights.values()))[0]

    def _conversation(self, messages: tuple[Message, ...], tools: list[dict[str, Any]]) -> _Conversation:
        react = says_notation(messages) and any(message.calls for message in messages)
        if not react:
            messages, tools = _speakable(messages, tools)
        if not self.config.keep_thoughts and not react:
            messages = tuple(_without_thought(message) for message in messages)
        return _Conversation(messages, tools, react)

    def _example(self, identity: str, source: str, whole: _Conversation) -> Example:
        whole.check()
        kept = whole
        tokens, mask = self._rendered(kept)
        if len(tokens) > self.config.sequence_length:
            kept = self._cut(whole)
            tokens, mask = self._rendered(kept)
        said = [turn_text(kept.messages[reply], kept.react, kept.style) for reply in kept.replies()]
        return Example(
            identity=identity,
            source=source,
            tokens=tokens,
            mask=mask,
            target_bytes=sum(len(text.encode()) for text in said),
            dropped_tools=len(whole.tools) - len(kept.tools),
            dropped_turns=len(whole.messages) - len(kept.messages),
        )

    def _cut(self, whole: _Conversation) -> _Conversation:
        """Return what fits into a sequence: length grows with each turn, and falls with each schema that is left out."""
        replies = whole.replies()
        fitting = bisect_left(replies, True, key=lambda reply: not self._fits(whole.until(reply)))
        if fitting:
            return whole.until(replies[fitting - 1])
        first = whole.until(replies[0])
        called = {call.name for message in first.messages for call in message.calls}
        spare = [index for index, tool in enumerate(first.tools) if tool["name"] not in called]
        dropped = bisect_left(range(len(spare) + 1), True, key=lambda count: self._fits(first.without(spare[:count])))
        if dropped > len(spare):
            size = len(self._rendered(first.without(spare))[0])
            raise _Unfit(
                f"too long: {size} tokens to the first reply with the called tools alone, "
                f"more than sequence_length {self.config.sequence_length}"
            )
        return first.without(spare[:dropped])

    def _fits(self, conversation: _Conversation) -> bool:
        return len(self._rendered(conversation)[0]) <= self.config.sequence_length

    def _rendered(self, conversation: _Conversation) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self.render(conversation.messages, conversation.tools, react=conversation.react, style=conversation.style)
        except ValueError as error:
            raise _Unfit(f"chat template: {error}") from error


class _Unfit(Exception):
    """A trajectory cannot become an example; the message says why."""


def _without_thought(message: Message) -> Message:
    """Drop what an assistant thinks, and what it says before its calls; a turn that holds nothing else keeps it."""
    if message.calls:
        return replace(message, content="", thought="")
    return replace(message, thought="") if message.content else message


def _speakable(messages: tuple[Message, ...], tools: list[dict[str, Any]]) -> tuple[tuple[Message, ...], list[dict[str, Any]]]:
    """Give tools whose names Python cannot call other names, unless those are taken."""
    names = {tool["name"] for tool in tools}
    found = {
        name: re.sub(r"\W+", "_", f"_{name}" if name[:1].isdigit() else name) for name in names if not _is_python(f"{name}()")
    }
    taken = Counter([*names, *found.values()])
    found = {name: spoken for name, spoken in found.items() if taken[spoken] == 1}
    if not found:
        return messages, tools

    def renamed(message: Message) -> Message:
        return replace(message, calls=tuple(replace(call, name=found.get(call.name, call.name)) for call in message.calls))

    return tuple(map(renamed, messages)), [{**tool, "name": found.get(tool["name"], tool["name"])} for tool in tools]


def _is_python(call: str) -> bool:
    try:
        parsed = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError):
        return False
    return isinstance(parsed, ast.Call) and all(argument.arg for argument in parsed.keywords)
