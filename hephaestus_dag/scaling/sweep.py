"""The plan of the sweep: one cell for each proxy size, agent ratio and seed, with its token budgets as branches of one run."""

import math
import re
from itertools import pairwise
from typing import Self

from pydantic import Field

from hephaestus_dag.config import Config
from hephaestus_dag.scaling.sweep_config import LadderRung, PretrainedStart, SweepConfig
from hephaestus_dag.training.config import TrainingConfig
from hephaestus_dag.training.schedule import decay_start


class Cell(Config):
    """One proxy run. ``model_dump(mode="json")`` and ``Cell.model_validate`` carry it between processes."""

    name: str = Field(..., description="unique name, for example 0.3M-a36-s0")
    rung: LadderRung = Field(..., description="shape of the model")
    agent_ratio: float = Field(..., description="share of agent tokens")
    shares: dict[str, float] = Field(..., description="share of each domain in the training tokens; they sum to 1")
    budgets: tuple[int, ...] = Field(..., description="training tokens of each branch, ascending")
    warmup_tokens: int = Field(..., description="tokens of the warm-up that all branches share")
    learning_rate: float = Field(..., description="peak learning rate")
    global_batch_sequences: int = Field(..., description="sequences per optimiser step")
    seed: int = Field(..., description="seed of weights and data order")

    @property
    def key(self) -> str:
        """The name in letters, digits and underscores, unique as well: what an orchestrator takes as a key."""
        return re.sub(r"\W", "_", self.name)

    @classmethod
    def of(cls, config: SweepConfig, rung: LadderRung, name: str, agent_ratio: float, **given: object) -> Self:
        """Return a cell of a rung; what its size decides follows the rules of the sweep."""
        values = {"budgets": config.tokens(rung), "seed": config.seed, **given}
        smallest = min(values["budgets"])  # pyright: ignore[reportArgumentType]
        return cls.model_validate(
            {
                "name": name,
                "rung": rung,
                "agent_ratio": agent_ratio,
                "warmup_tokens": min(rung.params, math.floor(config.max_warmup_share * smallest)),
                "learning_rate": config.learning_rate.rate(rung.params),
                "global_batch_sequences": config.batch.sequences(rung.params),
                **values,
            }
        )

    def branches(self, proxy: TrainingConfig, sequence_length: int) -> list[TrainingConfig]:
        """Return the optimisation of each branch, from that of all proxies; the budgets are rounded down to whole steps.

        Each keeps a checkpoint where a longer one leaves it. Raises ValueError, with the remedy, for budgets that cannot be
        branches of one run.
        """
        per_step = self.global_batch_sequences * sequence_length
        steps = [budget // per_step for budget in self.budgets]
        if not steps[0] or any(a == b for a, b in pairwise(steps)):
            raise ValueError(
                f"budgets {list(self.budgets)} of {self.name} are {steps} steps of {per_step:,} tokens; they must differ, from "
                "1 on: raise the budgets or lower the batch"
            )
        if len(steps) > 1 and (proxy.schedule != "wsd" or not proxy.decay_share):
            raise ValueError("several token budgets are branches of one WSD run; set schedule to wsd and decay_share above 0")
        settings = proxy.model_dump() | {
            "learning_rate": self.learning_rate,
            "global_batch_sequences": self.global_batch_sequences,
            "micro_batch_sequences": min(proxy.micro_batch_sequences, self.global_batch_sequences),
            "warmup_share": 0.0,
            "warmup_steps": math.ceil(self.warmup_tokens / per_step),
            "seed": self.seed,
        }
        found = [TrainingConfig.model_validate(settings | {"steps": each}) for each in steps]
        starts = [decay_start(each, config) for each, config in zip(steps, found, strict=True)]
        if starts[0] < (found[0].warmup_steps or 0):
            raise ValueError(
                f"the smallest budget of {self.name} is {steps[0]} steps and would decay from step {starts[0]} on, before its "
                f"warm-up of {found[0].warmup_steps} ends; lower max_warmup_share or decay_share, or raise the budget"
            )
        return [config.model_copy(update={"checkpoint_at": tuple(starts[:-1])}) for config in found]


def steps_once(branches: list[TrainingConfig]) -> int:
    """Return the optimiser steps of all branches, those that they share counted once."""
    return sum((config.steps or 0) - parted for config, parted in zip(branches, (0, *branches[0].checkpoint_at), strict=True))


def domain_shares(agent_ratio: float, code_share_of_rest: float) -> dict[str, float]:
    """Return the three shares: the agent ratio, and the rest split at a fixed code to text ratio."""
    code = (1 - agent_ratio) * code_share_of_rest
    return {"agent": agent_ratio, "code": code, "text": max(0.0, 1 - agent_ratio - code)}


def plan_sweep(config: SweepConfig) -> list[Cell]:
    """Return every cell: rungs from small to large, ratios ascending, the base seed first, then the replicates."""
    extra = {(r.rung, r.agent_ratio, seed) for r in config.replicates for seed in r.seeds}
    cells: list[Cell] = []
    for rung in config.ladder:
        for ratio in config.agent_ratios:
            seeds = sorted(seed for name, r, seed in extra if (name, r) == (rung.name, ratio))
            shares = domain_shares(ratio, config.code_share_of_rest)
            cells += [
                Cell.of(config, rung, f"{rung.name}-a{100 * ratio:.10g}-s{seed}", ratio, shares=shares, seed=seed)
                for seed in (config.seed, *seeds)
            ]
    return cells


def plan_starts(config: SweepConfig) -> list[Cell]:
    """Return the pre-training of each rung on code and text, where cells do not start from scratch: named as the rung."""
    if not isinstance(config.start, PretrainedStart):
        return []
    shares = {"code": config.start.code_share, "text": 1 - config.start.code_share}
    return [
        Cell.of(config, rung, rung.name, 0.0, shares=shares, budgets=(round(config.start.tokens_per_parameter * rung.params),))
        for rung in config.ladder
    ]
