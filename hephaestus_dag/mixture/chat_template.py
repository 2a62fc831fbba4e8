"""A tokenizer's chat template: which roles it knows, and what it writes around the turns of a conversation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from hephaestus_dag.mixture.marked_text import BORDER, MARKS, Chunk, without_marks

ROLES = ("system", "user", "assistant", "tool", "assistant", "user", "assistant")
"""A conversation that a template has to know."""
FOLDS: tuple[Mapping[str, str], ...] = ({}, {"tool": "user"}, {"tool": "user", "system": "user"})
"""Roles that are written as other ones, where a template does not know them; turns of one role that meet are then joined."""
A_DAY = date(2024, 7, 26)
"""Today, for templates that write the date: training data do not depend on the day they are made."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody says."""

    role: str
    text: str
    target: bool = False
    """Whether a model learns to say it."""


class ChatTemplate:
    """The chat template of a tokenizer. Roles it refuses are folded: a tool's results and system words into user turns.

    Raises ValueError when there is no template, or none of the folds makes it show each turn once and in order.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise ValueError("the tokenizer has no chat_template; set one (ChatML for instance) before making instruction data")
        self._tokenizer = tokenizer
        self._template = on_a_day(tokenizer.get_chat_template())
        self._fold = self._first_that_works([Turn(role, role) for role in ROLES])
        asked = [Turn("system", "s"), Turn("user", "u")]
        prompt, without = (self._pieces(asked, generate=generate)[-1] for generate in (True, False))
        *_, before, _, after = self._pieces([*asked, Turn("assistant", "a")], generate=False)
        if not before.startswith(prompt):
            raise ValueError(
                f"the chat template prompts for a reply with {prompt!r}, but begins one with {before!r}; use another"
            )
        self._turn_start = prompt.removeprefix(without)
        self._lead = before.removeprefix(prompt)
        self._turn_end = after.rstrip()
        if not self._turn_end:
            raise ValueError("the chat template writes nothing after a reply, so no model learns to end one; use another")

    def chunks(self, turns: Sequence[Turn], generate: bool = False) -> list[Chunk]:
        """Return a conversation as stretches of the template's text and of the turns' own, whose words are plain text.

        Targets are the words of the turns that are, what ends such a turn, and what the template puts before a reply but not
        into the prompt for one, a blank for instance: the model has to write it. No token lies across the end of a prompt.
        With ``generate`` the text ends where the assistant's next turn begins.

        Raises ValueError when the template does not show each turn once and in order, or wraps a reply in other words here.
        """
        turns = [Turn(turn.role, without_marks(turn.text), turn.target) for turn in turns]
        pieces = self._pieces(turns, generate)
        groups = self._groups(turns)
        opens = {id(group[0]) for role, group in groups if role == "assistant"}
        closes = {id(group[-1]) for role, group in groups if role == "assistant"}
        found: list[Chunk] = []
        rest = pieces[0]
        for turn, text, after in zip(turns, pieces[1::2], pieces[2::2], strict=True):
            if id(turn) in opens:
                lead = self._lead if rest.endswith(self._turn_start + self._lead) else ""
                rest = rest.removesuffix(lead)
                if not rest.endswith(self._turn_start):
                    raise ValueError(
                        f"the chat template prompts for a reply with {self._turn_start!r}, here with {rest[-40:]!r}"
                    )
                found += [Chunk(rest, plain=False, target=False), BORDER, Chunk(lead, plain=False, target=turn.target)]
            else:
                found.append(Chunk(rest, plain=False, target=False))
            found.append(Chunk(text, plain=True, target=turn.target))
            rest = after
            if id(turn) in closes:
                if not rest.startswith(self._turn_end):
                    raise ValueError(f"the chat template ends a reply with {self._turn_end!r}, here with {rest[:40]!r}")
                found.append(Chunk(self._turn_end, plain=False, target=turn.target))
                rest = rest.removeprefix(self._turn_end)
        return [*found, Chunk(rest, plain=False, target=False)]

    def _first_that_works(self, turns: Sequence[Turn]) -> Mapping[str, str]:
        refused = []
        for self._fold in FOLDS:
            try:
                self._pieces(turns, generate=False)
            except ValueError as error:
                refused.append(error)
            else:
                return self._fold
        raise refused[0]

    def _groups(self, turns: Sequence[Turn]) -> list[tuple[str, list[Turn]]]:
        """Return the turns that are written as one turn of the template, with its role."""
        if not self._fold:
            return [(turn.role, [turn]) for turn in turns]
        folded = groupby(turns, key=lambda turn: self._fold.get(turn.role, turn.role))
        return [(role, list(group)) for role, group in folded]

    def _pieces(self, turns: Sequence[Turn], generate: bool) -> list[str]:
        """Return by turns the template's own text and a turn's, as the template shows it, beginning and ending with its own."""
        from jinja2 import TemplateError

        begin, between, end = MARKS
        numbers = {id(turn): number for number, turn in enumerate(turns)}
        messages = [
            {
                "role": role,
                "content": "\n\n".join(f"{begin}{numbers[id(turn)]}{between}{turn.text}{end}" for turn in group),
            }
            for role, group in self._groups(turns)
        ]
        roles = [turn.role for turn in turns]
        try:
            text = self._tokenizer.apply_chat_template(
                messages,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=generate,
                date_string=A_DAY.strftime("%d %b %Y"),
            )
        except (TemplateError, TypeError) as error:
            raise ValueError(f"the chat template refuses the turns {roles}: {error}; use another") from error
        pieces = re.split(f"{begin}(\\d+){between}(.*?){end}", text, flags=re.DOTALL)
        if pieces[1::3] != [str(number) for number in range(len(turns))]:
            raise ValueError(f"the chat template does not show the turns {roles} once each and in order; use another")
        return [piece for index, piece in enumerate(pieces) if index % 3 != 1]


def on_a_day(template: str) -> str:
    """Return a chat template that writes one fixed date wherever it would write today's."""
    return re.sub(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)", lambda found: repr(A_DAY.strftime(found[2])), template)
