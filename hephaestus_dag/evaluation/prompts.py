"""From chat messages to the text that a model continues. The words themselves come from the benchmark's own package."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from hephaestus_dag.mixture.chat_template import A_DAY, FOLDS, on_a_day

ChatMessage = dict[str, str]
"""``{"role": "system" | "user" | "assistant" | "tool", "content": text}``"""

PromptFormat = Literal["chat", "few_shot"]
"""How a conversation becomes text: the tokenizer's chat template, or a plain transcript after worked examples."""

STOPS = tuple(f"\n### {role}" for role in ("System", "User", "Assistant", "Tool"))
"""Where a reply in a transcript ends: the model goes on with somebody else's turn."""


def resolve_format(choice: PromptFormat | Literal["auto"], model_folder: Path) -> PromptFormat:
    """Return the prompt format of a model folder: as chosen, or by ``auto`` chat where the tokenizer has a template.

    Raises ValueError when chat is chosen and there is no template.
    """
    settings = model_folder / "tokenizer_config.json"
    has_template = (model_folder / "chat_template.jinja").is_file() or (
        settings.is_file() and bool(json.loads(settings.read_text()).get("chat_template"))
    )
    if choice == "chat" and not has_template:
        raise ValueError(
            f"prompt_format is chat, but the tokenizer in {model_folder.name} has no chat_template: "
            "set prompt_format to few_shot, or add a template to the folder"
        )
    return choice if choice != "auto" else "chat" if has_template else "few_shot"


def render_chat(tokenizer: Any, messages: Sequence[ChatMessage]) -> str:
    """Return the messages in the tokenizer's chat template, ending where the assistant's reply begins.

    Roles that a template refuses or leaves out are folded: a tool's results into a user's turn, then system text as well.
    A template that writes the date writes a fixed one. Raises ValueError when there is no template, or none of this helps.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("the tokenizer has no chat_template: add one to its folder, or set prompt_format to few_shot")
    from jinja2.exceptions import TemplateError

    template = on_a_day(tokenizer.get_chat_template())

    def rendered(turns: Sequence[ChatMessage]) -> str:
        return tokenizer.apply_chat_template(
            list(turns),
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            date_string=A_DAY.strftime("%d %b %Y"),
        )

    problem = "it leaves out the words of some role"
    for fold in FOLDS:
        folded = fold_roles(messages, fold)
        probes = [{"role": turn["role"], "content": f"probe{place}probe"} for place, turn in enumerate(folded)]
        try:
            shown = rendered(probes) if {"system", "tool"} & {turn["role"] for turn in folded} else None
            if shown is None or all(probe["content"] in shown for probe in probes):
                return rendered(folded)
        except (TemplateError, TypeError) as error:
            problem = str(error)
    roles = [message["role"] for message in messages]
    raise ValueError(f"the chat template refuses the turns {roles}: {problem}; set prompt_format to few_shot")


def fold_roles(messages: Sequence[ChatMessage], fold: Mapping[str, str]) -> list[ChatMessage]:
    """Return messages with the roles that ``fold`` maps replaced, and neighbours of one role joined where it maps any."""
    if not fold:
        return list(messages)
    groups = groupby(messages, key=lambda message: fold.get(message["role"], message["role"]))
    return [{"role": role, "content": "\n\n".join(message["content"] for message in group)} for role, group in groups]


def render_transcript(messages: Sequence[ChatMessage], examples: Sequence[Sequence[ChatMessage]]) -> str:
    """Return a transcript for a base model: worked examples, then the messages, ending where the reply begins."""
    turns = [message for conversation in (*examples, messages) for message in conversation]
    written = [f"### {message['role'].title()}\n{message['content'].strip()}\n\n" for message in turns]
    return "".join(written) + "### Assistant\n"


def prompt_sha(prompt: str | Sequence[ChatMessage]) -> str:
    """Return 16 hex digits of the SHA-256 of a prompt: which one a score belongs to."""
    content = prompt if isinstance(prompt, str) else list(prompt)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def examples_sha(examples: Sequence[Sequence[ChatMessage]]) -> str:
    """Return 16 hex digits of the SHA-256 of worked examples: which ones a transcript shows."""
    return hashlib.sha256(json.dumps(examples, sort_keys=True).encode()).hexdigest()[:16]


def cut(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first of ``stops``."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]
