"""Removes copies: documents whose text is, byte for byte, that of an earlier one, across all sources."""

import hashlib
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pyarrow as pa

from hephaestus_dag.curation.removed import Verdict, part


class ExactDeduplicator:
    """Keeps the first document of each id, in the order in which batches arrive.

    One instance has to see all batches: the ids seen so far are its state, about 120 bytes each.
    """

    name = "exact_duplicates"

    def __init__(self, known: Iterable[str] = ()) -> None:
        """`known` are ids of documents that are kept elsewhere, so that their copies go."""
        self._seen = {bytes.fromhex(document_id) for document_id in known}

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows for the copies; their evidence says where the copy lay (the kept one has the same id)."""
        ids: list[str] = batch.column("id").to_pylist()
        verdicts: list[Verdict | None] = [None] * len(ids)
        for row, document_id in enumerate(ids):
            key = bytes.fromhex(document_id)
            if key in self._seen:
                place = f"{batch.column('source')[row].as_py()}: {batch.column('origin')[row].as_py()}"
                verdicts[row] = Verdict("the same text came earlier", place)
            self._seen.add(key)
        return part(batch, self.name, verdicts)


def text_ids(texts: pa.Array) -> list[str]:
    """Return `document_id` of every text in a string column without nulls, hashed where it lies, without making strings."""
    _, offsets, content = texts.buffers()
    if not len(texts) or offsets is None:
        return []
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    ends = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1].tolist()
    view = memoryview(content or b"")
    return [hashlib.blake2b(view[first:last], digest_size=16).hexdigest() for first, last in pairwise(ends)]
