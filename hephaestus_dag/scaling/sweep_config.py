"""Configuration of the sweep over proxy models: sizes, agent ratios, token budgets, seeds, and the rules that follow size."""

import math
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from hephaestus_dag.config import OTHER, Config

MIN_RATIO_STEP = 0.01
BENCHMARK = "benchmark"
"""Name of the loss on reference answers of the benchmark, beside those of the domains."""


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


class BatchRule(Config):
    """Global batch by size: the power of two nearest to ``reference_sequences * (params / reference_params) ** exponent``.

    All token budgets of a cell have it.
    """

    reference_sequences: float = Field(..., gt=0, description="sequences per step of a model of reference_params")
    reference_params: float = Field(..., gt=0, description="non-embedding parameters at which reference_sequences holds")
    exponent: float = Field(..., ge=0, description="power of the size; OLMo-core's ladder uses 2/3; 0: one batch for all sizes")
    maximum: int = Field(..., ge=1, description="cap on the sequences per step, for the largest models")

    def sequences(self, params: int) -> int:
        """Return the sequences per step of a model with this many non-embedding parameters."""
        wanted = self.reference_sequences * (params / self.reference_params) ** self.exponent
        return min(self.maximum, 2 ** max(0, round(math.log2(wanted))))


class PretrainedStart(Config):
    """A proxy is first pre-trained on code and text without agent data, once for each rung: what the cells then continue."""

    tokens_per_parameter: float = Field(..., gt=0, description="tokens of the pre-training per non-embedding parameter")
    code_share: float = Field(..., gt=0, lt=1, description="share of code in the pre-training; the rest is text")


class SweepConfig(Config):
    """Which proxy models are trained, and on what.

    A cell is a size, an agent ratio and a seed. Its token budgets are branches of one run: they share warm-up and constant
    learning rate, and each decays over ``training.proxy.decay_share`` of its own budget.
    """

    ladder: list[LadderRung] = Field(..., min_length=3, description="proxy shapes, smallest first")
    agent_ratios: list[float] = Field(..., min_length=4, description="agent shares to try, ascending, inside (0, 1)")
    code_share_of_rest: float = Field(..., ge=0, le=1, description="share of code in what is not agent data; text is the rest")
    budgets: list[int] | None = Field(..., min_length=1, description="token budgets of each cell in tokens, ascending, or null")
    budgets_per_parameter: list[float] | None = Field(
        ..., min_length=1, description="token budgets of each cell in tokens per non-embedding parameter, ascending, or null"
    )
    max_warmup_share: float = Field(
        ...,
        ge=0,
        le=0.5,
        description="the warm-up is one token per parameter, as in OLMo-core's ladder, and at most this share of the smallest "
        "budget",
    )
    start: Literal["scratch"] | PretrainedStart = Field(
        ..., description="`scratch`: cells start with fresh weights; else how the proxies are pre-trained that they continue"
    )
    benchmark_items: int | None = Field(
        ..., ge=1, description="reference answers of each benchmark category whose loss is measured, or null for none"
    )
    replicates: list[Replicate] = Field(..., description="points trained again with extra seeds")
    learning_rate: LearningRateRule = Field(..., description="peak learning rate as a function of size")
    batch: BatchRule = Field(..., description="sequences per step as a function of size")
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
        given = [budgets for budgets in (self.budgets, self.budgets_per_parameter) if budgets is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of budgets and budgets_per_parameter; {OTHER}")
        if given[0][0] <= 0 or any(b <= a for a, b in pairwise(given[0])):
            raise ValueError("budgets and budgets_per_parameter must be positive and ascend")
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

    def tokens(self, rung: LadderRung) -> tuple[int, ...]:
        """Return the token budgets of a rung's cells."""
        if self.budgets:
            return tuple(self.budgets)
        return tuple(round(each * rung.params) for each in self.budgets_per_parameter or ())
