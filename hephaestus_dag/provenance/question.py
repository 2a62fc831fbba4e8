"""What is looked for in a store: documents by id, text, licence, source or origin, as conditions of DuckDB."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from hephaestus_dag.documents import document_id
from hephaestus_dag.licenses import is_identifier, mentions
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, ProvenanceError
from hephaestus_dag.store_contents import named as name_of

FEWEST_DIGITS = 8
"""Digits of an id that are enough to ask for it."""
SHORTEST_TEXT = 12
"""Characters of a passage, at least: shorter ones are in too many documents to mean one."""
MOST_DOCUMENTS = 10_000
"""Documents that a passage or the beginning of an id may stand for."""
_ID = re.compile(rf"[0-9a-fA-F]{{{FEWEST_DIGITS},32}}")
CACHED_SHARDS = ".cache/web_shards/*/documents.parquet"
"""What was read of the web and kept for the next run, before curation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which documents are meant; exactly one field is set."""

    document: str = ""
    """Id, or its first 8 digits or more."""
    text: str = ""
    """A passage, or a whole document."""
    license: str = ""
    """SPDX identifier; all documents whose expression names it, on whichever side of an AND or OR."""
    source: str = ""
    """Name of a source in the recipe."""
    origin: str = ""
    """How an origin begins: ``botocore==1.43.8/`` or ``https://example.org/``."""

    @property
    def what(self) -> str:
        """The field that is set, and its value, in words."""
        (name, value), *_ = [pair for pair in asdict(self).items() if pair[1]]
        return f"{name} {value if len(value) <= 60 else value[:57] + '...'}"


@dataclass(frozen=True, slots=True)
class Condition:
    """A question as DuckDB can answer it."""

    where: str
    """Over the columns of the document table."""
    values: dict[str, Any]
    ids: tuple[str, ...] | None = None
    """The documents themselves, where the question is after some; None where it is after all of a kind."""
    ledger: str = ""
    """The condition over the columns of a ledger, where these are enough."""

    def of_ids(self, shards: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """Return the condition over a ``document_id``, and its values; ``shards`` hold all documents that may stand there."""
        if self.ids is not None:
            return "document_id IN (SELECT unnest($ids))", self.values
        if not shards:
            return "false", {}
        found = f"SELECT id FROM read_parquet($shards) WHERE {self.where}"
        return f"document_id IN ({found})", {"shards": list(shards), **self.values}


def guess(words: str, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> Question:
    """Return what somebody means who only says some words: an id, a source, a licence, or else a passage of text."""
    if _ID.fullmatch(words):
        return Question(document=words)
    if words in _sources(graph, connection):
        return Question(source=words)
    if " " not in words and is_identifier(words):
        return Question(license=words)
    return Question(text=words)


def condition_of(question: Question, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> Condition:
    """Return a question as a condition; raises ProvenanceError when it means nothing, or too much."""
    if question.license:
        known = _distinct(graph, connection, "license")
        named = sorted(each for each in known if mentions(each, question.license))
        if not named:
            raise _none(graph, f"no document here names the licence {question.license!r}; there are {_some(known)}")
        return Condition("license IN (SELECT unnest($licenses))", {"licenses": named})
    if question.source:
        known = _sources(graph, connection)
        if question.source not in known:
            raise _none(graph, f"no document here is of the source {question.source!r}; there are {_some(known)}")
        return Condition("source = $source", {"source": question.source}, ledger="source = $source")
    if question.origin:
        condition = Condition("starts_with(origin, $origin)", {"origin": question.origin})
        if not select(graph, connection, condition.where, condition.values, 1):
            raise _none(graph, f"no document in {name_of(graph.root)} has an origin that begins with {question.origin!r}")
        return condition
    ids = _by_id(question.document, graph, connection) if question.document else _by_text(question.text, graph, connection)
    return Condition("id IN (SELECT unnest($ids))", {"ids": ids}, tuple(ids))


def shards_of(graph: ArtifactGraph) -> list[str]:
    """Return all document shards of a store, those of the cache included."""
    cached = sorted(str(path) for path in graph.root.glob(CACHED_SHARDS))
    return [shard for node in graph.nodes.values() for shard in node.shards] + cached


def select(
    graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection, where: str, values: dict[str, Any], most: int, text: str = "''"
) -> list[dict[str, Any]]:
    """Return up to ``most`` documents as rows: id, source, origin, license, kind, and an expression over their ``text``."""
    shards = shards_of(graph)
    if not shards:
        return []
    columns = "id, source, origin, license, kind"
    query = f"SELECT {columns}, {text} AS text FROM read_parquet($all) WHERE {where} LIMIT {4 * most}"
    found = connection.sql(query, params={"all": shards, **values}).to_arrow_table().to_pylist()
    return list({row["id"]: row for row in found}.values())[:most]


def _by_id(begins: str, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> list[str]:
    if not _ID.fullmatch(begins):
        raise ProvenanceError(f"{begins!r} is no document id: give {FEWEST_DIGITS} to 32 hexadecimal digits")
    begins = begins.lower()
    if len(begins) == 32:
        return [begins]
    held = [row["id"] for row in select(graph, connection, "starts_with(id, $begins)", {"begins": begins}, 10)]
    found = sorted({*held, *_in_ledgers(graph, connection, "document_id", "starts_with(document_id, $begins)", begins=begins)})
    if not found:
        raise _none(graph, f"{begins} begins no document in {name_of(graph.root)}; give other digits")
    if len(found) > 1:
        raise ProvenanceError(f"{begins} begins {len(found)} documents: {', '.join(found)}; give more digits")
    return found


def _by_text(passage: str, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> list[str]:
    whole = document_id(passage)
    if select(graph, connection, "id = $whole", {"whole": whole}, 1):
        return [whole]
    if len(passage) < SHORTEST_TEXT:
        raise ProvenanceError(
            f"{passage!r} is no source, licence or document here, and too short to search for: "
            f"give {SHORTEST_TEXT} characters of a document, or more"
        )
    shards = shards_of(graph)
    query = f"SELECT DISTINCT id FROM read_parquet($shards) WHERE contains(text, $passage) LIMIT {MOST_DOCUMENTS + 1}"
    found = connection.execute(query, {"shards": shards, "passage": passage}).fetchall() if shards else []
    if not found:
        raise _none(graph, f"no document in {name_of(graph.root)} holds {passage!r}; capitals, spaces and line breaks count")
    if len(found) > MOST_DOCUMENTS:
        raise ProvenanceError(f"more than {MOST_DOCUMENTS:,} documents hold {passage!r}; give a longer passage")
    return sorted(row[0] for row in found)


def _distinct(graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection, column: str) -> list[str]:
    shards = shards_of(graph)
    query = f"SELECT DISTINCT {column} FROM read_parquet($shards)"
    return sorted(row[0] for row in connection.execute(query, {"shards": shards}).fetchall()) if shards else []


def _sources(graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> list[str]:
    return sorted({*_distinct(graph, connection, "source"), *_in_ledgers(graph, connection, "source")})


def _in_ledgers(
    graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection, column: str, where: str = "true", **values: str
) -> list[str]:
    """Return values of a column of the ledgers, which know documents whose corpus is no longer there; 10 with a condition."""
    folders = [folder for node in graph.nodes.values() if (folder := node.holder("ledger.parquet"))]
    if not folders:
        return []
    query = f"SELECT DISTINCT {column} FROM read_parquet($ledgers) WHERE {where}" + (" LIMIT 10" if values else "")
    ledgers = [str(folder / "ledger.parquet") for folder in folders]
    return [row[0] for row in connection.execute(query, {"ledgers": ledgers, **values}).fetchall()]


def _none(graph: ArtifactGraph, why: str) -> ProvenanceError:
    """Return that nothing is meant, with what could not be looked into."""
    return ProvenanceError("\n".join([why, *(f"not looked into: {each}" for each in graph.holes)]))


def _some(names: Sequence[str]) -> str:
    short = [name for name in names if len(name) <= 40][:20]
    return ", ".join(short) + (", and others" if len(short) < len(names) else "")


def open_database() -> duckdb.DuckDBPyConnection:
    """Return a database in memory, which reads no extension from anywhere; nothing is written into a store."""
    return duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
