"""Count what the sequences of a mixture show of each source, exactly, through the ledger."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hephaestus_dag.mixture.members import PlannedStream
from hephaestus_dag.mixture.store import TokenStore


def shown_sources(
    stores: Sequence[TokenStore], streams: Sequence[PlannedStream], rows: np.ndarray, length: int
) -> list[dict[str, Any]]:
    """Return what training sequences show of each source of each domain and store, sorted by these.

    ``tokens`` are shown as inputs, as often as they are; ``unique_tokens`` could be: those in the windows of a stream;
    ``epochs`` is the first by the second. Padding is of no source. A stream that two components draw on counts once.
    """
    visited: dict[tuple[int, str], np.ndarray] = {}
    for number, stream in enumerate(streams):
        windows = np.bincount(rows["offset"][rows["stream"] == number] // length, minlength=stream.windows)
        visited[stream.store, stream.name] = windows + visited.get((stream.store, stream.name), 0)

    totals: dict[tuple[str, str, int], np.ndarray] = {}
    for (store, name), counts in visited.items():
        stream = stores[store].streams[name]
        for source, tokens in _tokens(stores[store], name, counts, length):
            key = (stream.domain, source, store)
            totals[key] = totals.get(key, np.zeros(2, np.int64)) + tokens
    return [
        {
            "source": source,
            "domain": domain,
            "store": store,
            "tokens": int(shown),
            "unique_tokens": int(unique),
            "epochs": round(int(shown) / int(unique), 6) if unique else 0.0,
        }
        for (domain, source, store), (shown, unique) in sorted(totals.items())
    ]


def _tokens(store: TokenStore, name: str, counts: np.ndarray, length: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each source of a stream, and ``[shown, unique]`` tokens of it; ``counts`` are the visits of each window."""
    if source := store.streams[name].source:
        yield source, np.array([counts.sum(), len(counts)]) * length
        return
    ledger = store.stream_ledger(name, ["source", "offset", "length"])
    starts = ledger["offset"].to_numpy()
    bounds = np.minimum(np.stack([starts, starts + ledger["length"].to_numpy()]), len(counts) * length)
    window, inside = np.divmod(bounds, length)
    # Tokens that are shown before a place of the stream: those of the windows before, and those before it in its window.
    shown = np.append(0, np.cumsum(counts))[window] * length + np.append(counts, 0)[window] * inside
    sources = ledger["source"].combine_chunks().dictionary_encode()
    assert isinstance(sources, pa.DictionaryArray)
    of = sources.indices.to_numpy()
    for index, source in enumerate(sources.dictionary.to_pylist()):
        mine = of == index
        yield source, np.array([np.diff(shown[:, mine], axis=0).sum(), np.diff(bounds[:, mine], axis=0).sum()])
