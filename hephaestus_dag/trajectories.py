"""The trajectory model: what was asked, which tools were at hand, what was called with what, and what came back.

A trajectory is kept twice: rendered as the text of a document (for continual pre-training), and as structured
messages in ``trajectories.parquet`` beside the documents, joined by document id (for instruction tuning).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import Document, document_id

TRAJECTORY_SCHEMA = pa.schema(
    [("id", pa.string()), ("source", pa.string()), ("synthetic", pa.bool_()), ("tools", pa.string()), ("messages", pa.string())]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: dict[str, Any]
    """JSON values by parameter name."""

    def as_python(self) -> str:
        """Return the call as a Python expression, as BFCL's prompt format wants it: ``name(a=1, b='x')``."""
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    """Plain words: the request, the thought, or the result that the environment gave back."""
    calls: tuple[Call, ...] = ()
    """Tool calls of an assistant turn."""


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

    def render(self) -> str:
        """Return the trajectory as readable text for continual pre-training."""
        parts: list[str] = []
        if self.tools:
            parts.append("Tools:\n" + "\n".join(json.dumps(tool, ensure_ascii=False) for tool in self.tools))
        labels = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Result"}
        for message in self.messages:
            body = [message.content] if message.content else []
            body += [f"Call: {call.as_python()}" for call in message.calls]
            parts.append(f"{labels[message.role]}: " + "\n".join(body))
        return "\n\n".join(parts)

    def to_document(self) -> Document:
        """Return the rendered document."""
        kind = "synthetic_trajectory" if self.synthetic else "trajectory"
        return Document(
            text=self.render(), domain="agent", kind=kind, source=self.source, origin=self.origin, license=self.license
        )


def write_trajectories(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """Write the structured form of trajectories, one row each, joined to documents by ``id``."""
    rows = [
        {
            "id": document_id(t.render()),
            "source": t.source,
            "synthetic": t.synthetic,
            "tools": json.dumps(t.tools, ensure_ascii=False),
            "messages": json.dumps([asdict(m) for m in t.messages], ensure_ascii=False),
        }
        for t in trajectories
    ]
    pq.write_table(pa.Table.from_pylist(rows, TRAJECTORY_SCHEMA), path, compression="zstd")


def messages_from_json(text: str) -> tuple[Message, ...]:
    """Read the ``messages`` column back."""
    return tuple(
        Message(role=m["role"], content=m["content"], calls=tuple(Call(**call) for call in m["calls"]))
        for m in json.loads(text)
    )
