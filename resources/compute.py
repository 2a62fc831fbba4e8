"""Where functions over shards run: a pool of processes on this machine."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import dagster as dg
from pydantic import Field

Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalPool(dg.ConfigurableResource):
    """Maps a function over items with a pool of processes; results come in the order of the items."""

    num_workers: int = Field(default=0, ge=0, description="Number of processes; 0: one per CPU core.")

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Result]:
        """Yield ``function(item)`` for every item, in order, calling `progress` with (done, total)."""
        workers = min(self.num_workers or os.cpu_count() or 1, len(items))
        if workers <= 1:
            results: Iterator[Result] = map(function, items)
            yield from _counted(results, len(items), progress)
            return
        # spawn: workers must not inherit locks or threads of libraries that the caller has loaded
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from _counted(pool.map(function, items), len(items), progress)


def _counted(results: Iterator[Result], total: int, progress: Callable[[int, int], None] | None) -> Iterator[Result]:
    for done, result in enumerate(results, 1):
        yield result
        if progress:
            progress(done, total)
