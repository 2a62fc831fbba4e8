"""Which documents share a band with another, for a corpus whose signatures do not fit into memory.

A shuffle in two rounds of `map_over`, on one machine or many. First the signatures of each group of files are split: every
band of every document becomes an entry (band and its value, id), and a file takes the group's entries, sorted by the part
that the value belongs to. Then each part is read from all files: equal entries meet there. About 600 bytes a document lie
in ``work`` meanwhile; a worker holds one group or one part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hephaestus_dag.map_over import MapOver
from hephaestus_dag.whole_folder import whole_folder

GROUP_ROWS = 500_000
"""Documents of a group: 0.3 GB of entries with 25 bands, twice that while they are sorted."""
ENTRY = np.dtype([("key", "u8"), ("id", "S16")])


@dataclass(frozen=True)
class _Group:
    """Some files of signatures, and the folder of their entries."""

    files: tuple[Path, ...]
    parts: int
    folder: Path


def sharing(files: Sequence[Path], work: Path, map_over: MapOver) -> np.ndarray:
    """Return the ids (S16, sorted) of the documents that have a value of a band which another one, or a copy, has too.

    Groups that an earlier call left in ``work`` are not split again.
    """
    rows = np.array([pq.read_metadata(file).num_rows for file in files])
    numbers = (np.cumsum(rows) - rows) // GROUP_ROWS
    parts = int(rows.sum()) // GROUP_ROWS + 1
    groups = [
        _Group(tuple(file for file, of in zip(files, numbers, strict=True) if of == number), parts, work / f"{number:05d}")
        for number in np.unique(numbers)
    ]
    for _ in map_over(_split, [group for group in groups if not group.folder.exists()]):
        pass
    found = list(map_over(_Shared(tuple(group.folder for group in groups)), range(parts)))
    return np.unique(np.concatenate(found))


def _split(group: _Group) -> None:
    """Write the entries of a group sorted by their part, and where each part ends."""
    tables = [pq.read_table(file, columns=["document_id", "bands"]).combine_chunks() for file in group.files]
    ids = np.concatenate([np.array(table["document_id"].to_pylist(), "S16") for table in tables])
    values = np.concatenate([table["bands"].combine_chunks().flatten().to_numpy() for table in tables])
    values = values.reshape(len(ids), -1).astype(np.uint64)
    bands = np.arange(values.shape[1], dtype=np.uint64) << np.uint64(32)
    entries = np.empty(values.size, ENTRY)
    entries["key"] = (values | bands).reshape(-1)
    entries["id"] = np.repeat(ids, values.shape[1])
    part = (values.reshape(-1) % np.uint64(group.parts)).astype(np.int32)
    with whole_folder(group.folder) as staging:
        np.save(staging / "entries.npy", entries[np.argsort(part, kind="stable")])
        np.save(staging / "ends.npy", np.cumsum(np.bincount(part, minlength=group.parts)))


@dataclass(frozen=True)
class _Shared:
    """Finds, in one part, the ids of entries that are equal to another's."""

    folders: tuple[Path, ...]

    def __call__(self, part: int) -> np.ndarray:
        pieces = []
        for folder in self.folders:
            first, last = np.concatenate([[0], np.load(folder / "ends.npy")])[part : part + 2]
            pieces.append(np.array(np.load(folder / "entries.npy", mmap_mode="r")[first:last]))
        entries = np.concatenate(pieces)
        entries = entries[np.argsort(entries["key"], kind="stable")]
        same = entries["key"][1:] == entries["key"][:-1]
        return np.unique(entries["id"][np.append(same, False) | np.append(False, same)])
