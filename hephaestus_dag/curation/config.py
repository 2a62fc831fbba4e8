"""What a recipe says about curation."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.licenses import is_identifier


class HeuristicRules(Config):
    """Bounds for prose, checked in this order; null, or an empty table, switches a rule off. Shares lie between 0 and 1."""

    judged_from: int = Field(default=50, ge=0, description="Words below which a document is not judged; Gopher's smallest")
    max_lorem_ipsum: int | None = Field(default=0, ge=0, description="Times that `lorem ipsum` occurs (C4)")
    max_notice_lines: float | None = Field(
        default=0.1, ge=0, description="Share of lines with cookie, JavaScript or terms-of-use notices, which C4 deletes"
    )
    max_duplicate_lines: float | None = Field(default=0.3, ge=0, description="Share of lines that came before (Gopher)")
    max_duplicate_paragraphs: float | None = Field(
        default=0.3, ge=0, description="Share of paragraphs that came before (Gopher)"
    )
    max_duplicate_line_characters: float | None = Field(
        default=0.2, ge=0, description="Share of characters in lines that came before (Gopher)"
    )
    max_duplicate_paragraph_characters: float | None = Field(
        default=0.2, ge=0, description="Share of characters in paragraphs that came before (Gopher)"
    )
    max_top_ngram: dict[int, float] = Field(
        default={2: 0.2, 3: 0.18, 4: 0.16},
        description="By n: share of characters in the most frequent n-gram of words (Gopher)",
    )
    max_duplicate_ngrams: dict[int, float] = Field(
        default={5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1},
        description="By n: share of characters in n-grams of words that came before (Gopher)",
    )
    min_mean_word_length: float | None = Field(default=3, ge=0, description="Mean bytes of a word, at least (Gopher)")
    max_mean_word_length: float | None = Field(default=10, ge=0, description="Mean bytes of a word, at most (Gopher)")
    max_symbols_per_word: float | None = Field(default=0.1, ge=0, description="`#`, or ellipses, for each word (Gopher)")
    max_bullet_lines: float | None = Field(default=0.9, ge=0, description="Share of lines that begin with a bullet (Gopher)")
    max_ellipsis_lines: float | None = Field(default=0.3, ge=0, description="Share of lines that end in an ellipsis (Gopher)")
    min_alphabetic_words: float | None = Field(
        default=0.8, ge=0, description="Share of words that begin with a letter (Gopher)"
    )
    min_stop_words: int | None = Field(
        default=2,
        ge=0,
        le=8,
        description="Different words of the, be, to, of, and, that, have, with (Gopher); null: not English",
    )
    min_sentences: int | None = Field(default=3, ge=0, le=20, description="Ends of sentences, counted to 20 (C4)")
    min_punctuated_lines: float | None = Field(
        default=0.12, ge=0, description="Share of lines that end as a sentence does, colons and quotes included (FineWeb)"
    )
    max_short_lines: float | None = Field(default=0.67, ge=0, description="Share of lines of at most 30 characters (FineWeb)")

    @field_validator("max_top_ngram", "max_duplicate_ngrams")
    @classmethod
    def _lengths_are_plausible(cls, table: dict[int, float]) -> dict[int, float]:
        if bad := [n for n in table if not 1 <= n <= 20]:
            raise ValueError(f"n-grams of {bad[0]} words are not counted; write lengths from 1 to 20")
        return table


class NearDuplicateConfig(Config):
    """When two documents count as the same.

    Replacing 3 % of the words leaves a 5-gram Jaccard of about 0.75, and of 0.65 or more in 98 % of documents; at 0.7 up to
    one in ten would be lost. With 25 bands of 5 a pair of similarity 0.75 is compared in 99.9 % of cases, one of 0.65 in 95 %.
    """

    n_gram: int = Field(default=5, ge=1, le=32, description="Words per shingle; shorter documents are only compared exactly")
    num_bands: int = Field(default=25, ge=1, le=256, description="Bands; documents that agree in one are compared")
    rows_per_band: int = Field(default=5, ge=1, le=32, description="MinHash values per band; more make bands more particular")
    min_jaccard: float = Field(
        default=0.65, ge=0.5, le=1, description="Share of common shingles, exact, from which a document is a near-duplicate"
    )
    most_compared: int = Field(
        default=64, ge=1, description="Kept documents that one document is compared with, those with most bands in common"
    )


class ExclusionConfig(Config):
    """Documents that must not be in the corpus, whatever else they are: what was asked to be taken down."""

    documents: tuple[str, ...] = Field(default=(), description="Ids of documents, 32 hexadecimal digits each")
    licenses: tuple[str, ...] = Field(
        default=(), description="SPDX identifiers; documents whose licence names one go, also as one side of an OR"
    )
    sources: tuple[str, ...] = Field(default=(), description="Names of sources, all of whose documents go")
    origins: tuple[str, ...] = Field(default=(), description="Beginnings of origins, such as `botocore==1.43.8/`")

    @field_validator("documents")
    @classmethod
    def _documents_are_ids(cls, documents: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [each for each in documents if not re.fullmatch("[0-9a-f]{32}", each)]:
            raise ValueError(
                f"exclude: {bad[0]!r} is no document id; write 32 hexadecimal digits, `hephaestus find` tells them"
            )
        return documents

    @field_validator("licenses")
    @classmethod
    def _excluded_licenses_are_known(cls, licenses: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [name for name in licenses if not is_identifier(name)]:
            raise ValueError(f"exclude: {bad[0]!r} is no SPDX identifier; write one such as GPL-3.0-only")
        return licenses

    @field_validator("sources", "origins")
    @classmethod
    def _names_are_given(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "" in names:
            raise ValueError("exclude: an empty name would mean every document; leave it out")
        return names


class CurationConfig(Config):
    """The rules that a document has to pass."""

    exclude: ExclusionConfig | None = Field(default=None, description="Documents that must not be there; null: none")
    n_gram: int = Field(
        default=13, ge=8, le=32, description="Words of a benchmark item in a row that take a document out; 13 is GPT-3's choice"
    )
    shortest_item: int = Field(
        default=6, ge=5, description="Words; benchmark items shorter than n_gram match on their full length, down to this many"
    )
    stock_items: int = Field(
        default=10, ge=1, description="Benchmark items; an n-gram that occurs in more of them is a stock phrase and ignored"
    )
    licenses: tuple[str, ...] | None = Field(
        default=None, description="SPDX identifiers that may stay (`unknown` must be listed to stay); null: all"
    )
    min_characters: int = Field(default=20, ge=1, description="Characters below which a document is removed")
    max_characters: int = Field(default=200_000, ge=1, description="Characters above which a document is removed")
    languages: dict[str, tuple[str, ...]] = Field(
        default={}, description="By domain (agent, text): ISO 639 codes that may stay; a domain that is not named keeps all"
    )
    language_confidence: float = Field(
        default=0.65, gt=0, le=1, description="Probability of another language from which a document goes; 0.65 is FineWeb's"
    )
    heuristics: dict[str, HeuristicRules] = Field(
        default={}, description="Rules for prose, by kind of document or by domain; what is not named is not judged"
    )
    near_duplicates: NearDuplicateConfig | None = Field(
        default=NearDuplicateConfig(), description="When two documents count as the same; null: only exact copies do"
    )
    max_documents_per_provider: int | None = Field(
        default=None, ge=1, description="Documents of API documentation that one provider keeps; null: all"
    )
    max_provider_share: float | None = Field(
        default=None, gt=0, lt=1, description="Share of the API documentation that one provider may be; null: any"
    )
    seed: int = Field(default=0, ge=0, description="Seed of the draw of a provider's documents")
    max_removed_share: float = Field(
        default=0.5, gt=0, lt=1, description="Share of documents; when curation removes more than this, the check fails"
    )

    @field_validator("licenses")
    @classmethod
    def _licenses_are_known(cls, licenses: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if licenses is not None and not licenses:
            raise ValueError("licenses is empty, nothing could stay; list SPDX identifiers, or write null for all")
        if bad := [name for name in licenses or () if not is_identifier(name)]:
            raise ValueError(f"licenses: {bad[0]!r} is no SPDX identifier; write one such as Apache-2.0, or LicenseRef-<name>")
        return licenses

    @field_validator("languages")
    @classmethod
    def _languages_are_codes(cls, languages: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for domain, codes in languages.items():
            if domain not in ("agent", "text"):
                raise ValueError(f"languages: domain {domain!r} is not judged; name agent or text")
            if not codes or not all(re.fullmatch("[a-z]{2,3}", code) for code in codes):
                raise ValueError(
                    f"languages: {domain} needs ISO 639 codes such as en; leave the domain out to keep all languages"
                )
        return languages

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if self.min_characters > self.max_characters:
            raise ValueError(
                f"min_characters {self.min_characters} is above max_characters {self.max_characters}; lower the first"
            )
        if self.shortest_item > self.n_gram:
            raise ValueError(f"shortest_item {self.shortest_item} is above n_gram {self.n_gram}; lower the first")
        return self
