"""Tokens that earlier token stores hold already."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from hephaestus_dag.mixture.catalogue import packed_ids
from hephaestus_dag.mixture.encoder import Borders, EncoderSpec
from hephaestus_dag.mixture.store import TokenStore, file_sha256

TOKENS_AT_ONCE = 16_000_000

Found = tuple[Callable[[], np.ndarray], np.ndarray, np.ndarray, np.ndarray]


def known_tokens(ids: np.ndarray, earlier: Sequence[Path], spec: EncoderSpec) -> Iterator[Found]:
    """Yield, for each stream that holds documents of ``ids``: what opens its tokens, places in ``ids``, offsets and lengths.

    ``ids`` are packed, see `packed_ids`. Stores that are damaged, or of another tokenizer, are passed over.
    """
    order = np.argsort(ids, kind="stable")
    for folder in earlier if len(ids) else ():
        try:
            store = TokenStore(folder)
            if file_sha256(folder / "ledger.parquet") != store.ledger_sha256:
                continue
            found = [_of_stream(store, name, ids, order, spec.borders) for name in _plain_streams(store, spec)]
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            continue
        yield from (stream for stream in found if stream)


def document_ends(tokens: np.ndarray, borders: Borders) -> np.ndarray:
    """Return where the documents of a stream end, int64 of shape [documents]: behind each end-of-text token."""
    blocks = range(0, len(tokens), TOKENS_AT_ONCE)
    found = [np.flatnonzero(tokens[first : first + TOKENS_AT_ONCE] == borders.end) + (first + 1) for first in blocks]
    ends = np.concatenate([np.empty(0, np.int64), *found])
    return ends[1::2] if borders.start == borders.end else ends


def _plain_streams(store: TokenStore, spec: EncoderSpec) -> list[str]:
    """Return the streams of documents as the tokenizer of ``spec`` encodes them."""
    return [name for name, stream in store.streams.items() if store.tokenizer == spec.digest and not stream.masked]


def _of_stream(store: TokenStore, name: str, ids: np.ndarray, order: np.ndarray, borders: Borders) -> Found | None:
    """Return what a stream holds of ``ids``, whose sorted order is given.

    Raises ValueError when its tokens are not those that store.json speaks of, or not where the ledger says.
    """
    ledger = store.stream_ledger(name, ["document_id", "offset", "length"])
    held = packed_ids(ledger["document_id"].to_pylist())
    places = order[np.minimum(np.searchsorted(ids, held, sorter=order), len(order) - 1)]
    hits = np.flatnonzero(ids[places] == held)
    if not len(hits):
        return None
    tokens = store.tokens(name).view(np.ndarray)
    if file_sha256(store.folder / "streams" / f"{name}.bin") != store.streams[name].sha256:
        raise ValueError(f"{name}: its tokens have changed")
    offsets, lengths = ledger["offset"].to_numpy(), ledger["length"].to_numpy()
    ends = document_ends(tokens, borders)
    if not (np.array_equal(offsets + lengths, ends) and np.array_equal(offsets[1:], ends[:-1]) and offsets[0] == 0):
        raise ValueError(f"{name}: its documents do not lie where the ledger says")
    rows, first = np.unique(places[hits], return_index=True)
    return partial(store.tokens, name), rows, offsets[hits[first]], lengths[hits[first]]
