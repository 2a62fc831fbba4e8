"""What the quality filter is made of: the annotator, the annotated sample, the classifier and the threshold."""

from typing import Literal

from pydantic import Field, model_validator

from hephaestus_dag.config import Config


class AnnotatorConfig(Config):
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
    endpoint: str = Field(default="", description="base URL of the server, up to and including /v1")
    api_key_env: str = Field(
        default="", description="name of the environment variable with the server's key; empty sends no key"
    )
    timeout_seconds: float = Field(default=60.0, gt=0, description="seconds to wait for one answer of the server")
    retries: int = Field(default=4, ge=0, description="further attempts after a 429, a 5xx or a time-out")
    backoff_seconds: float = Field(
        default=1.0, gt=0, description="seconds before the first retry, doubled for each further one"
    )
    concurrency: int = Field(default=4, ge=1, description="requests under way at once")

    @model_validator(mode="after")
    def server_has_address(self) -> "AnnotatorConfig":
        """A server needs an address, a local model has none."""
        if self.kind == "openai" and not self.endpoint.startswith(("http://", "https://")):
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
        default=600,
        ge=100,
        description="pages to annotate, in equal parts: strongly retrieved, weakly retrieved, not retrieved",
    )
    good_above: float | Literal["median"] = Field(
        default="median", description="score above which a page is good; median for a small model that ranks but is biased"
    )
    seed: int = Field(default=0, ge=0, description="seed of the sample")

    @model_validator(mode="after")
    def cut_is_a_score(self) -> "AnnotationConfig":
        """A numeric cut lies between the lowest and the highest score."""
        if self.good_above != "median" and not 0 <= self.good_above < 1:
            raise ValueError("good_above must be median or a score in [0, 1)")
        return self


class ClassifierConfig(Config):
    """The fastText classifier and the examples it learns from."""

    dim: int = Field(default=16, ge=1, description="length of word vectors; the model takes (words + bucket) x dim x 4 bytes")
    epochs: int = Field(default=10, ge=1, description="passes over the training examples")
    lr: float = Field(default=0.3, gt=0, description="first learning rate, falling linearly to zero")
    word_ngrams: int = Field(default=2, ge=1, description="longest word n-gram used as a feature")
    min_count: int = Field(default=2, ge=1, description="occurrences below which a word is ignored")
    bucket: int = Field(default=200_000, ge=1, description="hash buckets that n-grams share")
    max_characters: int = Field(default=4_000, ge=100, description="characters of a document that the classifier reads")
    num_seed: int = Field(default=4_000, ge=1, description="seed documents used as positive examples")
    num_random: int = Field(default=4_000, ge=1, description="random pages outside the retrieved set used as negative examples")
    annotated_weight: int = Field(default=4, ge=1, description="times that an annotated page is repeated in training")
    held_out_share: float = Field(default=0.2, gt=0, lt=1, description="share of examples kept out of training, by document id")
    seed: int = Field(default=0, ge=0, description="seed of sampling and training")


class FilterConfig(Config):
    """Where the quality score cuts. Set exactly one of target_precision and keep_share."""

    target_precision: float | None = Field(
        default=None, gt=0, lt=1, description="precision on held-out examples that the threshold must reach"
    )
    keep_share: float | None = Field(default=0.5, gt=0, lt=1, description="share of scored pages to keep, best first")
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
