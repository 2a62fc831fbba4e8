"""The data card of documents, counted by DuckDB over their shards."""

from collections import Counter
from typing import Any

import duckdb

from hephaestus_dag.cards import markdown as md
from hephaestus_dag.cards.artifact import checks, failed, made
from hephaestus_dag.curation.language import FEWEST_LETTERS, languages_of, plain_words
from hephaestus_dag.licenses import UNKNOWN
from hephaestus_dag.manifests import read_manifest
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node

Rows = list[dict[str, Any]]
_WHAT = {
    "tool_documentation": "Descriptions of tools and APIs, one operation a document.",
    "function_calling_trajectories": "Trajectories of calls to tools and their results, recorded and made from documentation.",
    "code_documents": "Source code.",
    "text_documents": "Prose.",
    "seed_corpus": "The seed corpus: tool documentation, trajectories, code and text after curation.",
    "web_corpus": "Web documents after curation, among which agent pages are searched.",
    "retrieved_web_shards": "The web documents that lie near the seed corpus's agent documents.",
    "filtered_web": "The retrieved web documents that the quality filter kept.",
}
_COLUMNS = (
    "Each row of `documents/*.parquet` is a document: `id` (hash of the text), `text`, `domain`, `kind`, `source`, `origin` "
    "(where exactly it came from), `license` (SPDX), and where they apply `provider`, `api`, `signatures` and `format`."
)
_LANGUAGE_SAMPLE = 300
_EXAMPLE = 500


def data_card(node: Node, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> str:
    """Return the data card of an artifact with document shards: all counts are taken from the shards themselves."""
    connection.read_parquet(node.shards).create_view("documents", replace=True)
    licenses = _shares(connection, "license")
    languages = _languages(connection)
    counting = "count(*) AS documents, sum(length(text))::BIGINT AS characters, median(length(text)) AS median"
    (total,) = _rows(connection, f"SELECT {counting} FROM documents")
    head = {
        "pretty_name": node.key.replace("_", " "),
        "language": [name for name, _ in languages.most_common(1)],
        **md.hub_licenses(row["license"] for row in licenses),
        "task_categories": ["text-generation"],
        "tags": ["agent", "function-calling", "continual-pretraining"],
        "size_categories": [_size(total["documents"])],
        "configs": [{"config_name": "default", "data_files": "documents/*.parquet"}],
    }
    counted = (
        f"{total['documents']:,} documents, {total['characters']:,} characters; "
        f"half of them have at most {total['median']:,.0f} characters."
    )
    return md.document(
        md.front_matter(head),
        f"# {node.key}",
        f"{_WHAT.get(node.key, 'Documents.')} {counted}{_tokens(node, graph, connection)}",
        _COLUMNS,
        f"## What is in it\n\n{md.table(_shares(connection, 'domain, kind'))}",
        f"## Sources\n\n{md.table(_shares(connection, 'source, kind, license'), 60)}",
        f"## Licences\n\n{_licence_summary(licenses, total)}\n\n{md.table(licenses)}",
        _language_section(languages),
        _removed(node, connection, total["documents"]),
        _benchmarks(node, graph, connection),
        _examples(connection),
        f"## Known limits\n\n{_limits(node, connection, total)}",
        checks(node.report),
        made(node, graph),
    )


def _rows(connection: duckdb.DuckDBPyConnection, query: str, **values: Any) -> Rows:
    return connection.sql(query, params=values).to_arrow_table().to_pylist()


def _shares(connection: duckdb.DuckDBPyConnection, by: str) -> Rows:
    """Return documents and characters of each group, with the share of all characters, most characters first."""
    rows = _rows(
        connection,
        f"SELECT {by}, count(*) AS documents, sum(length(text))::BIGINT AS characters FROM documents GROUP BY ALL ORDER BY ALL",
    )
    whole = sum(row["characters"] for row in rows)
    return [
        {**row, "share of characters": md.share(row["characters"], whole)}
        for row in sorted(rows, key=lambda row: -row["characters"])
    ]


def _tokens(node: Node, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> str:
    said = ""
    if estimated := node.report.figures.get("tokens (estimated)"):
        said += (
            f" About {estimated:,} tokens: 40 documents of each kind and source were tokenised, and their rate applied to all."
        )
    for follower in graph.followers.get(node.fingerprint, []):
        if follower.key.startswith("tokenized"):
            ledger = str(follower.path / "ledger.parquet")
            (row,) = _rows(
                connection,
                "SELECT sum(length)::BIGINT AS tokens, count(DISTINCT document_id) AS documents FROM read_parquet($ledger)",
                ledger=ledger,
            )
            said += f" `{follower.name}` holds {row['tokens']:,} tokens of {row['documents']:,} of them, counted."
    return said


def _languages(connection: duckdb.DuckDBPyConnection) -> Counter[str]:
    """Return how many documents of a sample are in each language, code and what has too few words left out."""
    query = f"SELECT text FROM documents WHERE domain <> 'code' ORDER BY md5(id) LIMIT {_LANGUAGE_SAMPLE}"
    words = [plain_words(row["text"]) for row in _rows(connection, query)]
    return Counter(language for language, _ in languages_of([w for w in words if sum(map(str.isalpha, w)) >= FEWEST_LETTERS]))


def _language_section(languages: Counter[str]) -> str:
    if not languages:
        return ""
    count = languages.total()
    rows = [{"language": name, "documents": n, "share": md.share(n, count)} for name, n in languages.most_common()]
    said = f"Detected by fastText on {count} documents, drawn by the hash of their id; code is not judged."
    return f"## Languages\n\n{said}\n\n{md.table(rows, 8)}"


def _licence_summary(licenses: Rows, total: dict[str, Any]) -> str:
    unknown = next((row for row in licenses if row["license"] == UNKNOWN), None)
    known = f"Every document has the licence of its source; {len(licenses)} occur"
    if unknown is None:
        return f"{known}, none is unknown. The whole has no licence of its own: each document keeps its terms."
    return (
        f"{known}. For {unknown['documents']:,} documents ({md.share(unknown['documents'], total['documents'])}) it is not "
        "known: check them before you share the data."
    )


def _removed(node: Node, connection: duckdb.DuckDBPyConnection, kept: int) -> str:
    parts = []
    if node.files.get("removed.parquet"):
        file = str(node.path / "removed.parquet")
        rows = _rows(
            connection,
            """
            SELECT replace(step, '_', ' ') AS step,
                   CASE WHEN step = 'decontamination' THEN 'holds a benchmark item' ELSE reason END AS reason,
                   count(*) AS documents FROM read_parquet($file) GROUP BY ALL ORDER BY documents DESC, reason
            """,
            file=file,
        )
        count = sum(row["documents"] for row in rows)
        read = f"{count:,} of {kept + count:,} documents ({md.share(count, kept + count)})"
        parts.append(f"{read} were taken out, each with reason and evidence in `removed.parquet`:\n\n{md.table(rows)}")
    if node.files.get("rejects.parquet"):
        file = str(node.path / "rejects.parquet")
        query = "SELECT source, reason, count(*) AS items FROM read_parquet($file) GROUP BY ALL ORDER BY items DESC, reason"
        rows = _rows(connection, query, file=file)
        parts.append(f"What could not become a document is in `rejects.parquet`:\n\n{md.table(rows)}")
    return "\n\n".join(["## What was taken out", *parts]) if parts else ""


def _benchmarks(node: Node, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> str:
    """Return what is known of benchmark text in the documents: what was removed, what is still shared, and the proof."""
    parts = []
    if node.files.get("removed.parquet"):
        file = str(node.path / "removed.parquet")
        query = "SELECT reason, count(*) AS documents FROM read_parquet($file)"
        query += " WHERE step = 'decontamination' GROUP BY ALL ORDER BY ALL"
        if rows := _rows(connection, query, file=file):
            parts.append(f"Removed because they hold the text of a benchmark item or its function:\n\n{md.table(rows)}")
    for follower in graph.followers.get(node.fingerprint, []):
        if f"{node.key}/matches.parquet" in follower.files:
            file = str(follower.path / node.key / "matches.parquet")
            query = "SELECT count(DISTINCT item) AS items, count(DISTINCT document_id) AS documents FROM read_parquet($file)"
            (row,) = _rows(connection, query, file=file)
            parts.append(
                f"Of what was kept, {row['documents']:,} documents share some words or a function's signature with "
                f"{row['items']:,} items (`{follower.name}`); scores are given with and without these items."
            )
    if planted := node.report.tables.get("planted and found"):
        said = "Copies and benchmark text that were planted before curation, and how many of them it found"
        parts.append(f"{said}:\n\n{md.table(planted)}")
    return "\n\n".join(["## Benchmark text and copies", *parts]) if parts else ""


def _examples(connection: duckdb.DuckDBPyConnection) -> str:
    query = f"SELECT kind, arg_min(text, id)[:{_EXAMPLE}] AS text, arg_min(origin, id) AS origin"
    rows = _rows(connection, f"{query} FROM documents GROUP BY kind ORDER BY kind")
    shown = [f"`{row['kind']}` from `{row['origin']}`, its beginning:\n\n{_fenced(row['text'])}" for row in rows]
    return "\n\n".join(["## One document of each kind", *shown])


def _fenced(text: str) -> str:
    fence = "~~~~" if "~~~" not in text else "~" * 12
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def _limits(node: Node, connection: duckdb.DuckDBPyConnection, total: dict[str, Any]) -> str:
    values = read_manifest(node.folder)["identity"]["values"]
    lines = []
    if "seed_corpus.curation" not in values and "removed.parquet" not in node.files:
        lines.append("As read from its sources: copies, near-duplicates and benchmark text are still in it.")
    synthetic = _rows(connection, "SELECT count(*) AS n FROM documents WHERE kind LIKE 'synthetic%'")[0]["n"]
    if synthetic:
        lines.append(
            f"{synthetic:,} documents ({md.share(synthetic, total['documents'])}) were made by rules, nobody wrote or ran them."
        )
    largest = _shares(connection, "source")[0]
    lines.append(f"The source `{largest['source']}` alone gives {largest['share of characters']} of the characters.")
    providers = _rows(
        connection,
        "SELECT provider, count(*) AS n FROM documents WHERE provider <> '' GROUP BY ALL ORDER BY n DESC, provider LIMIT 1",
    )
    if providers:
        (top,) = providers
        lines.append(f"{md.share(top['n'], total['documents'])} of the documents are about one provider, `{top['provider']}`.")
    lines.append("Personal data was not searched for.")
    return "\n".join(f"- {line}" for line in [*lines, *failed(node.report)])


def _size(count: int) -> str:
    """Return the Hub's class of a number of rows."""
    bounds = [(10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M"), (10**9, "1B")]
    below = next((i for i, (bound, _) in enumerate(bounds) if count < bound), None)
    if below is None:
        return "n>1B"
    return "n<1K" if below == 0 else f"{bounds[below - 1][1]}<n<{bounds[below][1]}"
