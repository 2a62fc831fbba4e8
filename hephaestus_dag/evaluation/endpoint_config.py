"""A model behind an OpenAI-compatible server, and what asking it may cost."""

from typing import Self

from pydantic import Field, model_validator

from hephaestus_dag.evaluation.prompts import PromptFormat
from hephaestus_dag.server_config import ServerConfig


class EndpointConfig(ServerConfig):
    """A model behind an OpenAI-compatible server."""

    prompt_format: PromptFormat = Field(
        default="chat", description="chat completions of messages, or few_shot: plain completions of a transcript with examples"
    )
    temperature: float | None = Field(
        default=0.0, ge=0, description="temperature that is sent; null sends none, for models that refuse it"
    )
    limit_field: str = Field(
        default="max_tokens", description="name by which the server takes the longest reply; max_completion_tokens for some"
    )
    max_cost: float | None = Field(
        default=None, gt=0, description="money that one run may spend, in the unit of the prices; null: no ceiling"
    )
    max_total_tokens: int | None = Field(
        default=None, ge=1, description="tokens, read and written, that one run may take; null: no ceiling"
    )

    @model_validator(mode="after")
    def _a_ceiling_on_cost_needs_prices(self) -> Self:
        if self.max_cost is not None and (self.input_price is None or self.output_price is None):
            raise ValueError("max_cost needs input_price and output_price: set both, or use max_total_tokens")
        return self
