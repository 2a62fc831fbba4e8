"""What every annotator is: texts in, one annotation for each out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Status = Literal["ok", "invalid", "error"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """One judgement of a document."""

    score: float | None
    """0 (no) to 1 (yes); None unless ``status`` is ok: what was not answered is never guessed."""
    status: Status
    """ok; invalid: the annotator answered something else; error: no answer came."""
    raw: str
    """What the annotator said, or the error."""


class Annotator(Protocol):
    """Judges documents by a rubric."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides an answer besides rubric and text: model, version, how much of the text is shown."""
        ...

    def annotate(self, texts: Sequence[str]) -> list[Annotation]:
        """Return one annotation for each text, in order."""
        ...
