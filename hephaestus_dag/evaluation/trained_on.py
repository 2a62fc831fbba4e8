"""Which documents the mixtures of a variant show it, and how many tokens of each: where the way from a score ends."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hephaestus_dag.mixture.loader import MixtureLoader

TRAINED_SCHEMA = pa.schema(
    [("document_id", pa.string()), ("source", pa.string()), ("domain", pa.string()), ("tokens", pa.int64())]
)


def trained_documents(mixtures: Sequence[Path], stores: Sequence[Path]) -> pa.Table:
    """Return a row of ``TRAINED_SCHEMA`` for each document that some mixtures show, with the tokens shown, repeats included.

    ``stores`` are the token stores of all of them, in any order. A mixture counts as a whole, also where a run ends before it
    does: rather too many documents than too few.
    Raises MixtureError when a store is missing.
    """
    tables = [shown for mixture in mixtures for shown in shown_documents(MixtureLoader(mixture, stores))]
    whole = pa.concat_tables([TRAINED_SCHEMA.empty_table(), *tables])
    totals = whole.group_by(["document_id", "source", "domain"]).aggregate([("tokens", "sum")])
    return totals.rename_columns({"tokens_sum": "tokens"}).select(TRAINED_SCHEMA.names).sort_by("document_id")


def shown_documents(loader: MixtureLoader, first: int = 0, last: int | None = None) -> Iterator[pa.Table]:
    """Yield, for each stream of a mixture, a row of ``TRAINED_SCHEMA`` for each document that its sequences show as inputs.

    ``first`` to ``last`` are the sequences that count, in training order; all when not given.
    """
    for number, stream in enumerate(loader.streams):
        counts = visits_of(loader, number, first, last)
        ledger = loader.stores[stream["store"]].stream_ledger(
            stream["name"], ["document_id", "source", "domain", "offset", "length"]
        )
        tokens = tokens_shown(ledger["offset"].to_numpy(), ledger["length"].to_numpy(), counts, loader.sequence_length)
        table = ledger.select(["document_id", "source", "domain"]).append_column("tokens", pa.array(tokens, pa.int64()))
        yield table.cast(TRAINED_SCHEMA).filter(pc.field("tokens") > 0)


def visits_of(loader: MixtureLoader, stream: int, first: int = 0, last: int | None = None) -> np.ndarray:
    """Return how often the sequences ``first`` to ``last`` of a mixture show each window of a stream: int64, [windows]."""
    rows = loader.rows[first:last]
    offsets = rows["offset"][rows["stream"] == stream]
    return np.bincount(offsets // loader.sequence_length, minlength=loader.streams[stream]["windows"])


def tokens_shown(offsets: np.ndarray, lengths: np.ndarray, visits: np.ndarray, window: int) -> np.ndarray:
    """Return how many tokens of parts of a stream are shown, repeats included: int64, as many as ``offsets``.

    ``visits`` says how often each window of ``window`` tokens is shown, see `visits_of`.
    """
    bounds = np.minimum(np.stack([offsets, offsets + lengths]), len(visits) * window)
    number, inside = np.divmod(bounds, window)
    # Tokens shown before a place of the stream: those of the windows before its own, and those before it in its own.
    before = np.append(0, np.cumsum(visits))[number] * window + np.append(visits, 0)[number] * inside
    return before[1] - before[0]


def sources_of(trained: pa.Table) -> list[dict[str, Any]]:
    """Return documents and tokens of each source of a table of `trained_documents`, most tokens first."""
    groups = trained.group_by(["source", "domain"]).aggregate([("document_id", "count_distinct"), ("tokens", "sum")])
    columns = {"document_id_count_distinct": "documents", "tokens_sum": "tokens"}
    order = [("tokens", "descending"), ("source", "ascending"), ("domain", "ascending")]
    return groups.rename_columns(columns).select(["source", "domain", "documents", "tokens"]).sort_by(order).to_pylist()
