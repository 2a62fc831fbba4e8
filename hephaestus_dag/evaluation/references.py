"""Reference answers of the benchmarks: the prompts and targets of the benchmark loss."""

from collections.abc import Iterable
from dataclasses import dataclass

from hephaestus_dag.evaluation.bfcl.items import draw
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.model import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A right answer after its prompt."""

    item_id: str
    """``<benchmark>/<id>``"""
    category: str
    """``<benchmark>/<category>``"""
    prompt: Prompt
    target: str


def drawn(references: Iterable[Reference], config: BenchmarkLossConfig) -> list[Reference]:
    """Return at most ``items_per_category`` references of each category, in order; larger draws contain smaller ones."""
    found = list(references)
    # Without the benchmark's name, so that the same items are drawn as for the proxy runs' answers.
    names = [(each.category, each.item_id.partition("/")[2]) for each in found]
    chosen = draw(names, config.items_per_category, config.seed)
    return [each for each, (_, name) in zip(found, names, strict=True) if name in chosen]
