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
    tables = [shown for mixture in mixtures for shown in _shown(MixtureLoader(mixture, stores))]
    whole = pa.concat_tables([TRAINED_SCHEMA.empty_table(), *tables])
    totals = whole.group_by(["document_id", "source", "domain"]).aggregate([("tokens", "sum")])
    return totals.rename_columns({"tokens_sum": "tokens"}).select(TRAINED_SCHEMA.names).sort_by("document_id")


def _shown(loader: MixtureLoader) -> Iterator[pa.Table]:
    """Yield, for each stream of a mixture, its documents that lie in a planned window."""
    length = loader.sequence_length
    for number, stream in enumerate(loader.streams):
        offsets = loader.rows["offset"][loader.rows["stream"] == number]
        counts = np.bincount(offsets // length, minlength=stream["windows"])
        ledger = loader.stores[stream["store"]].stream_ledger(
            stream["name"], ["document_id", "source", "domain", "offset", "length"]
        )
        starts = ledger["offset"].to_numpy()
        bounds = np.minimum(np.stack([starts, starts + ledger["length"].to_numpy()]), len(counts) * length)
        window, inside = np.divmod(bounds, length)
        # Tokens shown before a place of the stream: those of the windows before its own, and those before it in its own.
        before = np.append(0, np.cumsum(counts))[window] * length + np.append(counts, 0)[window] * inside
        tokens = pa.array(before[1] - before[0], pa.int64())
        table = ledger.select(["document_id", "source", "domain"]).append_column("tokens", tokens)
        yield table.cast(TRAINED_SCHEMA).filter(pc.field("tokens") > 0)


def sources_of(trained: pa.Table) -> list[dict[str, Any]]:
    """Return documents and tokens of each source of a table of `trained_documents`, most tokens first."""
    groups = trained.group_by(["source", "domain"]).aggregate([("document_id", "count_distinct"), ("tokens", "sum")])
    columns = {"document_id_count_distinct": "documents", "tokens_sum": "tokens"}
    order = [("tokens", "descending"), ("source", "ascending"), ("domain", "ascending")]
    return groups.rename_columns(columns).select(["source", "domain", "documents", "tokens"]).sort_by(order).to_pylist()
