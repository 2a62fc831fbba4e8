"""What a recipe says about curation."""

from typing import Self

from pydantic import Field, model_validator

from hephaestus_dag.config import Config


class CurationConfig(Config):
    """The rules that a document has to pass."""

    n_gram: int = Field(
        default=13, ge=8, le=32, description="Words of a benchmark item in a row that take a document out; 13 is GPT-3's choice"
    )
    shortest_item: int = Field(
        default=8, ge=5, description="Words; benchmark items shorter than n_gram match on their full length, down to this many"
    )
    stock_items: int = Field(
        default=10, ge=1, description="Benchmark items; an n-gram that occurs in more of them is a stock phrase and ignored"
    )
    licenses: tuple[str, ...] | None = Field(
        default=None, description="SPDX identifiers that may stay (`unknown` must be listed to stay); null: all"
    )
    min_characters: int = Field(default=20, ge=1, description="Characters below which a document is removed")
    max_characters: int = Field(default=200_000, ge=1, description="Characters above which a document is removed")
    max_removed_share: float = Field(
        default=0.5, gt=0, lt=1, description="Share of documents; when curation removes more than this, the check fails"
    )

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if self.min_characters > self.max_characters:
            raise ValueError(
                f"min_characters {self.min_characters} is above max_characters {self.max_characters}; lower the first"
            )
        if self.shortest_item > self.n_gram:
            raise ValueError(f"shortest_item {self.shortest_item} is above n_gram {self.n_gram}; lower the first")
        if self.licenses is not None and not self.licenses:
            raise ValueError("licenses is empty, nothing could stay; list SPDX identifiers, or write null for all")
        return self
