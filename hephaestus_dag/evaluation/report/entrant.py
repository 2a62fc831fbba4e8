"""What the report is told about a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Role = Literal["base", "variant", "endpoint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An artifact on the way from a score to its data."""

    what: str
    """In words: ``score``, ``checkpoint``, ``mixture``, ``documents``."""
    asset: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A checkpoint on a variant's way from its backbone."""

    name: str
    """``Stage I``, or the asset's key."""
    checkpoint: Path
    """Folder with the summary.json of the training job."""
    scores: Sequence[Path] = ()
    """Score folders of this checkpoint, where there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A model that the report compares, and everything about it."""

    scores: Sequence[Path]
    """Score folders, one for each benchmark that was run."""
    role: Role = "variant"
    """A backbone as it was before our training, one of the recipe's variants, or a model behind an endpoint."""
    backbone: str = ""
    """Name of the model that the training began with; those of one backbone are compared with its base."""
    overlap: Path | None = None
    """Folder of `overlap.overlap_of`; None when the overlap with its training data is not known."""
    stages: Sequence[Stage] = ()
    """From the first stage to the last."""
    chain: Sequence[Link] = ()
    """From the scores back to the documents."""
    sources: Sequence[Mapping[str, Any]] = ()
    """``source``, ``domain``, ``documents`` and ``tokens`` of what it was trained on, as `trained_on.sources_of` counts."""
    not_run: Mapping[str, str] = field(default_factory=dict)
    """Benchmarks that have no score folder, with the reason and the remedy."""
