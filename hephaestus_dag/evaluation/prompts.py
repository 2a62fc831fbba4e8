"""From chat messages to the text a model continues. The words themselves come from the benchmark's own package."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

ChatMessage = dict[str, str]
"""``{"role": "system" | "user" | "assistant" | "tool", "content": text}``"""


def render_chat(tokenizer: Any, messages: Sequence[ChatMessage]) -> str:
    """Return the messages in the tokenizer's chat template, ending where the assistant's reply begins.

    A template without a system role gets the system text at the head of the first user message.
    Raises ValueError when the tokenizer has no chat template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("the tokenizer has no chat_template: add one to the tokenizer folder (tokenizer_config.json)")
    from jinja2.exceptions import TemplateError

    try:
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    except TemplateError:
        folded = fold_system(messages)
        return tokenizer.apply_chat_template(folded, tokenize=False, add_generation_prompt=True)


def fold_system(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return messages of alternating user and assistant turns: system text joins the user's, as do neighbours of one role."""
    folded: list[ChatMessage] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        if folded and folded[-1]["role"] == role:
            folded[-1] = {"role": role, "content": f"{folded[-1]['content']}\n\n{message['content']}"}
        else:
            folded.append({"role": role, "content": message["content"]})
    return folded


def prompt_sha(messages: Sequence[ChatMessage]) -> str:
    """Return 16 hex digits of the SHA-256 of the messages: which prompt a score belongs to."""
    return hashlib.sha256(json.dumps(list(messages), sort_keys=True).encode()).hexdigest()[:16]
