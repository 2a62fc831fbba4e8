"""Configuration of the sweep over proxy models, of the fit, and of what happens when the fit supports no ratio."""

from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.documents import Domain

MIN_RATIO_STEP = 0.01


class LadderRung(Config):
    """The shape of one proxy model, a LLaMA without biases."""

    name: str = Field(..., pattern=r"^[A-Za-z0-9]+(\.[A-Za-z0-9]+)?$", description="short name, for example 0.3M or 45M")
    hidden_size: int = Field(..., gt=0, description="width of the residual stream")
    layers: int = Field(..., gt=0, description="number of transformer blocks")
    heads: int = Field(..., gt=0, description="number of attention heads")
    kv_heads: int = Field(..., gt=0, description="number of key-value heads, a divisor of heads")
    intermediate_size: int = Field(..., gt=0, description="width of the feed-forward layer")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} of rung {self.name} must be an even multiple of heads {self.heads}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} of rung {self.name} must be a multiple of kv_heads {self.kv_heads}")
        return self

    @property
    def params(self) -> int:
        """Parameters without the embedding and the output head: the N of the law."""
        kv_width = self.hidden_size // self.heads * self.kv_heads
        attention = 2 * self.hidden_size * (self.hidden_size + kv_width)
        block = attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        return self.layers * block + self.hidden_size


class Replicate(Config):
    """One point of the sweep that is trained again with other seeds: the only direct measure of seed noise."""

    rung: str = Field(..., description="name of a rung of the ladder")
    agent_ratio: float = Field(..., description="one of agent_ratios")
    seeds: list[int] = Field(..., min_length=1, description="extra seeds, besides the seed of the sweep")


class LearningRateRule(Config):
    """Peak learning rate by size: ``reference_rate * (params / reference_params) ** exponent``, at most ``maximum``."""

    reference_rate: float = Field(..., gt=0, description="peak learning rate of a model of reference_params")
    reference_params: float = Field(..., gt=0, description="non-embedding parameters at which reference_rate holds")
    exponent: float = Field(..., le=0, description="power of the size; OLMo-core's ladder uses -1/3")
    maximum: float = Field(..., gt=0, description="cap on the peak learning rate, for the smallest models")

    def rate(self, params: int) -> float:
        """Return the peak learning rate of a model with this many non-embedding parameters."""
        return min(self.maximum, self.reference_rate * (params / self.reference_params) ** self.exponent)


class SweepConfig(Config):
    """Which proxy models are trained, and on what."""

    ladder: list[LadderRung] = Field(..., min_length=3, description="proxy shapes, smallest first")
    agent_ratios: list[float] = Field(..., min_length=4, description="agent shares to try, ascending, inside (0, 1)")
    code_share_of_rest: float = Field(..., ge=0, le=1, description="share of code in what is not agent data; text is the rest")
    tokens_per_parameter: float | None = Field(..., description="training tokens per non-embedding parameter, or null")
    tokens_per_cell: int | None = Field(..., description="training tokens of each cell, or null")
    replicates: list[Replicate] = Field(..., description="points trained again with extra seeds")
    learning_rate: LearningRateRule = Field(..., description="peak learning rate as a function of size")
    seed: int = Field(..., ge=0, description="seed of every cell that is not a replicate")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({rung.name for rung in self.ladder}) < len(self.ladder):
            raise ValueError("ladder: two rungs have the same name; give each its own")
        if any(b.params <= a.params for a, b in pairwise(self.ladder)):
            raise ValueError("ladder: each rung must have more parameters than the one before; sort it or change a shape")
        if not all(0 < r < 1 for r in self.agent_ratios):
            raise ValueError("agent_ratios must lie strictly between 0 and 1: every domain needs data")
        if any(b - a < MIN_RATIO_STEP for a, b in pairwise(self.agent_ratios)):
            raise ValueError(f"agent_ratios must ascend by at least {MIN_RATIO_STEP}")
        budgets = [b for b in (self.tokens_per_parameter, self.tokens_per_cell) if b is not None]
        if len(budgets) != 1 or budgets[0] <= 0:
            raise ValueError("set exactly one of tokens_per_parameter and tokens_per_cell, to a positive number")
        return self

    @model_validator(mode="after")
    def _check_replicates(self) -> Self:
        names = {rung.name for rung in self.ladder}
        points: set[tuple[str, float, int]] = set()
        for replicate in self.replicates:
            if replicate.rung not in names:
                raise ValueError(f"replicates: rung {replicate.rung!r} is not in the ladder; choose from {sorted(names)}")
            if replicate.agent_ratio not in self.agent_ratios:
                raise ValueError(f"replicates: {replicate.agent_ratio} is not one of agent_ratios {self.agent_ratios}")
            for seed in replicate.seeds:
                point = (replicate.rung, replicate.agent_ratio, seed)
                if seed < 0 or seed == self.seed or point in points:
                    raise ValueError(f"replicates: seed {seed} of {replicate.rung} at {replicate.agent_ratio} is already used")
                points.add(point)
        return self


class Target(Config):
    """The training run that the ratio is wanted for."""

    params: float = Field(..., gt=0, description="non-embedding parameters of the backbone")
    tokens: float = Field(..., gt=0, description="tokens it will be trained on")
    unique_tokens: dict[Domain, float] | None = Field(
        ..., description="distinct tokens available per domain, so that repetition is priced in; null: nothing repeats"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for domain, count in (self.unique_tokens or {}).items():
            if count <= 0:
                raise ValueError(f"unique_tokens of {domain} must be positive; leave the domain out if nothing repeats")
        return self


class FitConfig(Config):
    """What is minimised, where, and how sure one must be.

    Each domain's loss only falls as its own share grows, so a best ratio exists only relative to the objective. Fix the
    weights before the sweep.
    """

    objective: dict[Domain, float] = Field(..., description="weight of each domain's held-out loss; they sum to 1")
    target: Target | None = Field(..., description="the run to extrapolate to; null: the largest rung of the runs table")
    bootstrap_draws: int = Field(..., ge=200, description="bootstrap draws behind each interval")
    max_interval_width: float = Field(..., gt=0, lt=1, description="widest 95 % interval of the ratio that is acted upon")
    min_runs: int = Field(default=24, ge=8, description="fewest finished runs that support an optimum")
    min_replicates: int = Field(default=4, ge=0, description="fewest repeated seeds that support an optimum")
    seed: int = Field(default=0, ge=0, description="seed of the bootstrap")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(weight < 0 for weight in self.objective.values()) or abs(sum(self.objective.values()) - 1) > 1e-6:
            raise ValueError(
                f"objective: weights must be >= 0 and sum to 1, not {sum(self.objective.values()):g}; rescale them"
            )
        return self


class ScalingConfig(Config):
    """The sweep, the fit, and the ratio to fall back on."""

    sweep: SweepConfig = Field(..., description="which proxy models are trained")
    fit: FitConfig = Field(..., description="how the law is fitted and the optimum judged")
    fallback_agent_ratio: float | None = Field(..., gt=0, lt=1, description="ratio to use if none is supported; null: stop")
    threads: int = Field(..., ge=1, description="CPU threads of one proxy run (placement, not identity)")
