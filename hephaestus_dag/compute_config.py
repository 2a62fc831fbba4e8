"""Configuration of the engine that runs data steps."""

from typing import Literal

from pydantic import Field, field_validator

from hephaestus_dag.config import Config


class ComputeConfig(Config):
    """Where data steps run, and with how many workers; the same documents come out on both engines."""

    engine: Literal["local", "ray"] = Field(
        default="local", description="Processes of this machine (local), or Ray on one or many (ray)"
    )
    workers: int = Field(default=0, ge=0, description="Workers of a data step; 0: one per CPU core, of all nodes with ray")
    model_workers: int = Field(
        default=1, ge=0, description="Workers that each hold a model (encoder, annotator); 0: one per GPU, or one without GPUs"
    )
    address: str | None = Field(
        default=None,
        description="Ray cluster that this machine is a node of, such as head:6379; null: RAY_ADDRESS, else one of its own",
    )

    @field_validator("address")
    @classmethod
    def _is_one(cls, address: str | None) -> str | None:
        if address is not None and (address.startswith("ray://") or (":" not in address and address != "auto")):
            raise ValueError(
                f"address {address!r} is none that data can be mapped from: write host:6379 or auto, on a node of it"
            )
        return address
