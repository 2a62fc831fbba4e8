"""When training documents have shown an item to a model."""

from pydantic import Field

from hephaestus_dag.config import Config

LEAST_SHARE = 0.2
"""Less of an item is not recorded."""


class OverlapConfig(Config):
    """When an item counts as seen in training. All but ``max_share`` decide what a scan of the documents finds."""

    n_gram: int = Field(default=8, ge=3, description="words in a row that item and document must share")
    shortest_item: int = Field(default=6, ge=1, description="words that a text needs to be judged; shorter ones are counted")
    stock_items: int = Field(default=10, ge=1, description="items that may share a run of words before it is a stock phrase")
    max_share: float = Field(
        default=0.5, gt=LEAST_SHARE, le=1, description="share of an item's words from which it is not clean, 0.2 to 1"
    )
