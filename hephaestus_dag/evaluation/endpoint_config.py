"""A model behind an OpenAI-compatible server, and what asking it may cost."""

import re
from typing import Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.evaluation.prompts import PromptFormat


class EndpointConfig(Config):
    """A model behind an OpenAI-compatible server."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: str = Field(min_length=1, description="the server's name for the model")
    endpoint: str = Field(description="base URL of the server, up to and including /v1")
    api_key_env: str = Field(
        default="", description="name of the environment variable with the server's key; empty sends no key"
    )
    prompt_format: PromptFormat = Field(
        default="chat", description="chat completions of messages, or few_shot: plain completions of a transcript with examples"
    )
    temperature: float | None = Field(
        default=0.0, ge=0, description="temperature that is sent; null sends none, for models that refuse it"
    )
    limit_field: str = Field(
        default="max_tokens", description="name by which the server takes the longest reply; max_completion_tokens for some"
    )
    timeout_seconds: float = Field(default=120.0, gt=0, description="seconds to wait for one answer of the server")
    retries: int = Field(default=4, ge=0, description="further attempts after a 429, a 5xx or a time-out")
    backoff_seconds: float = Field(
        default=1.0, gt=0, description="seconds before the first retry, doubled for each further one"
    )
    concurrency: int = Field(default=8, ge=1, description="requests under way at once")
    input_price: float | None = Field(default=None, ge=0, description="money per million tokens that the model reads")
    output_price: float | None = Field(default=None, ge=0, description="money per million tokens that the model writes")
    max_cost: float | None = Field(
        default=None, gt=0, description="money that one run may spend, in the unit of the prices; null: no ceiling"
    )
    max_total_tokens: int | None = Field(
        default=None, ge=1, description="tokens, read and written, that one run may take; null: no ceiling"
    )

    @field_validator("api_key_env")
    @classmethod
    def _name_is_no_key(cls, name: str) -> str:
        if not re.fullmatch("[A-Z_][A-Z0-9_]*|", name):
            raise ValueError("api_key_env must be the name of an environment variable, in capitals; never write the key itself")
        return name

    @field_validator("endpoint")
    @classmethod
    def _address_without_secrets(cls, endpoint: str) -> str:
        if not endpoint.startswith(("http://", "https://")):
            raise ValueError("endpoint must be the http(s) address of the server, such as http://localhost:8000/v1")
        if "@" in urlsplit(endpoint).netloc:
            raise ValueError(
                "endpoint holds a user name or password: write the address alone, and name a variable in api_key_env"
            )
        return endpoint

    @model_validator(mode="after")
    def _a_ceiling_on_cost_needs_prices(self) -> Self:
        if self.max_cost is not None and (self.input_price is None or self.output_price is None):
            raise ValueError("max_cost needs input_price and output_price: set both, or use max_total_tokens")
        return self
