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
    """The training sequences of a mixture, by global index.

    ``stores`` are the folders of the token stores, in the order that the mixture was planned with. Raises MixtureError
    when they are not those stores.
    """

    def __init__(self, folder: Path, stores: Sequence[Path]) -> None:
        content = (folder / "mixture.json").read_bytes()
        head = json.loads(content)
        self.sequence_length: int = head["sequence_length"]
        self.num_sequences: int = head["num_sequences"]
        self.components: dict[str, dict] = head["components"]
        self.streams: list[dict] = head["streams"]
        self._rows = np.load(folder / "sequences.npy", mmap_mode="r")
        with (folder / "sequences.npy").open("rb") as file:
            self.fingerprint = hashlib.sha256(content + hashlib.file_digest(file, "sha256").digest()).hexdigest()

        if len(stores) != len(head["stores"]):
            raise MixtureError(f"{folder} was planned over {len(head['stores'])} token stores, {len(stores)} were given")
        self._stores = [TokenStore(store) for store in stores]
        for store, expected in zip(self._stores, head["stores"], strict=True):
            if store.fingerprint != expected:
                raise MixtureError(
                    f"{store.folder} is not the token store that {folder} was planned over "
                    f"(store.json {store.fingerprint[:12]}, planned {expected[:12]}); give the stores in the planned order, "
                    "or plan the mixture again"
                )
        self._tokens = [self._stores[stream["store"]].tokens(stream["name"]) for stream in self.streams]
        self._masks = [self._stores[stream["store"]].mask(stream["name"]) for stream in self.streams]
        self._masked = any(mask is not None for mask in self._masks)
        self._ledger = lru_cache(maxsize=8)(self._stream_ledger)

    def batch(self, start: int, count: int) -> Batch:
        """Return the sequences ``start`` to ``start + count``.

        Raises IndexError past the end of the mixture: a run never wraps round silently.
        """
        if start < 0 or count < 1 or start + count > self.num_sequences:
            raise IndexError(f"sequences {start} to {start + count} of a mixture that has {self.num_sequences}")
        rows = self._rows[start : start + count]
        streams = rows["stream"].astype(np.int64)
        where = rows["offset"][:, None] + np.arange(self.sequence_length + 1)
        tokens = np.empty(where.shape, np.int64)
        mask = np.ones((count, self.sequence_length), np.uint8) if self._masked else None
        for stream in np.unique(streams):
            chosen = streams == stream
            tokens[chosen] = self._tokens[stream][where[chosen]]
            stream_mask = self._masks[stream]
            if mask is not None and stream_mask is not None:
                mask[chosen] = stream_mask[where[chosen, 1:]]
        return Batch(tokens, mask, streams)

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
        stream, begin = int(self._rows["stream"][row]), int(self._rows["offset"][row])
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
                shows = (self._rows["offset"] + length >= offsets[index]) & (self._rows["offset"] < ends[index])
                found.append(np.flatnonzero(shows & (self._rows["stream"] == stream)))
        return np.unique(np.concatenate(found)).tolist() if found else []

    def _stream_ledger(self, stream: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        described = self.streams[stream]
        ledger = self._stores[described["store"]].stream_ledger(described["name"])
        offsets = ledger["offset"].to_numpy()
        return ledger, offsets, offsets + ledger["length"].to_numpy()
