"""What is evaluated, on how many items, and with which limits."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.evaluation.agentbench.config import AgentBenchConfig
from hephaestus_dag.evaluation.bfcl.config import BfclConfig
from hephaestus_dag.evaluation.endpoint_config import EndpointConfig
from hephaestus_dag.evaluation.general.config import Gsm8kConfig, HumanEvalConfig, MmluConfig
from hephaestus_dag.evaluation.kept_out import KeptOutConfig
from hephaestus_dag.evaluation.overlap_config import OverlapConfig


class BenchmarkLossConfig(Config):
    """Bits per byte of reference answers and of held-out documents."""

    items_per_category: int | None = Field(
        default=None, ge=1, description="reference answers scored in each category of a benchmark; null: all of them"
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
    seed: int = Field(default=0, description="seed of the draw of reference answers")


class EvaluationConfig(Config):
    """Everything that is measured of each variant."""

    prompt_format: Literal["auto", "chat", "few_shot"] = Field(
        default="auto",
        description="chat template, or worked examples as plain text for base models; auto: the template where there is one",
    )
    engine: Literal["huggingface", "vllm"] = Field(
        default="huggingface",
        description="what generates a variant's replies; vllm is quicker on a large GPU and has to be installed. "
        "Log-likelihoods are always transformers'",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="number format of the variants' weights and products; auto: float32 on CPUs, bfloat16 elsewhere",
    )
    batch_size: int = Field(default=16, ge=1, description="most sequences that are worked on together")
    batch_tokens: int = Field(
        default=16_384, ge=256, description="most tokens of the sequences that are worked on together, padding included"
    )
    bfcl: BfclConfig = Field(default=BfclConfig(), description="function calling")
    agentbench: AgentBenchConfig = Field(default=AgentBenchConfig(), description="agents in environments")
    mmlu: MmluConfig = Field(default=MmluConfig(), description="general knowledge, multiple choice")
    gsm8k: Gsm8kConfig = Field(default=Gsm8kConfig(), description="grade-school arithmetic")
    human_eval: HumanEvalConfig = Field(default=HumanEvalConfig(), description="Python functions")
    benchmark_loss: BenchmarkLossConfig = Field(default=BenchmarkLossConfig(), description="loss on answers and documents")
    overlap: OverlapConfig = Field(default=OverlapConfig(), description="when an item counts as seen in training")
    endpoints: dict[str, EndpointConfig] = Field(
        default={}, description="models behind OpenAI-compatible servers that stand beside the variants, by name"
    )
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
