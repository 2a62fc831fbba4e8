"""The trajectory model: what was asked, which tools were at hand, what was called with what, and what came back.

A trajectory is kept twice: rendered as the text of a document (for continual pre-training) in one of several natural
formats, see ``trajectory_formats``, and as structured messages in ``trajectories.parquet`` beside the documents, joined
by document id (for instruction tuning). Both name the format, so both give the same text.
"""

import json
import keyword
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import Document, document_id, signature
from hephaestus_dag.trajectory_formats import choose_format, render

Role = Literal["system", "user", "assistant", "tool"]
_TEXT_COLUMNS = ("id", "source", "origin", "license", "provider", "format")
TRAJECTORY_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXT_COLUMNS),
        ("synthetic", pa.bool_()),
        ("tools", pa.string()),
        ("messages", pa.string()),
    ]
)
"""``tools`` and ``messages`` hold JSON: the fields of `Trajectory` and `Message`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: dict[str, Any]
    """JSON values by parameter name."""

    def as_python(self) -> str:
        """Return the call as a Python expression, as BFCL's prompt format wants it: ``name(a=1, b='x')``.

        A parameter whose name cannot be a keyword is unpacked: ``name(**{'from': 'x'})``.
        """
        return f"{self.name}({', '.join(_argument(name, value) for name, value in self.arguments.items())})"

    def as_json(self) -> str:
        """Return the call as JSON on one line: ``{"name": ..., "arguments": {...}}``."""
        return json.dumps({"name": self.name, "arguments": self.arguments}, ensure_ascii=False)


def _argument(name: str, value: Any) -> str:
    # Python reads an identifier in its NFKC form
    speakable = name.isidentifier() and not keyword.iskeyword(name) and unicodedata.is_normalized("NFKC", name)
    return f"{name}={value!r}" if speakable else f"**{{{name!r}: {value!r}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn."""

    role: Role
    content: str = ""
    """Plain words: the request, the reply, or the result that the environment gave back, as it stood."""
    thought: str = ""
    """What an assistant thought before it spoke or called."""
    calls: tuple[Call, ...] = ()
    """Tool calls of an assistant turn."""
    answers: int | None = None
    """Of a tool's result: the call that it answers, counted from 0 in the last assistant turn; None where not known."""
    loss: bool = True
    """Whether a model learns to produce the turn: never of what others than the assistant said."""

    def __post_init__(self) -> None:
        if self.role != "assistant":
            object.__setattr__(self, "loss", False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """A request, the tools at hand, and the turns that followed."""

    messages: tuple[Message, ...]
    source: str
    origin: str
    license: str
    tools: tuple[dict[str, Any], ...] = ()
    """Tool schemas: ``{"name", "description", "parameters": JSON Schema of type object}``."""
    synthetic: bool = False
    """True when made from a schema rather than written or recorded by somebody."""
    provider: str = ""
    """Who runs the tools, where one does."""
    format: str = ""
    """One of ``trajectory_formats.FORMATS``; empty: drawn from the origin and a seed when it is rendered."""

    def in_format(self, seed: int = 0) -> "Trajectory":
        """Return the trajectory with its format drawn; one that has a format keeps it."""
        return self if self.format else replace(self, format=choose_format(self, seed))

    def render(self, seed: int = 0) -> str:
        """Return the trajectory as readable text in its format."""
        return render(self.in_format(seed))

    def signatures(self) -> list[str]:
        """Return the signatures of the tools at hand and of the functions as they are called, sorted."""
        declared = {signature(tool["name"], tool["parameters"].get("properties", ())) for tool in self.tools}
        return sorted(declared | {signature(call.name, call.arguments) for m in self.messages for call in m.calls})

    def to_document(self, seed: int = 0) -> Document:
        """Return the rendered document."""
        drawn = self.in_format(seed)
        return Document(
            text=drawn.render(),
            domain="agent",
            kind="synthetic_trajectory" if self.synthetic else "trajectory",
            source=self.source,
            origin=self.origin,
            license=self.license,
            provider=self.provider,
            signatures="\n".join(self.signatures()),
            format=drawn.format,
        )


def write_trajectories(path: Path, trajectories: Sequence[Trajectory], seed: int = 0) -> None:
    """Write the structured form of trajectories, one row each, joined to the documents of the same seed by ``id``."""
    rows = []
    for trajectory in trajectories:
        drawn = trajectory.in_format(seed)
        row = {name: getattr(drawn, name) for name in TRAJECTORY_SCHEMA.names if name != "id"}
        row |= {
            "id": document_id(drawn.render()),
            "tools": json.dumps(drawn.tools, ensure_ascii=False),
            "messages": json.dumps([asdict(message) for message in drawn.messages], ensure_ascii=False),
        }
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows, TRAJECTORY_SCHEMA), path, compression="zstd")


def load_trajectories(path: Path) -> list[Trajectory]:
    """Read back what `write_trajectories` wrote; every trajectory has its format."""
    rows = pq.read_table(path, schema=TRAJECTORY_SCHEMA).to_pylist()
    return [
        Trajectory(
            **{name: row[name] for name in row.keys() - {"id", "tools", "messages"}},
            tools=tuple(json.loads(row["tools"])),
            messages=messages_from_json(row["messages"]),
        )
        for row in rows
    ]


def messages_from_json(text: str) -> tuple[Message, ...]:
    """Read the ``messages`` column back."""
    return tuple(
        Message(**{**message, "calls": tuple(Call(**call) for call in message["calls"])}) for message in json.loads(text)
    )
