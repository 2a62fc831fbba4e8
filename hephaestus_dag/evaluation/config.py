"""What is evaluated, on how many items, and with which limits."""

import math
from typing import Self

from pydantic import Field, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.evaluation.bfcl.config import BfclConfig
from hephaestus_dag.evaluation.kept_out import KeptOutConfig


class BenchmarkLossConfig(Config):
    """Bits per byte of reference answers and of held-out documents."""

    items_per_category: int | None = Field(
        default=None, ge=1, description="BFCL reference answers scored in each category that has answers; null: all of them"
    )
    heldout_tokens: int = Field(
        default=100_000,
        ge=0,
        description="tokens scored of each held-out stream, in whole documents; 0 leaves them out",
    )
    max_tokens: int = Field(
        default=2048,
        ge=2,
        description="longest sequence in tokens; longer answers are left out and counted, documents are cut into windows",
    )
    batch_size: int = Field(default=16, ge=1, description="sequences scored together")
    seed: int = Field(default=0, description="seed of the draw of reference answers")


class EvaluationConfig(Config):
    """Everything that is measured of each variant."""

    bfcl: BfclConfig = Field(default=BfclConfig(), description="function calling")
    benchmark_loss: BenchmarkLossConfig = Field(default=BenchmarkLossConfig(), description="loss on answers and documents")
    kept_out: tuple[KeptOutConfig, ...] = Field(
        default=(), description="benchmarks that are not run, but whose items must not be in the training data"
    )
    reference_variant: str | None = Field(
        default=None, description="variant that the others are compared with, item by item; null: the first of the report"
    )
    bootstrap_samples: int = Field(default=2_000, ge=100, description="resamples, or posterior draws, behind each interval")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="coverage of the intervals, between 0 and 1")

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.bootstrap_samples * (1 - self.confidence) < 20:
            raise ValueError(
                "bootstrap_samples: too few draws fall outside the interval; raise it to at least "
                f"{math.ceil(20 / (1 - self.confidence))} for confidence {self.confidence}"
            )
        return self
