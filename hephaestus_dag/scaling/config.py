"""Configuration of the scaling law: the sweep, the fit, and what happens when the fit supports no ratio."""

from typing import Literal, Self

from pydantic import Field, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.scaling.sweep_config import SweepConfig


class Target(Config):
    """The training run that the ratio is wanted for."""

    params: float = Field(..., gt=0, description="non-embedding parameters of the backbone")
    tokens: float = Field(..., gt=0, description="tokens it will be trained on")
    unique_tokens: dict[str, float] | None = Field(
        ..., description="distinct tokens available per domain, so that repetition is priced in; null: nothing repeats"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for domain, count in (self.unique_tokens or {}).items():
            if count <= 0:
                raise ValueError(f"unique_tokens of {domain} must be positive; leave the domain out if nothing repeats")
        return self


class GeneralLoss(Config):
    """What must not be given up for the agent: a bound on how far general losses rise."""

    weights: dict[str, float] = Field(..., description="weight of each general loss, for example code and text; they sum to 1")
    max_rise: float = Field(
        ..., gt=0, lt=1, description="share by which it may rise above what it is at the smallest ratio tried; 0.02 is 2 %"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        _sum_to_one("general_loss.weights", self.weights)
        return self


class FitConfig(Config):
    """What is minimised, where, and how sure one must be.

    Each loss only falls as its own domain's share grows, so a best ratio exists only relative to the objective. Fix it before
    the sweep.
    """

    objective: dict[str, float] = Field(
        ..., description="weight of each loss of the runs table (agent, benchmark, code, text); they sum to 1"
    )
    best: Literal["weighted", "constrained"] = Field(
        default="weighted",
        description="weighted: where the objective is lowest; constrained: the most agent data that general_loss allows",
    )
    general_loss: GeneralLoss | None = Field(
        default=None, description="bound on the general losses; reported beside the weighted optimum, or null"
    )
    target: Target | None = Field(..., description="the run to extrapolate to; null: the largest run of the table")
    bootstrap_draws: int = Field(..., ge=200, description="bootstrap draws of each family behind the intervals")
    max_interval_width: float = Field(..., gt=0, lt=1, description="widest 95 % interval of the ratio that is acted upon")
    min_runs: int = Field(default=24, ge=8, description="fewest finished runs that support an optimum")
    min_replicates: int = Field(default=4, ge=0, description="fewest repeated seeds that support an optimum")
    seed: int = Field(default=0, ge=0, description="seed of the bootstrap")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _sum_to_one("objective", self.objective)
        if self.best == "constrained" and self.general_loss is None:
            raise ValueError("best: constrained needs general_loss; say which losses may rise, and by how much")
        return self


def _sum_to_one(name: str, weights: dict[str, float]) -> None:
    if any(weight < 0 for weight in weights.values()) or abs(sum(weights.values()) - 1) > 1e-6:
        raise ValueError(f"{name}: weights must be >= 0 and sum to 1, not {sum(weights.values()):g}; rescale them")


class ScalingConfig(Config):
    """The sweep, the fit, and the ratio to fall back on."""

    sweep: SweepConfig = Field(..., description="which proxy models are trained")
    fit: FitConfig = Field(..., description="how the law is fitted and the optimum judged")
    fallback_agent_ratio: float | None = Field(..., gt=0, lt=1, description="ratio to use if none is supported; null: stop")
    threads: int = Field(..., ge=1, description="CPU threads of one proxy run (placement, not identity)")
    cells_at_once: int = Field(
        default=1,
        ge=1,
        description="proxy runs that train at the same time, on a GPU together, at most execution.max_concurrent (placement)",
    )
