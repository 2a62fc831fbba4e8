"""What a folder of documents holds, in the numbers that people compare corpora by: APIs, providers, tokens, licences."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from hephaestus_dag.documents import document_files
from hephaestus_dag.mixture.tokenizer import load_tokenizer

SAMPLE = 40
"""Documents of each kind and source that are tokenised for the estimate of tokens."""


@dataclass(frozen=True, kw_only=True)
class CorpusSummary:
    """Counts of a folder of documents."""

    documents: int
    characters: int
    apis: int
    """Described operations, each once however many versions or documents describe it: the paper's word for its 76,537."""
    api_documents: int
    """Documents that describe an operation."""
    providers: int
    tokens: int
    """Estimated, see `summarise`."""
    by_source: list[dict[str, Any]]
    """Per domain, kind, source and licence: documents, APIs, characters, tokens."""
    by_provider: list[dict[str, Any]]
    """The twenty providers with the most documents."""
    by_format: list[dict[str, Any]]

    @property
    def figures(self) -> dict[str, int]:
        """The counts by name."""
        return {
            "APIs (distinct described operations)": self.apis,
            "documents that describe an operation": self.api_documents,
            "providers": self.providers,
            "tokens (estimated)": self.tokens,
        }


def summarise(folder: Path, tokenizer: Path) -> CorpusSummary:
    """Count what a folder of documents holds.

    Tokens are an estimate: 40 documents of each kind and source, drawn by the hash of their id, are tokenised, and their
    tokens per character are applied to the characters of all. ``tokenizer`` is a Hugging Face tokenizer folder.
    """
    with duckdb.connect() as connection:
        connection.read_parquet(document_files(folder)).create_view("documents")
        ratios = _tokens_per_character(connection, tokenizer)
        rows = _rows(
            connection,
            """
            SELECT domain, kind, source, license, count(*) AS documents, count(DISTINCT nullif(api, '')) AS APIs,
                   sum(length(text))::BIGINT AS characters
            FROM documents GROUP BY ALL ORDER BY domain, kind, source, license
            """,
        )
        by_source = [{**row, "tokens": round(row["characters"] * ratios[row["kind"], row["source"]])} for row in rows]
        (totals,) = _rows(
            connection,
            """
            SELECT count(DISTINCT nullif(api, '')) AS apis, count(nullif(api, '')) AS api_documents,
                   count(DISTINCT nullif(provider, '')) AS providers
            FROM documents
            """,
        )
        by_provider = _rows(
            connection,
            """
            SELECT provider, count(*) AS documents, count(DISTINCT nullif(api, '')) AS APIs
            FROM documents WHERE provider <> '' GROUP BY provider ORDER BY documents DESC, provider LIMIT 20
            """,
        )
        by_format = _rows(
            connection,
            "SELECT kind, format, count(*) AS documents FROM documents WHERE format <> '' GROUP BY ALL ORDER BY kind, format",
        )
    return CorpusSummary(
        documents=sum(row["documents"] for row in by_source),
        characters=sum(row["characters"] for row in by_source),
        tokens=sum(row["tokens"] for row in by_source),
        by_source=by_source,
        by_provider=by_provider,
        by_format=by_format,
        **totals,
    )


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    return connection.sql(query).to_arrow_table().to_pylist()


def _tokens_per_character(connection: duckdb.DuckDBPyConnection, tokenizer: Path) -> dict[tuple[str, str], float]:
    encoder = load_tokenizer(tokenizer)
    texts: dict[tuple[str, str], list[str]] = {}
    # Ids are drawn first: a window over all texts would hold them in memory.
    sample = f"""
        WITH drawn AS (
            SELECT kind, source, unnest(arg_min(id, md5(id), {SAMPLE})) AS id FROM documents GROUP BY kind, source
        )
        SELECT kind, source, any_value(text) AS text FROM documents SEMI JOIN drawn USING (kind, source, id)
        GROUP BY kind, source, id
    """
    for row in _rows(connection, sample):
        texts.setdefault((row["kind"], row["source"]), []).append(row["text"])
    return {
        key: sum(map(len, encoder(drawn, add_special_tokens=False)["input_ids"])) / sum(map(len, drawn))
        for key, drawn in texts.items()
    }
