"""Which items of BFCL are run, and with which limits."""

from pydantic import Field, field_validator

from hephaestus_dag.config import Config

BFCL_CATEGORIES: tuple[str, ...] = (
    "simple_python",
    "simple_java",
    "simple_javascript",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
"""The single-turn categories of BFCL v1 to v3."""


class BfclConfig(Config):
    """The Berkeley Function-Calling Leaderboard, single turn, prompting mode."""

    categories: tuple[str, ...] = Field(default=BFCL_CATEGORIES, description="categories to run, by their official names")
    items_per_category: int | None = Field(
        default=None, ge=1, description="items drawn from each category; the whole category when it has fewer, or when null"
    )
    seed: int = Field(default=0, description="seed of the draw; a larger draw with the same seed contains the smaller one")
    max_new_tokens: int = Field(default=256, ge=1, description="longest reply in tokens")
    max_prompt_tokens: int | None = Field(
        default=None,
        ge=1,
        description="longest prompt in tokens, longer ones fail; null: only the model's context counts",
    )
    batch_size: int = Field(default=16, ge=1, description="prompts generated together")

    @field_validator("categories")
    @classmethod
    def _known_and_distinct(cls, categories: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(categories) - set(BFCL_CATEGORIES))
        if unknown:
            raise ValueError(f"categories: {unknown} are not single-turn BFCL categories; choose from {list(BFCL_CATEGORIES)}")
        if not categories or len(set(categories)) != len(categories):
            raise ValueError("categories: name at least one category, and each only once")
        return categories
