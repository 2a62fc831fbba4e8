"""Where functions over shards run: a pool of processes on this machine, or (`RayPool`) Ray on many."""

import itertools
import multiprocessing
import os
import pickle
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from resources import worker

Progress = Callable[[int, int], None] | None
TRIES = 4
"""Times that an item is begun whose worker dies; after the last it is the item that kills."""


class WorkerDiedError(RuntimeError):
    """The workers that an item was given to were killed, or ended by themselves, one after the other."""

    def __init__(self, shard: str) -> None:
        super().__init__(
            f"{TRIES} workers ended at {shard}, one after the other: most likely it needs more memory than there is; "
            "lower execution.compute.workers, or look into the system's log for what its out-of-memory killer ended. "
            "If none was killed, what they printed says why they could not start"
        )


class ComputePool(dg.ConfigurableResource):
    """Maps a function over items with several workers; results come in the order of the items."""

    num_workers: int = Field(default=0, ge=0, description="Workers of a data step; 0: one per CPU core.")
    num_model_workers: int = Field(default=1, ge=0, description="Workers that each hold a model; 0: one per GPU, or one.")

    @abstractmethod
    def map(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        progress: Progress = None,
        *,
        setup: Callable[[], Any] | None = None,
        gpus: float = 0,
    ) -> Iterator[Any]:
        """Yield ``function(item)`` for every item, in order, calling ``progress`` with (done, total).

        With ``setup``, which makes what takes long to load (a model), it is ``function(setup(), item)``: every worker calls
        ``setup`` once, and has ``gpus`` GPUs for itself; there are ``num_model_workers`` of them. Function, setup, items and
        results can be pickled. An item whose worker is killed is begun again elsewhere and costs no other one; so
        what a function writes must appear whole or not at all. Raises what the function raises, at the item's place,
        and WorkerDiedError for an item that four workers died on.
        """

    def check_shared(self, folder: Path) -> None:
        """Raise ValueError where a worker does not see a folder of this machine."""


class LocalPool(ComputePool):
    """Workers are processes of this machine; a single one is this process itself."""

    def map(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        progress: Progress = None,
        *,
        setup: Callable[[], Any] | None = None,
        gpus: float = 0,
    ) -> Iterator[Any]:
        """Yield ``function(item)``, or ``function(setup(), item)``, for every item; see `ComputePool.map`."""
        total = len(items)
        wanted = self.num_workers or os.cpu_count() or 1
        if setup:
            wanted = self.num_model_workers or (len(visible_gpus()) if gpus else 1)
        if not total:
            return
        if min(wanted, total) <= 1:
            run = partial(function, setup()) if setup else function
            yield from counted(map(run, items), total, progress)
            return
        job, own = pickle.dumps((function, setup)), threading.local()
        devices = visible_gpus() if gpus else [""]
        places = itertools.count()

        def run(number: int) -> Any:
            for _ in range(TRIES):
                try:
                    if not hasattr(own, "worker"):
                        own.device = devices[next(places) % len(devices)]
                        own.worker = fresh(own.device)
                    return own.worker.submit(worker.work, items[number]).result()
                except BrokenProcessPool:
                    own.worker = fresh(own.device)
            raise WorkerDiedError(f"shard {number + 1} of {total}")

        def fresh(device: str) -> ProcessPoolExecutor:
            # spawn: workers must not inherit locks or threads of libraries that the caller has loaded
            process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), worker.begin, (job, device))
            processes.callback(process.shutdown)
            return process

        # Each thread has a process for itself: one that is killed takes no other down with it.
        with ExitStack() as processes, ThreadPoolExecutor(min(wanted, total)) as threads:
            yield from counted(threads.map(run, range(total)), total, progress)


def visible_gpus() -> list[str]:
    """Return the GPUs of this machine that this process may use, as CUDA_VISIBLE_DEVICES names them; [""] for none."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        named = ",".join(sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")))
    return named.split(",")


def counted(results: Iterator[Any], total: int, progress: Progress) -> Iterator[Any]:
    """Yield results, telling ``progress`` after each how many there were."""
    for done, result in enumerate(results, 1):
        yield result
        if progress:
            progress(done, total)
