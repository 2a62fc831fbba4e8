"""Brings rows together that belong together, where a step sees the whole corpus at once and memory would not hold it.

In one round of `map_over` every worker sends rows to numbered parts, through files in a folder that all workers see; in the
next round a worker has all rows of a part. The rows of a part come in the order of their senders, and of one sender in its
own, so nothing depends on how many workers there are. Every function here holds one sender's rows or one part at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.map_over import MapOver
from hephaestus_dag.whole_folder import whole_folder

DOCUMENTS_IN_MEMORY = 50_000_000
"""Documents that a step holds in memory at most: 18 GB for copies and near-duplicates, 7 GB for a token store."""
GROUP_ROWS = 500_000
"""Documents of one sender, and on average of one part: below 1 GB of a worker's memory with 25 bands each."""


@dataclass(frozen=True)
class Exchange:
    """Rows on their way: what each of some senders has for each of some parts."""

    folder: Path
    senders: int
    parts: int

    def of(self, sender: int) -> Path:
        """Return the folder of one sender."""
        return self.folder / f"{sender:06d}"

    def num_rows(self) -> int:
        """Return the rows of all parts."""
        return sum(int(np.load(self.of(sender) / "ends.npy", mmap_mode="r")[-1]) for sender in range(self.senders))

    def received(self, part: int) -> np.ndarray:
        """Return all rows of a part."""
        found = []
        for sender in range(self.senders):
            ends = np.load(self.of(sender) / "ends.npy", mmap_mode="r")
            first, last = int(ends[part]), int(ends[part + 1])
            rows = np.load(self.of(sender) / "rows.npy", mmap_mode="r" if last > first else None)
            found.append(np.array(rows[first:last]))
        return np.concatenate(found)


def exchange(
    function: Callable[[Any], tuple[np.ndarray, np.ndarray]], items: Sequence[Any], folder: Path, parts: int, map_over: MapOver
) -> Exchange:
    """Have ``function`` make rows of every item, and say for each row to which part it goes.

    The function can be pickled. Items that an earlier call was done with, in the same folder, are not begun again.
    """
    sent = Exchange(folder, len(items), parts)
    jobs = [(item, sent.of(number)) for number, item in enumerate(items)]
    for _ in map_over(_Send(function, parts), [job for job in jobs if not job[1].exists()]):
        pass
    return sent


@dataclass(frozen=True)
class _Send:
    """Writes the rows of an item, sorted by part, and where each part ends."""

    function: Callable[[Any], tuple[np.ndarray, np.ndarray]]
    parts: int

    def __call__(self, job: tuple[Any, Path]) -> None:
        item, folder = job
        rows, part = self.function(item)
        order = np.argsort(part.astype(np.uint32), kind="stable")
        ends = np.cumsum(np.bincount(part.astype(np.int64), minlength=self.parts))
        with whole_folder(folder) as staging:
            np.save(staging / "rows.npy", rows[order])
            np.save(staging / "ends.npy", np.concatenate([[0], ends]))


def in_memory(documents: int) -> bool:
    """Return whether a step holds so many documents in memory, and does not shuffle them."""
    return documents <= DOCUMENTS_IN_MEMORY


def parts_for(rows: int) -> int:
    """Return the parts for the rows of so many documents."""
    return rows // GROUP_ROWS + 1


def in_groups(items: Iterable[Any], sizes: Sequence[int], size: int | None = None) -> list[tuple[Any, ...]]:
    """Divide items into runs of about ``size`` together (default: the rows of a sender), by their order and sizes alone."""
    numbers = (np.cumsum(sizes) - np.array(sizes, np.int64)) // (size or GROUP_ROWS)
    groups: dict[int, list[Any]] = {}
    for item, number in zip(items, numbers.tolist(), strict=True):
        groups.setdefault(number, []).append(item)
    return [tuple(group) for group in groups.values()]
