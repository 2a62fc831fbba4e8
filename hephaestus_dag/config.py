"""The base of every configuration model: unknown fields are errors, values never change, each field has a description."""

from pydantic import BaseModel, ConfigDict

OTHER = "write null for the other, also where the recipe that is extended has it"
"""What to do where two fields exclude each other."""


class Config(BaseModel):
    """A validated, immutable piece of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=())
