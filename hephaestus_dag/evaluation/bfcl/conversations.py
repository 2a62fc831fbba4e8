"""Multi-turn BFCL: many conversations between a model and the simulated APIs, in lockstep.

The loop is that of the official handlers (bfcl-eval 2026.3.23, ``BaseHandler.inference_multi_turn_prompting``). A turn starts
with the user's messages; in the middle of a missing-function item these are the functions that were held back. The model's
calls are executed and their results given back to it, until it makes no call that can be read: then the turn is over. One
reply with calls more than the limit in a turn cuts the conversation off.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hephaestus_dag.evaluation.bfcl.checker import Checker
from hephaestus_dag.evaluation.bfcl.config import MAX_STEPS_PER_TURN, BfclConfig
from hephaestus_dag.evaluation.model import Model, Progress, Reply
from hephaestus_dag.evaluation.prompts import ChatMessage


@dataclass(slots=True)
class Conversation:
    """One item and what has been said."""

    item_id: str
    category: str
    prompt: list[list[ChatMessage]]
    """The messages that each turn starts with."""
    messages: list[ChatMessage] = field(default_factory=list)
    turns: list[list[str]] = field(default_factory=list)
    """The model's replies in each turn so far."""
    num_prompt_tokens: int = 0
    """Of all prompts together."""
    num_new_tokens: int = 0
    seconds: float = 0.0
    num_calls: int = 0
    ended: bool = False
    failure: str = ""
    """Why it broke off and is not judged; a conversation that was cut off by the step limit is."""

    def next_turn(self) -> None:
        """Let the user speak, or end where there is nothing more to say."""
        if len(self.turns) == len(self.prompt):
            self.ended = True
        else:
            self.messages += self.prompt[len(self.turns)]
            self.turns.append([])

    def hear(self, reply: Reply) -> None:
        """Take the model's reply."""
        self.num_prompt_tokens += reply.num_prompt_tokens
        self.num_new_tokens += reply.num_new_tokens
        self.seconds += reply.seconds
        if reply.failure:
            self.ended, self.failure = True, reply.failure
        else:
            self.messages.append({"role": "assistant", "content": reply.text})
            self.turns[-1].append(reply.text)

    def learn(self, done: dict[str, Any], tool_results: str) -> None:
        """Take what the last reply did (the driver's ``execute``)."""
        if "stopped" in done:
            self.ended, self.failure = True, done["stopped"]
        elif "ended" in done:
            self.next_turn()
        else:
            self.num_calls += len(done["calls"])
            self.messages += result_messages(done["calls"], done["results"], tool_results)
            self.ended = len(self.turns[-1]) > MAX_STEPS_PER_TURN


def result_messages(calls: Sequence[str], results: Sequence[str], tool_results: str) -> list[ChatMessage]:
    """Return the messages that tell a model the results of its calls, in one of the two official forms.

    ``user``: ``format_execution_results_prompting`` in a message of the user, as the handlers of chat servers do; ``tool``: a
    message for each, as the handlers of local models do.
    """
    found = [{"role": "tool", "name": call, "content": result} for call, result in zip(calls, results, strict=False)]
    return found if tool_results == "tool" else [{"role": "user", "content": repr(found)}]


def hold_conversations(
    model: Model, checker: Checker, items: Sequence[dict[str, Any]], config: BfclConfig, progress: Progress | None = None
) -> list[Conversation]:
    """Return the conversation about each item (rows of ``multi_turn.parquet``), all led to their ends.

    Each round asks the model once, for all that still go on. ``progress`` counts ended conversations.
    """
    held = [Conversation(item["item_id"], item["category"], json.loads(item["prompt"])) for item in items]
    for each in held:
        each.next_turn()
    while going := [each for each in held if not each.ended]:
        replies = model.generate([each.messages for each in going], config.max_new_tokens, config.max_prompt_tokens)
        for each, reply in zip(going, replies, strict=True):
            each.hear(reply)
        answered = [each for each in going if not each.ended]
        lines = [{"id": each.item_id, "category": each.category, "turns": each.turns} for each in answered]
        for each, done in zip(answered, checker.ask({"command": "execute"}, lines)[0], strict=True):
            each.learn(done, config.tool_results)
        if progress:
            progress(sum(each.ended for each in held), len(held))
    return held
