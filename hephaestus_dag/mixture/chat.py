"""Conversations with tools as tokens, and which of them an assistant has to produce."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from hephaestus_dag.mixture.chat_template import ChatTemplate, Turn
from hephaestus_dag.mixture.marked_text import MarkedText
from hephaestus_dag.mixture.tool_prompts import ToolPrompt, tool_prompt, written_calls
from hephaestus_dag.trajectories import Message
from hephaestus_dag.trajectory_formats import react_turn

_ASSISTANT = "You are a helpful assistant."


def system_prompt(tools: Sequence[dict[str, Any]], react: bool = False, style: ToolPrompt = "plain") -> str:
    """Return the system turn: the tool schemas, and how calls are to be written, in one of the styles of `tool_prompts`.

    With ``react`` the conversation says by itself how they are.
    """
    if not tools:
        return _ASSISTANT
    return tool_prompt(tools, instruct=False) if react else tool_prompt(tools, style)


def turn_text(message: Message, react: bool = False, style: ToolPrompt = "plain") -> str:
    """Return the thought and the words of a turn, and below them its calls as a list, see `written_calls`.

    With ``react`` an assistant's turn is written as that of an agent loop: Thought, Action, Action Input, Final Answer.
    """
    if react and message.role == "assistant":
        return "\n".join(react_turn(message)).strip()
    parts = [text.strip() for text in (message.thought, message.content) if text.strip()]
    if message.calls:
        parts.append(written_calls(message.calls, style))
    return "\n".join(parts)


def results_of_the_user(messages: Sequence[Message]) -> list[Message]:
    """Return a conversation with the results of calls in turns of the user, as BFCL gives them back to chat models."""
    found: list[Message] = []
    calls: list[str] = []
    results: list[dict[str, str]] = []
    for message in [*messages, None]:
        if message and message.role == "tool":
            place = len(results) if message.answers is None else message.answers
            name = calls[place] if place < len(calls) else ""
            results.append({"role": "tool", "name": name, "content": message.content})
            continue
        if results:
            found.append(Message(role="user", content=repr(results)))
            results = []
        if message:
            found.append(message)
            calls = [call.as_python() for call in message.calls]
    return found


def render_chat(
    messages: Sequence[Message], tools: Sequence[dict[str, Any]], tokenizer: Any, *, generate: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(token_ids, mask)`` of a conversation, int64 and uint8 of shape [tokens].

    The mask is 1 on what an assistant has to produce: the tokens of its turns whose ``loss`` is true and the token that
    ends each; a turn without words is no target. The system turn is `system_prompt`, followed by the conversation's own
    system message where it opens with one; without tools such a message stands alone. With ``generate`` the tokens end
    where the assistant's next turn begins.

    A template that refuses a role gets it folded, see `ChatTemplate`. Words that spell a special token are encoded as plain
    text, so a tool's result cannot open a turn. Raises ValueError when the tokenizer has no chat template, or one that does
    not show each turn once and in order.
    """
    return _renderer(tokenizer)(messages, tools, generate)


class ChatRenderer:
    """Renders conversations for one tokenizer, as `render_chat` describes it."""

    def __init__(self, tokenizer: Any) -> None:
        self._template = ChatTemplate(tokenizer)
        self._text = MarkedText(tokenizer)

    def __call__(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]],
        generate: bool = False,
        react: bool = False,
        style: ToolPrompt = "plain",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `render_chat` describes, with the tools in one of the styles of `tool_prompts`.

        With ``react``, of a conversation whose prompt asks for an agent loop's text.
        """
        messages = results_of_the_user(messages) if style.startswith("bfcl") and not react else messages
        own = turn_text(messages[0]) if messages and messages[0].role == "system" else ""
        turns = messages[1:] if messages and messages[0].role == "system" else messages
        system = "\n\n".join(text for text in (system_prompt(tools, react, style) if tools or not own else "", own) if text)
        said = [(turn, turn_text(turn, react, style)) for turn in turns]
        spoken = [Turn("system", system), *(Turn(turn.role, text, turn.loss and bool(text)) for turn, text in said)]
        return self._text.encode(self._template.chunks(spoken, generate))


@lru_cache(maxsize=4)
def _renderer(tokenizer: Any) -> ChatRenderer:
    return ChatRenderer(tokenizer)
