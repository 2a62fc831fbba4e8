"""AgentBench's environments that this project cannot run, with what they would need."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from hephaestus_dag.evaluation.agentbench.task import TaskItem, pooled

NEEDS = {
    "WS": (
        "needs WebShop's products and search index, which AgentBench has only in its image longinyu/agentbench-webshop; "
        "run it with AgentBench v0.2 itself against the same model behind an endpoint"
    ),
    "WB": (
        "needs Mind2Web's test pages and the ranks of their elements, which AgentBench has only in its image "
        "longinyu/agentbench-mind2web; run it with AgentBench v0.2 itself against the same model behind an endpoint"
    ),
}


@dataclass(frozen=True)
class TaskNotRun:
    """An environment that is always unavailable, so that a report says why instead of counting zeros."""

    name: str
    turn_limit: int = 1

    @property
    def title(self) -> str:
        """Name of the score that is missing."""
        return f"AgentBench {self.name}"

    def missing(self) -> str:
        """Say what is needed."""
        return NEEDS[self.name]

    def unavailable(self) -> str:
        """Say what is needed."""
        return NEEDS[self.name]

    def identity(self) -> Mapping[str, Any]:
        """Return nothing: nothing is run."""
        return {}

    def read_items(self, data: Path, split: str) -> list[TaskItem]:
        """Raise FileNotFoundError: AgentBench's repository has no items of these tasks."""
        raise FileNotFoundError(f"{self.name}: {NEEDS[self.name]}")

    def start(self, item: TaskItem) -> NoReturn:
        """Raise RuntimeError."""
        raise RuntimeError(f"{self.name}: {NEEDS[self.name]}")

    def weights(self, items: Mapping[str, int]) -> dict[str, float]:
        """Return weights as for the mean over items."""
        return pooled(items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None
