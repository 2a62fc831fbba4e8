"""Freebase as AgentBench's KG task asks it: sets of things, the queries for them, and the server that answers."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hephaestus_dag.evaluation.agentbench.task import TaskLostError

FREEBASE = "http://rdf.freebase.com/ns/"
ENGLISH = "FILTER (!isLiteral(?x) || lang(?x) = '' || langMatches(lang(?x), 'en'))"


@dataclass(frozen=True, slots=True)
class Variable:
    """A set of things, as the patterns that describe it; ``?x`` stands for the set itself."""

    kind: str
    """Freebase type of its members."""
    patterns: tuple[str, ...]
    entities: frozenset[str] = frozenset()
    """Named in the patterns; they are no members."""
    order: str = ""
    """``ORDER BY`` of a superlative, whose value is ``?value``."""
    counted: bool = False

    def query(self) -> str:
        """Return the query for its members, or for their number."""
        filters = [ENGLISH, *(f"FILTER (?x != ns:{entity})" for entity in sorted(self.entities))]
        if self.counted:
            return f"SELECT (COUNT(DISTINCT ?x) AS ?count) WHERE {{ {' '.join((*self.patterns, *filters))} }}"
        body = " ".join(self.patterns)
        if not self.order:
            return f"SELECT DISTINCT ?x WHERE {{ {body} {' '.join(filters)} }}"
        best = f"{{ SELECT ?value WHERE {{ {body} {' '.join(filters)} }} {self.order} LIMIT 1 }}"
        return f"SELECT DISTINCT ?x WHERE {{ {body} {best} }}"


class SparqlServer:
    """A SPARQL endpoint."""

    def __init__(self, url: str, seconds: float) -> None:
        self.url, self.seconds = url, seconds

    def values(self, query: str) -> list[str]:
        """Return the one column of a query's result, without Freebase's prefix.

        Raises ValueError when the server refuses the query, TimeoutError when it takes too long, TaskLostError when the server
        is gone.
        """
        data = urllib.parse.urlencode({"query": f"PREFIX ns: <{FREEBASE}> {query}"}).encode()
        request = urllib.request.Request(self.url, data, {"Accept": "application/sparql-results+json"})
        try:
            with urllib.request.urlopen(request, timeout=self.seconds) as answer:
                rows = json.load(answer)["results"]["bindings"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"the SPARQL server refused a query with status {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, TimeoutError):
                raise TimeoutError(f"a query took more than {self.seconds:g} s") from error
            raise TaskLostError(f"the SPARQL server does not answer: {reason}") from error
        return [cell["value"].replace(FREEBASE, "").replace("-08:00", "") for row in rows for cell in row.values()]


ONTOLOGY_FILES = ("vocab.json", "fb_roles")


@dataclass(frozen=True, slots=True)
class Ontology:
    """What the tools know of Freebase besides its facts."""

    relations: frozenset[str]
    attributes: frozenset[str]
    """Relations to numbers and dates."""
    ranges: Mapping[str, str]
    """Type of a relation's objects."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``vocab.json`` and ``fb_roles`` (a line: domain, relation, range)."""
        vocabulary = json.loads((folder / "vocab.json").read_text())
        roles = [line.split() for line in (folder / "fb_roles").read_text().splitlines()]
        ranges = {role[1]: role[2] for role in roles}
        return cls(frozenset(vocabulary["relations"]), frozenset(vocabulary["attributes"]), ranges)
