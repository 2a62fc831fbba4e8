"""The plan of the sweep: one cell for each proxy size, agent ratio and seed."""

import re

from pydantic import Field

from hephaestus_dag.config import Config
from hephaestus_dag.scaling.config import LadderRung, SweepConfig


class Cell(Config):
    """One proxy run. ``model_dump(mode="json")`` and ``Cell.model_validate`` carry it between processes."""

    name: str = Field(..., description="unique name, for example 0.3M-a36-s0")
    rung: LadderRung = Field(..., description="shape of the model")
    agent_ratio: float = Field(..., description="share of agent tokens")
    shares: dict[str, float] = Field(..., description="share of each domain in the training tokens; they sum to 1")
    tokens: int = Field(..., description="training tokens")
    learning_rate: float = Field(..., description="peak learning rate")
    seed: int = Field(..., description="seed of weights and data order")

    @property
    def key(self) -> str:
        """The name in letters, digits and underscores, unique as well: what an orchestrator takes as a key."""
        return re.sub(r"\W", "_", self.name)

    @property
    def flops(self) -> float:
        """Training compute, 6 N D."""
        return 6.0 * self.rung.params * self.tokens


def domain_shares(agent_ratio: float, code_share_of_rest: float) -> dict[str, float]:
    """Return the three shares: the agent ratio, and the rest split at a fixed code to text ratio."""
    code = (1 - agent_ratio) * code_share_of_rest
    return {"agent": agent_ratio, "code": code, "text": max(0.0, 1 - agent_ratio - code)}


def plan_sweep(config: SweepConfig) -> list[Cell]:
    """Return every cell: rungs from small to large, ratios ascending, the base seed first, then the replicates."""
    extra = {(r.rung, r.agent_ratio, seed) for r in config.replicates for seed in r.seeds}
    cells: list[Cell] = []
    for rung in config.ladder:
        tokens = config.tokens_per_cell or round((config.tokens_per_parameter or 0) * rung.params)
        for ratio in config.agent_ratios:
            seeds = sorted(seed for name, r, seed in extra if (name, r) == (rung.name, ratio))
            cells += [
                Cell(
                    name=f"{rung.name}-a{100 * ratio:.10g}-s{seed}",
                    rung=rung,
                    agent_ratio=ratio,
                    shares=domain_shares(ratio, config.code_share_of_rest),
                    tokens=tokens,
                    learning_rate=config.learning_rate.rate(rung.params),
                    seed=seed,
                )
                for seed in (config.seed, *seeds)
            ]
    return cells
