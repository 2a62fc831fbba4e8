"""Configuration of the tokenizer, of token stores, of mixtures and of instruction data."""

import math
from typing import Self

from pydantic import Field, model_validator

from hephaestus_dag.config import OTHER, Config
from hephaestus_dag.mixture.tool_prompts import ToolPrompt


class TrainTokenizerConfig(Config):
    """A byte-level BPE trained on the corpus itself."""

    vocab_size: int = Field(8_192, ge=300, description="Entries of the vocabulary, special tokens included")
    sample_characters: int = Field(50_000_000, ge=1, description="Characters of text that the merges are learned from, at most")
    seed: int = Field(0, ge=0, description="Seed of the choice of sampled documents")


class TokenizerConfig(Config):
    """Where the tokenizer comes from: trained on the corpus, or taken from a model."""

    train: TrainTokenizerConfig | None = Field(None, description="Train a tokenizer with these settings")
    model: str | None = Field(None, min_length=1, description="Folder or hub name of a model whose fast tokenizer is taken")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.train is None) == (self.model is None):
            raise ValueError(f"tokenizer: give exactly one of train and model; {OTHER}")
        return self


class TokenStoreConfig(Config):
    """How documents become token streams."""

    heldout_share: float = Field(0.01, ge=0, lt=1, description="Share of documents kept out of training, chosen by document id")
    max_heldout_documents: int | None = Field(
        2_000, ge=1, description="Held-out documents per domain that are tokenised, at most; the rest stays unused"
    )
    max_tokens_per_domain: int | None = Field(
        None, ge=1, description="Training tokens per domain after which no further document is tokenised"
    )
    seed: int = Field(0, ge=0, description="Seed of the document order")


class Component(Config):
    """One part of a mixture: a domain, or one source of documents."""

    domain: str | None = Field(
        default=None, min_length=1, description="Domain that is drawn on: all its sources but those that the mixture names"
    )
    source: str | None = Field(default=None, min_length=1, description="Source that is drawn on, by its name in the recipe")
    share: float = Field(..., gt=0, le=1, description="Share of the mixture's tokens")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.domain is None) == (self.source is None):
            raise ValueError("component: give exactly one of domain and source")
        return self

    @property
    def name(self) -> str:
        """The domain or the source."""
        return self.domain or self.source or ""


class MixtureConfig(Config):
    """A token budget divided among domains and sources."""

    tokens: int = Field(..., ge=1, description="Training tokens of the whole mixture")
    sequence_length: int = Field(..., ge=2, description="Tokens of one training sequence")
    components: tuple[Component, ...] = Field(..., min_length=1, description="Domains and sources with their shares")
    weights: dict[str, float] = Field(
        default={},
        description="How often a token of a source is shown, relative to the others of its domain; 1 where not named",
    )
    replay_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the tokens that repeat the beginning of another mixture, against forgetting",
    )
    max_epochs: float = Field(1.0, gt=0, description="Times that a source's unique tokens may be visited, at most")
    seed: int = Field(default=0, ge=0, description="Seed of the order of sequences")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        total = math.fsum(c.share for c in self.components)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"components: the shares sum to {total:.9g}, not 1; divide each share by {total:.9g}")
        names = [c.name for c in self.components]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"components: {', '.join(twice)} named more than once; give each domain and source one share")
        if wrong := sorted(name for name, weight in self.weights.items() if not weight > 0):
            raise ValueError(f"weights: {', '.join(wrong)} must be above 0; leave a source out of the recipe instead")
        if self.tokens < self.sequence_length:
            raise ValueError(
                f"tokens: a budget of {self.tokens} is less than one sequence of {self.sequence_length}; "
                "raise tokens or lower sequence_length"
            )
        return self


class InstructionConfig(Config):
    """How trajectories become masked instruction sequences."""

    num_examples: int = Field(
        ..., ge=1, description="Examples taken, at most; fewer when synthetic_share cannot be met otherwise"
    )
    sources: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Sources of recorded trajectories that are used, by name; null: all"
    )
    sequence_length: int = Field(..., ge=16, description="Tokens of one packed sequence")
    synthetic_share: float = Field(0.5, ge=0, le=1, description="Share of examples made from schemas instead of recorded")
    heldout_share: float = Field(0.02, ge=0, lt=1, description="Share of examples kept out of training, chosen by id")
    keep_thoughts: bool = Field(False, description="Keep the words that an assistant says before its calls in the same turn")
    general_share: float = Field(
        default=0.0, ge=0, lt=1, description="Share of examples that are pieces of code and text documents, against forgetting"
    )
    general_tokens: int = Field(
        default=256, ge=16, description="Tokens of such a piece, at most; all of them count in the loss"
    )
    prompts: dict[ToolPrompt, float] = Field(
        default={"plain": 1.0},
        min_length=1,
        description="Weights of the prompts that show the tools: `plain`, `bfcl` (its official one; `bfcl_java`, "
        "`bfcl_javascript`: with functions of these languages), `short`, `signatures`",
    )
    seed: int = Field(0, ge=0, description="Seed of the order of examples")
