"""Which items of BFCL are run, and with which limits."""

from typing import Literal

from pydantic import Field, field_validator

from hephaestus_dag.config import Config

SINGLE_TURN: tuple[str, ...] = (
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
"""Categories of one question and one reply."""
MULTI_TURN: tuple[str, ...] = (
    "multi_turn_base",
    "multi_turn_miss_func",
    "multi_turn_miss_param",
    "multi_turn_long_context",
)
"""Categories of conversations with simulated APIs."""
BFCL_CATEGORIES = SINGLE_TURN + MULTI_TURN
"""The categories of BFCL v1 to v3 that the official package can check."""
MAX_STEPS_PER_TURN = 20
"""Replies with calls that a turn may have; one more cuts the conversation off (bfcl-eval 2026.3.23, ``MAXIMUM_STEP_LIMIT``)."""


class BfclConfig(Config):
    """The Berkeley Function-Calling Leaderboard, prompting mode."""

    categories: tuple[str, ...] = Field(default=BFCL_CATEGORIES, description="categories to run, by their official names")
    items_per_category: int | None = Field(
        default=None, ge=1, description="items drawn from each category; the whole category when it has fewer, or when null"
    )
    multi_turn_items_per_category: int | None = Field(
        default=None,
        ge=1,
        description="conversations drawn from each multi-turn category; null: as many as items_per_category says",
    )
    seed: int = Field(default=0, description="seed of the draw; a larger draw with the same seed contains the smaller one")
    max_new_tokens: int = Field(default=256, ge=1, description="longest reply in tokens")
    max_prompt_tokens: int | None = Field(
        default=None,
        ge=1,
        description="longest prompt in tokens, longer ones fail; null: only the model's context counts",
    )
    tool_results: Literal["user", "tool"] = Field(
        default="user",
        description="how results of calls go back to the model: one user message, or one message of role tool for each call "
        "(for chat templates that know the role); both are official, and scores differ",
    )

    @field_validator("categories")
    @classmethod
    def _known_and_distinct(cls, categories: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(categories) - set(BFCL_CATEGORIES))
        if unknown:
            raise ValueError(f"categories: {unknown} are not BFCL categories; choose from {list(BFCL_CATEGORIES)}")
        if not categories or len(set(categories)) != len(categories):
            raise ValueError("categories: name at least one category, and each only once")
        return categories

    def items_in(self, category: str) -> int | None:
        """Return how many items are drawn from a category; None: all of them."""
        if category in MULTI_TURN and self.multi_turn_items_per_category is not None:
            return self.multi_turn_items_per_category
        return self.items_per_category
