"""Conversations with tools as tokens, and which of them an assistant has to produce."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from hephaestus_dag.trajectories import Message

_ASSISTANT = "You are a helpful assistant."
_TOOLS = """You are an assistant that can call tools. These are the tools at hand, one JSON schema a line:
{tools}

Where tools are needed, reply with the calls alone, as one list of Python calls with keyword arguments:
[first_tool(count=1, name='value'), second_tool(flag=True)]
Use only the parameters of the schema, and take their values from the conversation. Reply in plain words where no tool \
fits, where a required value is missing, or once the results answer the request."""


def system_prompt(tools: Sequence[dict[str, Any]]) -> str:
    """Return the system turn: the tool schemas, one JSON object a line, and how calls are to be written."""
    if not tools:
        return _ASSISTANT
    return _TOOLS.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))


def turn_text(message: Message) -> str:
    """Return the thought and the words of a turn, and below them its calls as a Python list."""
    parts = [text.strip() for text in (message.thought, message.content) if text.strip()]
    if message.calls:
        parts.append(f"[{', '.join(call.as_python() for call in message.calls)}]")
    return "\n".join(parts)


def render_chat(
    messages: Sequence[Message], tools: Sequence[dict[str, Any]], tokenizer: Any, *, generate: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(token_ids, mask)`` of a conversation, int64 and uint8 of shape [tokens].

    The mask is 1 on what an assistant has to produce: the tokens of its turns whose ``loss`` is true and the token that
    ends each. The system
    turn is `system_prompt`, followed by the conversation's own system message where it opens with one. With ``generate``
    the tokens end where the assistant's next turn begins.

    Words that spell a special token are encoded as plain text, so a tool's result cannot open a turn. Raises ValueError
    when the tokenizer has no chat template, or one that does not show each turn once and in order.
    """
    return _renderer(tokenizer)(messages, tools, generate)


class ChatRenderer:
    """Renders conversations for one tokenizer. Turns are encoded apart from the template's own text around them."""

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        if not tokenizer.chat_template:
            raise ValueError("the tokenizer has no chat_template; set one (ChatML for instance) before making instruction data")
        self._tokenizer = tokenizer
        self._plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()
        self._template_tokens: dict[str, list[int]] = {}
        roles = ["system", "user", "assistant"]
        self._turn_end = self._around(roles, generate=False)[-1].rstrip()
        self._turn_start = self._around(roles[:2], generate=True)[-1].removeprefix(self._around(roles[:2], generate=False)[-1])

    def __call__(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], generate: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `render_chat` describes."""
        own_system = bool(messages) and messages[0].role == "system"
        system = f"{system_prompt(tools)}\n\n{turn_text(messages[0])}" if own_system else system_prompt(tools)
        turns = messages[1:] if own_system else messages
        roles = ["system", *(turn.role for turn in turns)]
        targets = [0, *(int(turn.loss) for turn in turns)]
        around = self._around(roles, generate)
        contents = self._plain.encode_batch_fast([system, *map(turn_text, turns)], add_special_tokens=False)

        pieces: list[tuple[list[int], int]] = [(self._encode_template(around[0]), 0)]
        for role, target, content, before, after in zip(roles, targets, contents, around[:-1], around[1:], strict=True):
            start, end = (self._turn_start, self._turn_end) if role == "assistant" else ("", "")
            if not before.endswith(start) or not after.startswith(end):
                raise ValueError(
                    f"the chat template wraps an assistant turn in {before[-40:]!r} and {after[:40]!r}, "
                    f"but prompts for one with {start!r} and ends one with {end!r}; use another"
                )
            pieces.append((content.ids, target))
            pieces += [(self._encode_template(end), target), (self._encode_template(after.removeprefix(end)), 0)]
        return (
            np.concatenate([np.array(ids, np.int64) for ids, _ in pieces]),
            np.repeat(np.array([target for _, target in pieces], np.uint8), [len(ids) for ids, _ in pieces]),
        )

    def _around(self, roles: Sequence[str], generate: bool) -> list[str]:
        """Return the template's own text before, between and after the turns: one piece more than there are turns."""
        turns = [{"role": role, "content": f"\ue000{index}\ue001"} for index, role in enumerate(roles)]
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generate)
        pieces = re.split("\ue000(\\d+)\ue001", text)
        if pieces[1::2] != [str(index) for index in range(len(roles))]:
            raise ValueError(f"the chat template does not show the turns {list(roles)} once each and in order; use another")
        return pieces[0::2]

    def _encode_template(self, text: str) -> list[int]:
        if text not in self._template_tokens:
            self._template_tokens[text] = self._tokenizer.encode(text, add_special_tokens=False) if text else []
        return self._template_tokens[text]


@lru_cache(maxsize=4)
def _renderer(tokenizer: Any) -> ChatRenderer:
    return ChatRenderer(tokenizer)
