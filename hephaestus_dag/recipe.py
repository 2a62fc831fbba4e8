"""The recipe: one validated description of one complete run, from sources to scores.

Sections follow the groups of the graph. What a value *is* enters the fingerprints of the artifacts it decides; what only
says where something runs (`execution`, `scaling_law.threads`) never does.
"""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hephaestus_dag.compute_config import ComputeConfig
from hephaestus_dag.config import OTHER, Config
from hephaestus_dag.curation.config import CurationConfig
from hephaestus_dag.documents import DOMAINS
from hephaestus_dag.evaluation.agentbench.config import DatabaseServerConfig
from hephaestus_dag.evaluation.config import EvaluationConfig
from hephaestus_dag.mixture.config import Component, InstructionConfig, MixtureConfig, TokenizerConfig, TokenStoreConfig
from hephaestus_dag.quality.config import AnnotationConfig, ClassifierConfig, FilterConfig
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.scaling.config import ScalingConfig
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.synthesis.config import SyntheticCallsConfig, SyntheticDocumentationConfig
from hephaestus_dag.training.config import LauncherConfig, ModelShape, TrainingConfig

Sources = tuple[SourceConfig, ...]


class SeedCorpusConfig(Config):
    """The seed corpus (paper section 4.1)."""

    tool_documentation: Sources = Field(min_length=1, description="Sources of API documentation")
    function_calling_trajectories: Sources = Field(min_length=1, description="Sources of recorded trajectories")
    synthetic_calls: SyntheticCallsConfig = Field(description="Calls made from the schemas of the documented operations")
    synthetic_documentation: SyntheticDocumentationConfig | None = Field(
        default=None, description="Documentation that a language model writes from the code; null: none"
    )
    code_documents: Sources = Field(min_length=1, description="Sources of code")
    text_documents: Sources = Field(min_length=1, description="Sources of general text")
    curation: CurationConfig = Field(description="What may stay in the corpus")


class WebRetrievalConfig(Config):
    """The web corpus and the search in it (paper section 4.2)."""

    web_corpus: Sources = Field(min_length=1, description="Sources of web documents")
    retrieval: RetrievalConfig = Field(description="Encoder, queries and neighbours")


class QualityConfig(Config):
    """What is kept of the retrieved web (paper section 4.2)."""

    annotation: AnnotationConfig = Field(description="The language model's judgement of a sample")
    classifier: ClassifierConfig = Field(description="The fastText classifier that learns from it")
    filter: FilterConfig = Field(description="Where the quality score cuts")


class MixtureSection(Config):
    """Tokens and their shares (paper section 4.3)."""

    tokenizer: TokenizerConfig = Field(description="Trained on the corpus, or a model's own")
    token_store: TokenStoreConfig = Field(description="Held-out share and caps")
    agent_ratio: float | Literal["fitted"] | None = Field(
        default=None, description="Share of agent tokens in Stage I, or `fitted`: the law's optimum; null: `stage1_components`"
    )
    code_share_of_rest: float = Field(
        default=0.5, ge=0, le=1, description="Share of code in what is not agent data; the rest is text"
    )
    stage1_components: tuple[Component, ...] | None = Field(
        default=None,
        description="Domains and sources of Stage I with shares; null: agent, code and text by `agent_ratio`",
    )
    stage1_tokens: int = Field(ge=1, description="Training tokens of Stage I")
    stage2_tokens: int = Field(ge=1, description="Training tokens of Stage II, replay included")
    stage2_components: tuple[Component, ...] = Field(description="Domains and sources of the seed corpus in Stage II")
    stage2_replay: float = Field(
        default=0.0, ge=0, lt=1, description="Share of Stage II that shows the beginning of Stage I again, against forgetting"
    )
    sequence_length: int = Field(ge=16, description="Tokens of one training sequence")
    max_epochs: float = Field(gt=0, description="Times that a domain's tokens may repeat in one stage, at most")
    stage3_epochs: float = Field(gt=0, description="Times that the instruction data are shown in Stage III")
    seed: int = Field(default=0, ge=0, description="Seed of the order of sequences")
    instruction: InstructionConfig = Field(description="Instruction data of Stage III")

    @field_validator("agent_ratio")
    @classmethod
    def _inside(cls, ratio: float | str) -> float | str:
        if isinstance(ratio, float) and not 0 < ratio < 1:
            raise ValueError("agent_ratio lies strictly between 0 and 1, or is the word fitted")
        return ratio

    @field_validator("stage1_components", "stage2_components")
    @classmethod
    def _known_domains(cls, components: tuple[Component, ...] | None) -> tuple[Component, ...] | None:
        for component in components or ():
            if component.domain not in (None, *DOMAINS):
                raise ValueError(f"domain {component.domain!r} is none of {', '.join(DOMAINS)}")
        return components

    @model_validator(mode="after")
    def _stages_are_mixtures(self) -> Self:
        if (self.agent_ratio is None) == (self.stage1_components is None):
            raise ValueError(f"give exactly one of agent_ratio and stage1_components; {OTHER}")
        self.mixture(self.stage1_tokens, self.stage1(0.5))
        self.mixture(self.stage2_tokens, self.stage2_components)
        return self

    def stage1(self, agent_ratio: float) -> tuple[Component, ...]:
        """Return the components of Stage I; the ratio counts where the recipe does not list them."""
        return self.stage1_components or ratio_components(agent_ratio, self.code_share_of_rest)

    def mixture(self, tokens: int, components: tuple[Component, ...], **settings: Any) -> MixtureConfig:
        """Return a mixture of given components with this section's sequence length, repetition cap and seed."""
        section = {"sequence_length": self.sequence_length, "max_epochs": self.max_epochs, "seed": self.seed}
        return MixtureConfig(tokens=tokens, components=components, **section | settings)


def ratio_components(agent_ratio: float, code_share_of_rest: float) -> tuple[Component, ...]:
    """Return agent, code and text shares for an agent ratio; a share of zero is left out."""
    rest = 1 - agent_ratio
    shares = {"agent": agent_ratio, "code": rest * code_share_of_rest, "text": rest * (1 - code_share_of_rest)}
    return tuple(Component(domain=domain, share=round(share, 9)) for domain, share in shares.items() if share > 0)


class BackboneConfig(Config):
    """The model that Stage I starts from: a published one, or a small one pre-trained in the run."""

    model: str | None = Field(default=None, description="Packaged name, folder or hub name of a model; null: pre-train `shape`")
    shape: ModelShape | None = Field(default=None, description="Shape of a model to pre-train; null: take `model`")
    tokens: int = Field(default=0, ge=0, description="Training tokens of the pre-training on code and text")
    code_share: float = Field(default=0.5, ge=0, le=1, description="Share of code in the pre-training; the rest is text")
    training: TrainingConfig | None = Field(default=None, description="Optimisation of the pre-training")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.model is None) == (self.shape is None):
            raise ValueError(f"backbone: give exactly one of model and shape; {OTHER}")
        if self.shape and not (self.training and self.tokens):
            raise ValueError("backbone: a shape needs tokens and training, to be pre-trained")
        return self


class TrainingSection(Config):
    """Backbone and stages (paper section 5)."""

    backbone: BackboneConfig = Field(description="Where Stage I starts")
    stage1: TrainingConfig = Field(description="Stage I: continual pre-training on the mixed corpus")
    stage2: TrainingConfig = Field(description="Stage II: continual pre-training on the seed corpus")
    stage3: TrainingConfig = Field(description="Stage III: instruction tuning")
    proxy: TrainingConfig = Field(description="Proxy runs of the scaling law; the sweep sets learning rate and seed")
    forgetting_tolerance: float = Field(ge=0, description="Rise of held-out text loss that still counts as kept, as a share")


class Variant(Config):
    """One row of the ablation table."""

    stages: tuple[Literal[1, 2, 3], ...] = Field(default=(1, 2, 3), description="Stages that are trained, ascending")
    web: Literal["filtered", "unfiltered", "none"] = Field(default="filtered", description="Web documents in Stage I")

    @field_validator("stages")
    @classmethod
    def _ascending(cls, stages: tuple[int, ...]) -> tuple[int, ...]:
        if list(stages) != sorted(set(stages)):
            raise ValueError("stages: name each stage once, in ascending order")
        return stages


class FreshnessConfig(Config):
    """How old a result may become before the UI says so."""

    warn: float = Field(default=8, gt=0, description="Days without a look at it after which the UI warns")
    fail: float = Field(default=15, gt=0, description="Days without a look at it after which the UI calls it overdue")

    @model_validator(mode="after")
    def _warn_comes_first(self) -> Self:
        if self.warn >= self.fail:
            raise ValueError(f"warn ({self.warn:g} days) must be less than fail ({self.fail:g} days)")
        return self


class ExecutionConfig(Config):
    """Where and how the graph runs; never part of an artifact's identity."""

    max_concurrent: int = Field(ge=1, description="Assets that are worked on at the same time")
    compute: ComputeConfig = Field(default=ComputeConfig(), description="Engine and workers of data steps")
    threads: int = Field(
        ge=0, description="CPU threads of a data step's models; 0: the library's choice. One each when steps share the cores"
    )
    launcher: LauncherConfig = Field(description="Processes, GPUs and threads of a training job")
    database: DatabaseServerConfig = Field(default=DatabaseServerConfig(), description="Server of AgentBench's DB task")
    weekly_retrieval: str = Field(description="Cron expression of the schedule that re-runs retrieval")
    retrieval_freshness: FreshnessConfig = Field(
        default=FreshnessConfig(), description="Age of the retrieved and the filtered pages; a week that was missed is seen"
    )
    web_sensor_seconds: int = Field(
        default=300, ge=1, description="Seconds between two looks of the sensor at the web sources, at least"
    )


class Recipe(Config):
    """One complete run."""

    name: str = Field(pattern=r"^[a-z0-9_-]+$", description="Name of the recipe")
    description: str = Field(description="What it is for, in a sentence")
    caveat: str = Field(description="What its results can and cannot show; printed on every report")
    seed_corpus: SeedCorpusConfig = Field(description="Seed corpus")
    web_retrieval: WebRetrievalConfig = Field(description="Web corpus and retrieval")
    quality: QualityConfig = Field(description="Annotation, classifier and threshold")
    mixture: MixtureSection = Field(description="Tokenizer, token budgets and shares")
    scaling_law: ScalingConfig = Field(description="Proxy runs and the fit")
    training: TrainingSection = Field(description="Backbone and stages")
    variants: dict[str, Variant] = Field(min_length=1, description="Rows of the ablation table, by name")
    evaluation: EvaluationConfig = Field(description="Benchmarks")
    execution: ExecutionConfig = Field(description="Placement")

    @field_validator("variants")
    @classmethod
    def _readable_names(cls, variants: dict[str, Variant]) -> dict[str, Variant]:
        for name in variants:
            if not name.replace("_", "").isalnum() or not name.isascii() or name != name.lower():
                raise ValueError(f"variants: {name!r} is not a name; use lower-case letters, digits and _")
        return variants

    def source_weights(self, *, web: bool) -> dict[str, float]:
        """Return how often a token of a source is shown, relative to the others of its domain, where that is not once."""
        seed = self.seed_corpus
        recorded = (*seed.tool_documentation, *seed.function_calling_trajectories)
        sources = (*recorded, *seed.code_documents, *seed.text_documents, *(self.web_retrieval.web_corpus if web else ()))
        return {source.name: source.weight for source in sources if source.weight != 1}

    def section(self, name: str) -> Any:
        """Return the value at a dotted path."""
        found: Any = self
        for part in name.split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        return found

    def value(self, name: str) -> Any:
        """Return the value at a dotted path as JSON values, for an identity."""
        found = self.section(name)
        return found.model_dump(mode="json") if isinstance(found, Config) else _json(found)


def _json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    return value.model_dump(mode="json") if isinstance(value, Config) else value
