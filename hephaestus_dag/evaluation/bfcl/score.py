"""BFCL in prompting mode: official prompts, simulators and verdicts around replies of any model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hephaestus_dag.evaluation.bfcl.checker import Checker
from hephaestus_dag.evaluation.bfcl.conversations import Conversation, hold_conversations
from hephaestus_dag.evaluation.bfcl.formulas import bfcl_benchmark
from hephaestus_dag.evaluation.bfcl.items import asked_items
from hephaestus_dag.evaluation.config import EvaluationConfig
from hephaestus_dag.evaluation.model import Model, Progress, Reply
from hephaestus_dag.evaluation.prompts import prompt_sha
from hephaestus_dag.evaluation.scores import write_scores

ROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "category", "prompt_sha", "reply", "transcript")]
    + [("verdict", pa.bool_()), ("reason", pa.string())]
    + [("prompt_tokens", pa.int32()), ("new_tokens", pa.int32()), ("seconds", pa.float64())]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemReply:
    """A model's reply to an item."""

    item_id: str
    category: str
    text: str = ""
    """Of a single-turn item."""
    turns: Sequence[Sequence[str]] | None = None
    """Of a conversation: the replies in each turn."""
    calls: Sequence[Sequence[str]] | None = None
    """Of a conversation, in place of replies: the calls of each turn, such as the answer's. They go to the checker as they
    are, because its decoder, which reads replies, drops positional arguments."""

    def line(self) -> dict[str, Any]:
        """Return the driver's line for it."""
        said = {"calls": self.calls} if self.calls is not None else {"turns": self.turns}
        rest = {"reply": self.text} if self.calls is None and self.turns is None else said
        return {"id": self.item_id, "category": self.category, **rest}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the official checker says of a reply."""

    item_id: str
    valid: bool
    reason: str
    decoded: str
    """The calls as the official decoder read them, a Python literal."""


def score_replies(checker: Checker, replies: Sequence[ItemReply]) -> tuple[list[Verdict], list[str]]:
    """Return the official verdict on each reply, in order, and the names of the sandbox's protections in force.

    Raises RuntimeError with the checker's message when it fails as a whole, for example on an unknown item.
    """
    answers, done = checker.ask({"command": "score"}, [reply.line() for reply in replies])
    verdicts = [
        Verdict(item_id=answer["id"], valid=answer["valid"], reason=answer["reason"], decoded=answer["decoded"])
        for answer in answers
    ]
    return verdicts, done["protections"]


def evaluate_bfcl(
    model: Model, python: Path, items: Path, config: EvaluationConfig, folder: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Ask a model the sampled items of a folder (``items``) and write a score folder (see ``scores``).

    ``python`` comes from ``environment``. ``transcript`` of a row is a conversation's messages as JSON, without the system
    prompt; ``reply`` is then a JSON list of the replies in each turn. Returns the summary with the time spent and the
    sandbox's protections, which are not written: they differ from run to run.
    """
    single, multi_turn, sizes = asked_items(items)
    prompts = [json.loads(row["prompt"]) for row in single]
    with Checker(python) as checker:
        limits = (config.bfcl.max_new_tokens, config.bfcl.max_prompt_tokens)
        replies = model.generate(prompts, *limits, progress=progress)
        held = hold_conversations(model, checker, multi_turn, config.bfcl, progress)
        rows = [_single_row(*each) for each in zip(single, prompts, replies, strict=True)] + [_held_row(each) for each in held]
        answered = [
            *(_said(row, text=reply.text) for row, reply in zip(single, replies, strict=True) if not reply.failure),
            *(ItemReply(item_id=c.item_id, category=c.category, turns=c.turns) for c in held if not c.failure),
        ]
        verdicts, protections = score_replies(checker, answered)
    by_id = {verdict.item_id: verdict for verdict in verdicts}
    for row in rows:
        if verdict := by_id.get(row["item_id"]):
            row["verdict"], row["reason"] = verdict.valid, verdict.reason
    num_calls = sum(verdict.decoded not in ("", "[]") for verdict in verdicts)
    notes = [call_note(num_calls, len(rows))]
    if multi_turn:
        notes.append(f"multi-turn gives results of calls back in messages of role {config.bfcl.tool_results}")
    summary = write_scores(
        folder,
        pa.Table.from_pylist(rows, ROW_SCHEMA),
        bfcl_benchmark(sizes, "; ".join(notes)),
        config.confidence,
        config.bootstrap_samples,
    )
    return summary | {
        "generation_seconds": round(sum(row["seconds"] for row in rows), 3),
        "too_long": sum(row["reason"].startswith("prompt too long") for row in rows),
        "stopped": sum(row["reason"].startswith("stopped") for row in rows),
        "protections": protections,
    }


def _said(row: dict[str, Any], text: str) -> ItemReply:
    return ItemReply(item_id=row["item_id"], category=row["category"], text=text)


def _single_row(item: dict[str, Any], prompt: list[dict[str, str]], reply: Reply) -> dict[str, Any]:
    return {
        "item_id": item["item_id"],
        "category": item["category"],
        "prompt_sha": prompt_sha(prompt),
        "reply": reply.text,
        "transcript": "",
        "verdict": False,
        "reason": reply.failure,
        "prompt_tokens": reply.num_prompt_tokens,
        "new_tokens": reply.num_new_tokens,
        "seconds": reply.seconds,
    }


def _held_row(held: Conversation) -> dict[str, Any]:
    said = [message for message in held.messages if message["role"] != "system"]
    return {
        "item_id": held.item_id,
        "category": held.category,
        "prompt_sha": prompt_sha(held.prompt[0]),
        "reply": json.dumps(held.turns, ensure_ascii=False),
        "transcript": json.dumps(said, ensure_ascii=False),
        "verdict": False,
        "reason": held.failure,
        "prompt_tokens": held.num_prompt_tokens,
        "new_tokens": held.num_new_tokens,
        "seconds": held.seconds,
    }


def call_note(num_calls: int, num_replies: int) -> str:
    """Say how many replies hold a call, and what the scores of a model without any are worth."""
    note = f"{num_calls:,} of {num_replies:,} replies hold a call that can be read"
    return note if num_calls else f"{note}; its irrelevance, and every mean over it, is what any model gets that never calls"
