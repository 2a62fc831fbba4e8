"""Ask a model the development items, and judge its replies with BFCL's decoder and checker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hephaestus_dag.evaluation.bfcl.checker import Checker
from hephaestus_dag.evaluation.development.items import Item
from hephaestus_dag.evaluation.model import Model, Progress
from hephaestus_dag.evaluation.statistics import Stratum, score_interval, weighted_score

AST = ("simple", "multiple", "parallel", "parallel_multiple")
"""The kinds whose mean BFCL calls the non-live AST score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an item."""

    item: Item
    reply: str
    valid: bool
    reason: str
    """Why it is wrong; empty when it is right."""
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of right answers with its 95 % interval."""

    score: float
    low: float
    high: float
    items: int


def score_development(
    model: Model, python: Path, items: Sequence[Item], max_new_tokens: int = 160, progress: Progress | None = None
) -> list[Outcome]:
    """Return the outcome of each item, in order; ``python`` is that of the checker's environment.

    A prompt that does not fit is wrong. Raises RuntimeError with the checker's message when it fails as a whole.
    """
    replies = model.generate([item.messages for item in items], max_new_tokens, progress=progress)
    lines = [
        {"id": item.item_id, "category": item.category, "reply": reply.text, "item": item.as_line()}
        for item, reply in zip(items, replies, strict=True)
    ]
    with Checker(python) as checker:
        verdicts, _ = checker.ask({"command": "score"}, lines)
    return [
        Outcome(
            item=item,
            reply=reply.text,
            valid=verdict["valid"] and not reply.failure,
            reason=reply.failure or verdict["reason"],
            prompt_tokens=reply.num_prompt_tokens,
            new_tokens=reply.num_new_tokens,
        )
        for item, reply, verdict in zip(items, replies, verdicts, strict=True)
    ]


def shares(outcomes: Sequence[Outcome]) -> dict[str, Share]:
    """Return the share of right answers by category, by kind over all sources, and ``ast``, the mean of four kinds."""
    found: dict[str, Share] = {}
    for name in dict.fromkeys(outcome.item.category for outcome in outcomes):
        found[name] = _share([[o.valid for o in outcomes if o.item.category == name]])
    kinds = {kind: [o.valid for o in outcomes if o.item.kind == kind] for kind in (*AST, "irrelevance")}
    found |= {kind: _share([valid]) for kind, valid in kinds.items() if valid}
    if all(kinds[kind] for kind in AST):
        found["ast"] = _share([kinds[kind] for kind in AST])
    return found


def _share(parts: Sequence[Sequence[bool]]) -> Share:
    """Return the unweighted mean of some parts."""
    strata = [Stratum(np.array(part, float), None, 1 / len(parts)) for part in parts]
    interval = score_interval(strata)
    return Share(score=weighted_score(strata), low=interval.low, high=interval.high, items=sum(map(len, parts)))
