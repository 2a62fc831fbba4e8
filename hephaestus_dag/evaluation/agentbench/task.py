"""What a task of AgentBench is: items, and an environment for each that answers the model's replies and judges the end.

A task is entered as a context manager before its first item starts and left after the last one ended. Conversations run in
several threads, each in one thread at a time. All that an environment says must follow from the item and the replies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from hephaestus_dag.evaluation.agentbench.config import DATA
from hephaestus_dag.evaluation.prompts import ChatMessage


class TaskLostError(RuntimeError):
    """A whole environment is gone, such as a server that died: the run ends, rather than count its items as wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskItem:
    """An item as it lies in the public data."""

    task: str
    """Short name of the task: DB, OS, ..."""
    category: str
    """Kind of item within the task, such as ``INSERT``."""
    item_id: str
    """Unique over all tasks and splits, without a slash, such as ``db-test-17``."""
    question: str
    """The text that poses it: what must not be in training data, without the protocol's own words."""
    reference: str
    """What a right reply says or does (SQL, a command, an answer); empty when the data name nothing."""
    content: Mapping[str, Any]
    """All that the task needs to run it: JSON values."""
    opening: Sequence[ChatMessage] = ()
    """The messages before the first reply, where they follow from the item alone."""
    target: str = ""
    """``reference`` as a reply to ``opening``, in the task's grammar: what the benchmark loss is measured on. May be empty."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a conversation is judged."""

    score: float
    """0 to 1, in the task's metric."""
    reason: str = ""
    """Why the score is not 1."""


class Conversation(Protocol):
    """An item under way in its environment. A call may raise anything: the item fails then, with the error as its reason."""

    def messages(self) -> list[ChatMessage]:
        """Return the messages before the first reply, the last one the user's. Called once."""
        ...

    def observe(self, reply: str) -> str | list[ChatMessage] | None:
        """Take a reply; return what the environment answers, or None when the conversation is over.

        A list takes the place of all messages so far: for protocols that shorten or forget what was said. The task counts
        turns itself and ends by its own rules. Raises TimeoutError when its time limit ran out.
        """
        ...

    def outcome(self) -> Outcome:
        """Judge the conversation: after its end, or where the model failed to reply (its prompt grew too long, ...)."""
        ...

    def close(self) -> None:
        """Remove all that the conversation made. Called once, whatever happened; raises nothing."""
        ...


class Task(Protocol):
    """One of AgentBench's environments."""

    @property
    def name(self) -> str:
        """Key in ``overall.TASKS``: DB, OS, KG, HH, WS, WB."""
        ...

    @property
    def title(self) -> str:
        """Name of its score, such as ``AgentBench DB``; says what is approximated."""
        ...

    @property
    def turn_limit(self) -> int:
        """Most replies of a conversation."""
        ...

    def missing(self) -> str:
        """Say what the task needs and is not at hand, with the remedy; empty when all is there.

        Looks at settings and files alone: it runs no program, asks no server, and raises nothing.
        """
        ...

    def unavailable(self) -> str:
        """Say why the task cannot run here: what is `missing`, or how a trial ended; empty when it can. Raises nothing."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """Return what else decides an outcome, in JSON values: engine, limits. No paths of this machine.

        As little work as `missing`; once the task is entered, it may say more, such as the engine's version.
        """
        ...

    def read_items(self, data: Path, split: str) -> list[TaskItem]:
        """Return the items of a split, ``dev`` or ``test``, from the public repository's ``data`` folder.

        Raises FileNotFoundError or ValueError that names the file, the row and the remedy.
        """
        ...

    def start(self, item: TaskItem) -> Conversation:
        """Set up an item's environment. May raise anything, as a conversation may, and leaves nothing behind then."""
        ...

    def weights(self, items: Mapping[str, int]) -> dict[str, float]:
        """Return each category's weight in the task's score, given the number of items run in each; they sum to 1."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def pooled(items: Mapping[str, int]) -> dict[str, float]:
    """Return the weights under which every item counts the same: for `Task.weights`."""
    total = sum(items.values())
    return {category: count / total for category, count in items.items()}


def split_file(data: Path, names: Mapping[str, str | Sequence[str]], split: str) -> list[Path]:
    """Return the files of a split below a ``data`` folder.

    Raises FileNotFoundError with the command that fetches them when one is missing, ValueError on an unknown split.
    """
    if split not in names:
        raise ValueError(f"split: {split!r} is none of {sorted(names)}; correct it")
    chosen = names[split]
    paths = [data / name for name in ([chosen] if isinstance(chosen, str) else chosen)]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {DATA}")
    return paths
