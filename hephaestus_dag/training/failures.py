"""How a process of a training job tells whoever launched it why it failed: a small file for each rank."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

VARIABLE = "HEPHAESTUS_FAILURES"
"""Environment variable with the folder; without it nothing is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one rank failed."""

    rank: int
    reason: str
    """One line."""
    lasting: bool
    """Whether another attempt would end the same way."""
    diverged: bool = False
    """Whether that is because training diverged."""

    @classmethod
    def of(cls, error: BaseException, reason: str) -> Self:
        """Judge an error: torch raises RuntimeErrors when another rank or a device is lost, or memory runs out."""
        lasting = not isinstance(error, (RuntimeError, MemoryError))
        diverged = isinstance(error, FloatingPointError)
        return cls(rank=int(os.environ.get("RANK", "0")), reason=reason, lasting=lasting, diverged=diverged)

    def leave(self) -> None:
        """Write it for the launcher."""
        if folder := os.environ.get(VARIABLE):
            path = Path(folder) / f"rank-{self.rank}.json"
            path.with_suffix(".new").write_text(json.dumps(asdict(self)))
            path.with_suffix(".new").replace(path)


def failures_in(folder: Path) -> list[Failure]:
    """Return what the ranks left, those first that another attempt would not get past."""
    found = [Failure(**json.loads(path.read_text())) for path in folder.glob("rank-*.json")]
    return sorted(found, key=lambda failure: (not failure.lasting, failure.rank))
