"""A server that speaks the OpenAI protocol: where it is, and how it is asked."""

import re
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

from hephaestus_dag.config import Config


class ServerConfig(Config):
    """A model on a server."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: str = Field(min_length=1, description="the server's name for the model")
    endpoint: str = Field(min_length=1, description="base URL of the server, up to and including /v1")
    api_key_env: str = Field(
        default="", description="name of the environment variable with the server's key; empty sends no key"
    )
    timeout_seconds: float = Field(default=120.0, gt=0, description="seconds to wait for one answer of the server")
    retries: int = Field(default=4, ge=0, description="further attempts after a 429, a 5xx or a time-out")
    backoff_seconds: float = Field(
        default=1.0, gt=0, description="seconds before the first retry, doubled for each further one"
    )
    concurrency: int = Field(default=8, ge=1, description="requests under way at once")
    input_price: float | None = Field(default=None, ge=0, description="money per million tokens that the model reads")
    output_price: float | None = Field(default=None, ge=0, description="money per million tokens that the model writes")

    @field_validator("api_key_env")
    @classmethod
    def _name_is_no_key(cls, name: str) -> str:
        # A key written here by mistake would end up in the repository, so the message does not repeat it either.
        if not re.fullmatch("[A-Z_][A-Z0-9_]*|", name):
            raise ValueError("api_key_env must be the name of an environment variable, in capitals; never write the key itself")
        return name

    @field_validator("endpoint")
    @classmethod
    def _address_without_secrets(cls, endpoint: str) -> str:
        if "@" in urlsplit(endpoint).netloc:
            raise ValueError(
                "endpoint holds a user name or password: write the address alone, and name a variable in api_key_env"
            )
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise ValueError("endpoint must be the http(s) address of the server, such as http://localhost:8000/v1")
        return endpoint
