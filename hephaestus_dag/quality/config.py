"""What the quality filter is made of: the annotator, the annotated sample, the classifier and the threshold."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.server_config import ServerConfig


class AnnotatorConfig(ServerConfig):
    """The language model that judges pages by a rubric."""

    kind: Literal["transformers", "openai"] = Field(
        default="transformers", description="a local causal model, or an OpenAI-compatible server"
    )
    model: str = Field(
        default="smollm2-135m", description="model name: packaged, folder or org/name@revision; or the server's name for it"
    )
    max_tokens: int = Field(
        default=256, ge=16, description="tokens of a document shown to the annotator (4 characters each for a server)"
    )
    batch_size: int = Field(default=8, ge=1, description="documents per forward pass of a local model")
    dtype: Literal["float32", "bfloat16"] = Field(default="bfloat16", description="number format of a local model's weights")
    endpoint: str = Field(default="", description="base URL of the server, up to and including /v1; empty for a local model")
    timeout_seconds: float = Field(default=60.0, gt=0, description="seconds to wait for one answer of the server")
    concurrency: int = Field(default=4, ge=1, description="requests under way at once")

    @model_validator(mode="after")
    def server_has_address(self) -> "AnnotatorConfig":
        """A server needs an address, a local model has none."""
        if self.kind == "openai" and not self.endpoint:
            raise ValueError(
                "endpoint must be the http(s) address of the server when kind is openai, such as http://localhost:8000/v1"
            )
        if self.kind == "transformers" and self.endpoint:
            raise ValueError("endpoint is set but kind is transformers: remove it, or set kind to openai")
        return self


class AnnotationConfig(Config):
    """The sample of web pages that the annotator reads."""

    annotator: AnnotatorConfig = Field(default_factory=AnnotatorConfig, description="the language model that judges")
    rubric: str = Field(
        default="agent_relevance_v1", description="name of a packaged rubric, or path of a text file with {document} in it"
    )
    num_samples: int = Field(
        default=600, ge=100, description="pages to annotate, in equal parts from every stratum and from the pages not retrieved"
    )
    num_strata: int = Field(
        default=4, ge=1, description="strata of equal size that the retrieved pages form by their best score"
    )
    good_above: float | Literal["median"] = Field(
        default="median", description="score above which a page is good; median for a small model that ranks but is biased"
    )
    recheck_samples: int = Field(
        default=50,
        ge=0,
        description="annotated pages to ask about again in other words, to see how far the answers agree; 0: none",
    )
    recheck_rubric: str = Field(
        default="agent_relevance_v1_reworded", description="packaged rubric, or text file, that asks the same in other words"
    )
    max_total_tokens: int | None = Field(
        default=None, ge=1, description="tokens, read and written, that the answers about the sample may take; null: no ceiling"
    )
    max_cost: float | None = Field(
        default=None,
        gt=0,
        description="money that the answers about the sample may cost, at the annotator's prices; null: no ceiling",
    )
    seed: int = Field(default=0, ge=0, description="seed of the sample")

    @model_validator(mode="after")
    def cut_is_a_score(self) -> "AnnotationConfig":
        """A numeric cut lies between the lowest and the highest score."""
        if self.good_above != "median" and not 0 <= self.good_above < 1:
            raise ValueError("good_above must be median or a score in [0, 1)")
        return self

    @model_validator(mode="after")
    def recheck_asks_in_other_words(self) -> "AnnotationConfig":
        """The same words would get the same answer."""
        if self.recheck_samples and self.recheck_rubric == self.rubric:
            raise ValueError(
                "recheck_rubric must differ from rubric: name one that asks in other words, or set recheck_samples to 0"
            )
        return self

    @model_validator(mode="after")
    def cost_has_prices(self) -> "AnnotationConfig":
        """A ceiling in money needs both prices."""
        if self.max_cost is not None and None in (self.annotator.input_price, self.annotator.output_price):
            raise ValueError("max_cost needs annotator.input_price and annotator.output_price, in money per million tokens")
        return self


class SearchConfig(Config):
    """Settings of the classifier to try beside the given ones, drawn at random; validation examples decide."""

    trials: int = Field(default=4, ge=0, description="settings to draw and try beside the given ones; 0: none")
    lr: tuple[float, float] = Field(default=(0.05, 1.0), description="lowest and highest learning rate, drawn log-uniformly")
    epochs: tuple[int, int] = Field(default=(4, 20), description="fewest and most passes over the examples")
    word_ngrams: tuple[int, int] = Field(
        default=(1, 3), description="least and greatest length of the longest n-gram, in words"
    )
    dim: tuple[int, int] = Field(default=(8, 32), description="least and greatest length of word vectors")
    min_count: tuple[int, int] = Field(default=(1, 5), description="least and greatest occurrences that make a word count")

    @field_validator("lr", "epochs", "word_ngrams", "dim", "min_count")
    @classmethod
    def range_is_positive(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        """A range goes upwards from above zero."""
        if not 0 < bounds[0] <= bounds[1]:
            raise ValueError(f"a range of the search is [lowest, highest] and lies above 0; {list(bounds)} does not")
        return bounds


class ClassifierConfig(Config):
    """The fastText classifier and the examples it learns from."""

    dim: int = Field(
        default=16, ge=1, description="length of word vectors in training, which takes (words + bucket) x dim x 4 bytes"
    )
    epochs: int = Field(default=10, ge=1, description="passes over the training examples")
    lr: float = Field(default=0.3, gt=0, description="first learning rate, falling linearly to zero")
    word_ngrams: int = Field(default=2, ge=1, description="longest word n-gram used as a feature")
    min_count: int = Field(default=2, ge=1, description="occurrences below which a word is ignored")
    bucket: int = Field(default=200_000, ge=1, description="hash buckets that n-grams share")
    max_characters: int = Field(default=4_000, ge=100, description="characters of a document that the classifier reads")
    num_seed: int = Field(default=4_000, ge=1, description="seed documents used as positive examples")
    num_random: int = Field(default=4_000, ge=1, description="random pages outside the retrieved set used as negative examples")
    annotated_weight: int = Field(default=4, ge=1, description="times that an annotated page is repeated in training")
    held_out_share: float = Field(
        default=0.2, gt=0, lt=1, description="share of examples that only measure the classifier, by document id"
    )
    validation_share: float = Field(
        default=0.15, gt=0, lt=1, description="share of examples that choose among settings, by document id"
    )
    search: SearchConfig = Field(default_factory=SearchConfig, description="settings to try beside the given ones")
    seed: int = Field(default=0, ge=0, description="seed of sampling, search and training")

    @model_validator(mode="after")
    def something_is_left(self) -> "ClassifierConfig":
        """The splits leave something to learn from."""
        if self.held_out_share + self.validation_share >= 1:
            raise ValueError("held_out_share and validation_share together must lie below 1: the rest is what training gets")
        return self


class FilterConfig(Config):
    """Where the quality score cuts. Set exactly one of target_precision and keep_share."""

    target_precision: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="precision that the kept held-out pages must reach: annotated ones where enough are held out",
    )
    keep_share: float | None = Field(default=0.5, gt=0, lt=1, description="share of the scored web pages to keep, best first")
    min_keep_share: float = Field(
        default=0.05, ge=0, le=1, description="share of kept pages below which the result is implausible"
    )
    max_keep_share: float = Field(
        default=0.95, ge=0, le=1, description="share of kept pages above which the result is implausible"
    )

    @model_validator(mode="after")
    def one_rule(self) -> "FilterConfig":
        """One rule decides, inside a band that is not empty."""
        if (self.target_precision is None) == (self.keep_share is None):
            raise ValueError("set exactly one of target_precision and keep_share, and the other to null")
        if self.min_keep_share >= self.max_keep_share:
            raise ValueError("min_keep_share must lie below max_keep_share")
        return self

    def plausible(self, share: float) -> bool:
        """Tell whether a share of kept pages lies inside the band."""
        return self.min_keep_share <= share <= self.max_keep_share
