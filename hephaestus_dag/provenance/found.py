"""What a search for documents found: corpora, token stores, models and scores."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class InCorpus:
    """What a corpus did with the documents."""

    artifact: str
    curated: bool
    """Whether it was made from other documents of the store; False: it is what the sources hold."""
    kept: int
    removed: list[dict[str, Any]]
    """Rows of step, reason and documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InTokens:
    """Documents in the ledger of a token store."""

    artifact: str
    documents: int
    heldout: int
    """Of the documents: those that only measure loss."""
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InModel:
    """What a model was shown of the documents, in all stages that led to it."""

    artifact: str
    documents: int
    """Entries of ledgers that were shown; a document that is also an instruction counts twice."""
    tokens: int
    """As inputs, repeats included."""
    share: float | None
    """Of all tokens that were shown, padding not counted, 0 to 1; None where ``complete`` is False."""
    times: float | None
    """Mean number of times that each of the tokens of the documents shown was seen; None where ``complete`` is False."""
    stages: dict[str, int]
    """Checkpoint -> tokens shown in its own stage."""
    complete: bool
    """Whether all of its training and all of the documents could be looked into; where not, the counts may be too small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InScore:
    """A score of a model that was shown the documents."""

    artifact: str
    model: str
    tokens: int
    """Shown to the model."""
    complete: bool
    """As of the model."""
    headline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where some documents went."""

    question: str
    documents: int | None
    """How many are meant; None for a licence, source or origin: the corpora say it."""
    examples: list[dict[str, Any]]
    """Rows of id, source, origin, license, kind and the beginning of the text; none where only the id is known."""
    corpora: list[InCorpus] = field(default_factory=list)
    tokens: list[InTokens] = field(default_factory=list)
    models: list[InModel] = field(default_factory=list)
    scores: list[InScore] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    """Other artifacts made from these, such as a tokenizer or an index, whether or not these documents mattered."""
    near_copies: list[dict[str, Any]] = field(default_factory=list)
    """Rows of id, jaccard and artifact: near-duplicates that curation put into one cluster with the documents."""
    unknown: list[str] = field(default_factory=list)
    """What could not be looked into, and why."""

    @property
    def present(self) -> bool | None:
        """Whether a curated corpus still holds one of the documents, or a token store or model was made with it.

        None when none was found and something is unknown.
        """
        found = any(each.kept for each in self.corpora if each.curated) or bool(self.tokens or self.models)
        return found or (None if self.unknown else False)

    @property
    def nowhere(self) -> bool:
        """Whether no table that was looked into knows any of the documents."""
        return not (self.examples or self.corpora or self.tokens or self.models)
