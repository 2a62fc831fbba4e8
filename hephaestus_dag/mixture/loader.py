"""Read a planned mixture: any batch at once, for any number of ranks, from one integer of state."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hephaestus_dag.mixture.store import MixtureError, TokenStore


@dataclass(frozen=True, slots=True)
class Batch:
    """Some training sequences."""

    tokens: np.ndarray
    """int64, [count, sequence_length + 1]: inputs are ``tokens[:, :-1]``, targets ``tokens[:, 1:]``."""
    mask: np.ndarray | None
    """uint8, [count, sequence_length]: 1 where the target counts in the loss; None when all do."""
    streams: np.ndarray
    """[count]: index of each sequence's stream in mixture.json."""
    positions: np.ndarray | None = None
    """int64, [count, sequence_length]: place of each input token in its part of a document; None when not asked for."""


@dataclass(frozen=True, slots=True)
class DocumentSpan:
    """The part of a document that lies in a training sequence."""

    document_id: str
    offset: int
    """First token of the part, counted from the document's start."""
    length: int
    """Tokens of the part, an end-of-text token included."""
    position: int
    """Where the part begins in the sequence."""


class MixtureLoader:
    """The training sequences of a mixture, by global index: what a slot of a step shows follows from the plan alone.

    ``stores`` are the folders of the token stores that the mixture was planned over, its replay's included, in any order.
    ``fingerprint`` is a hash of the plan and of the content of its stores. Raises MixtureError when a store is missing.
    """

    def __init__(self, folder: Path, stores: Sequence[Path]) -> None:
        content = (folder / "mixture.json").read_bytes()
        head = json.loads(content)
        self.sequence_length: int = head["sequence_length"]
        self.num_sequences: int = head["num_sequences"]
        self.components: dict[str, dict] = head["components"]
        self.component_names = list(self.components)
        self.streams: list[dict] = head["streams"]
        self.rows: np.ndarray = np.load(folder / "sequences.npy", mmap_mode="r")
        with (folder / "sequences.npy").open("rb") as file:
            self.fingerprint = hashlib.sha256(content + hashlib.file_digest(file, "sha256").digest()).hexdigest()

        given = {store.fingerprint: store for store in map(TokenStore, stores)}
        if missing := [planned for planned in head["stores"] if planned not in given]:
            have = ", ".join(f"{store.folder} ({store.fingerprint[:12]})" for store in given.values())
            raise MixtureError(
                f"{folder} was planned over the token store whose store.json has the hash {missing[0][:12]}, which is none of "
                f"{have}; give that store, or plan the mixture again"
            )
        self.stores = [given[planned] for planned in head["stores"]]
        self._tokens = [self.stores[stream["store"]].tokens(stream["name"]) for stream in self.streams]
        self._masks = [self.stores[stream["store"]].mask(stream["name"]) for stream in self.streams]
        self._masked = any(mask is not None for mask in self._masks)
        self._component_of = np.array([self.component_names.index(stream["component"]) for stream in self.streams])
        self._borders: dict[int, np.ndarray] = {}
        self._ledger = lru_cache(maxsize=8)(self._stream_ledger)

    def batch(self, start: int, count: int, positions: bool = False) -> Batch:
        """Return the sequences ``start`` to ``start + count``.

        ``positions`` are counted from 0 at the begin of a sequence and at each border of documents in it; padding counts
        as a document. Raises IndexError past the end of the mixture: a run never wraps round silently.
        """
        rows = self._rows(start, count)
        length, streams = self.sequence_length, rows["stream"].astype(np.int64)
        tokens = np.empty((count, length + 1), np.int64)
        mask = np.ones((count, length), np.uint8) if self._masked else None
        for row, (stream, offset) in enumerate(rows.tolist()):
            tokens[row] = self._tokens[stream][offset : offset + length + 1]
            stream_mask = self._masks[stream]
            if mask is not None and stream_mask is not None:
                mask[row] = stream_mask[offset + 1 : offset + length + 1]
        return Batch(tokens, mask, streams, self._positions(rows) if positions else None)

    def mix(self, start: int, count: int) -> dict[str, int]:
        """Return how many of the sequences ``start`` to ``start + count`` are of each component."""
        found = np.bincount(self._component_of[self._rows(start, count)["stream"]], minlength=len(self.component_names))
        return dict(zip(self.component_names, found.tolist(), strict=True))

    def rank_slice(self, start: int, global_batch: int, rank: int, world_size: int) -> tuple[int, int]:
        """Return ``(start, count)`` of the rows that one rank takes of the global batch that begins at ``start``.

        The ranks' rows, joined in order, are the global batch for every world size that divides it.
        """
        if global_batch % world_size:
            raise ValueError(f"a global batch of {global_batch} sequences cannot be divided among {world_size} ranks evenly")
        count = global_batch // world_size
        return start + rank * count, count

    def documents_of(self, row: int) -> list[DocumentSpan]:
        """Return the documents that a training sequence shows (its last target included), in order."""
        stream, begin = int(self.rows["stream"][row]), int(self.rows["offset"][row])
        end = begin + self.sequence_length + 1
        ledger, offsets, ends = self._ledger(stream)
        first, last = np.searchsorted(ends, begin, side="right"), np.searchsorted(offsets, end, side="left")
        return [
            DocumentSpan(
                document_id=ledger["document_id"][index].as_py(),
                offset=max(begin - int(offsets[index]), 0),
                length=min(end, int(ends[index])) - max(begin, int(offsets[index])),
                position=max(int(offsets[index]) - begin, 0),
            )
            for index in range(int(first), int(last))
        ]

    def rows_of(self, document_id: str) -> list[int]:
        """Return the training sequences that show a document, in training order."""
        length, found = self.sequence_length, []
        for stream in range(len(self.streams)):
            ledger, offsets, ends = self._ledger(stream)
            for index in np.flatnonzero(pc.call_function("equal", [ledger["document_id"], document_id]).to_numpy()):
                # A window holds one token more than it advances, so it may start up to a whole length before the document.
                shows = (self.rows["offset"] + length >= offsets[index]) & (self.rows["offset"] < ends[index])
                found.append(np.flatnonzero(shows & (self.rows["stream"] == stream)))
        return np.unique(np.concatenate(found)).tolist() if found else []

    def _rows(self, start: int, count: int) -> np.ndarray:
        if start < 0 or count < 1 or start + count > self.num_sequences:
            raise IndexError(f"sequences {start} to {start + count} of a mixture that has {self.num_sequences}")
        return self.rows[start : start + count]

    def _positions(self, rows: np.ndarray) -> np.ndarray:
        return np.stack(
            [document_positions(self._stream_borders(stream), offset, self.sequence_length) for stream, offset in rows.tolist()]
        )

    def _stream_borders(self, stream: int) -> np.ndarray:
        if stream not in self._borders:
            described = self.streams[stream]
            self._borders[stream] = stream_borders(self.stores[described["store"]], described["name"])
        return self._borders[stream]

    def _stream_ledger(self, stream: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        described = self.streams[stream]
        ledger = self.stores[described["store"]].stream_ledger(described["name"])
        offsets = ledger["offset"].to_numpy()
        return ledger, offsets, offsets + ledger["length"].to_numpy()


def stream_borders(store: TokenStore, name: str) -> np.ndarray:
    """Return where documents, or padding, begin in a stream: int64, sorted."""
    ledger = store.stream_ledger(name, ["offset", "length"])
    offsets = ledger["offset"].to_numpy()
    return np.union1d(offsets, offsets + ledger["length"].to_numpy())


def document_positions(borders: np.ndarray, offset: int, length: int) -> np.ndarray:
    """Return each token's place in its part of a document, in the ``length`` tokens at ``offset``: int64, [length]."""
    first, last = np.searchsorted(borders, (offset, offset + length))
    inside = borders[first:last] - offset
    begins = np.zeros(length, np.int64)
    begins[inside] = inside
    return np.arange(length) - np.maximum.accumulate(begins)
