"""Runs functions over shards with Ray Data, on this machine or on the nodes of a cluster.

All nodes have the same installation, and see the folders of the store under the same names: items are mostly paths.
"""

import logging
import os
import pickle
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from hephaestus_dag.compute_config import ComputeConfig
from resources.compute import TRIES, ComputePool, LocalPool, Progress, WorkerDiedError, counted
from resources.worker import Sealed, opened

SECONDS = 10.0
"""Longest wait for a cluster's port."""
LONGEST_FOLDER = 24
"""Characters of a folder in which Ray's sockets have names of at most 107 bytes, as Linux asks."""
MISSING = "Ray is not installed: pip install 'hephaestus-dag[ray]', or set execution.compute.engine to local"


class RayPool(ComputePool):
    """Workers are Ray tasks, and with a setup Ray actors; without an address on a cluster that ends with the step."""

    address: str = Field(default="", description="Ray cluster; empty: $RAY_ADDRESS, else one on this machine for each step.")
    _own: Path | None = PrivateAttr(default=None)
    """Folder of the cluster that this resource started."""
    _connected: bool = PrivateAttr(default=False)

    def map(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        progress: Progress = None,
        *,
        setup: Callable[[], Any] | None = None,
        gpus: float = 0,
    ) -> Iterator[Any]:
        """Yield ``function(item)``, or ``function(setup(), item)``, for every item; see `ComputePool.map`.

        Raises ValueError for GPUs that the cluster does not have.
        """
        if len(items):
            yield from counted(self._results(function, items, setup, gpus), len(items), progress)

    def check_shared(self, folder: Path) -> None:
        """Raise ValueError where a node of the cluster does not see a folder of this machine."""
        ray = self.connect()
        if self._own:
            return
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-by-all-nodes-") as sign:
            nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
            sees = ray.remote(num_cpus=0, max_retries=0)(os.path.exists)
            strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            asked = [sees.options(scheduling_strategy=strategy(node, soft=False)).remote(sign.name) for node in nodes]
            blind = [where for where, seen in zip(nodes.values(), ray.get(asked), strict=True) if not seen]
        if blind:
            raise ValueError(
                f"{', '.join(blind)} of the Ray cluster cannot see {folder}: put it on a file system that all nodes mount "
                "under the same name, and name it in HEPHAESTUS_STORE, or HEPHAESTUS_CACHE for a store on object storage"
            )

    def connect(self) -> Any:
        """Return the module ray, connected to the cluster, which is started where there is none.

        Raises ImportError without Ray, ConnectionError when nothing answers at the address.
        """
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise ImportError(MISSING) from error
        if self._connected:
            return ray
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells about every start and end
        address = self.address or os.environ.get("RAY_ADDRESS", "")
        threads = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
        options: dict[str, Any] = {"configure_logging": False, "log_to_driver": False}
        if address:
            try:
                _knock(address)
                ray.init(address, runtime_env={"env_vars": threads}, **options)
            except (OSError, RuntimeError, ValueError) as error:
                said = str(error).strip().split("\n")[0]
                raise ConnectionError(
                    f"no Ray cluster can be joined at {address} ({said}): check execution.compute.address and RAY_ADDRESS"
                ) from error
        else:
            folder = tempfile.gettempdir()
            self._own = Path(tempfile.mkdtemp(prefix="ray-", dir=folder if len(folder) <= LONGEST_FOLDER else "/tmp"))
            most = max(self.num_workers, os.cpu_count() or 1)
            try:
                ray.init("local", num_cpus=most, include_dashboard=False, _temp_dir=str(self._own), **options)
            except BaseException:
                self.close()
                raise
        self._connected = True
        return ray

    def close(self) -> None:
        """Leave the cluster, and end it where this resource started it."""
        if self._connected:
            import ray

            ray.shutdown()
            self._connected = False
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)
            self._own = None

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Do so when Dagster is done with the step."""
        self.close()

    def _results(
        self, function: Callable[..., Any], items: Sequence[Any], setup: Callable[[], Any] | None, gpus: float
    ) -> Iterator[Any]:
        ray = self.connect()
        there = ray.cluster_resources()
        if gpus > there.get("GPU", 0):
            raise ValueError("a worker needs a GPU, and the Ray cluster has none: check execution.launcher.num_gpus")
        dead = ray.exceptions.WorkerCrashedError, ray.exceptions.ActorDiedError, ray.exceptions.NodeDiedError
        done = lost = 0
        while done < len(items):
            try:
                for row in self._rows(function, items[done:], setup, gpus).iter_rows():
                    yield opened(row["result"])
                    done, lost = done + 1, 0
            except ray.exceptions.ActorUnavailableError as error:  # Ray gave up on a lost node's actor before it had another
                lost += 1
                if lost == TRIES:
                    raise WorkerDiedError(_after(done, items)) from error
            except (*dead, ray.exceptions.OutOfMemoryError) as error:
                raise WorkerDiedError(_after(done, items)) from error

    def _rows(self, function: Callable[..., Any], items: Sequence[Any], setup: Callable[[], Any] | None, gpus: float) -> Any:
        """Return the dataset of sealed results, one for each item, in order."""
        ray = self.connect()
        there = ray.cluster_resources()
        data = ray.data.from_items([{"item": pickle.dumps(item)} for item in items], override_num_blocks=len(items))
        content = pickle.dumps((function, setup))
        with warnings.catch_warnings():
            # Only so can the retries be bounded; without a bound an item that kills its worker is begun again for ever.
            warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
            if setup:
                room = int(there["GPU"] / gpus if gpus else there["CPU"])
                wanted = self.num_model_workers or (room if gpus else 1)
                compute = ray.data.ActorPoolStrategy(size=max(1, min(wanted, room, len(items))))
                resources = {"num_cpus": 1, "num_gpus": gpus or None, "max_task_retries": TRIES - 1}
                data = data.map(Sealed, fn_constructor_args=(content,), compute=compute, **resources)
            else:
                compute = ray.data.TaskPoolStrategy(self.num_workers or None)
                data = data.map(Sealed(content), compute=compute, num_cpus=1, max_retries=TRIES - 1)
        data.context.execution_options.preserve_order = True
        data.context.enable_progress_bars = False
        return data


def _knock(address: str) -> None:
    """Raise OSError or ValueError when nothing can be at an address: Ray itself would try for a quarter of an hour."""
    if address in ("auto", "local"):
        return
    if "://" in address:
        what = "Ray's client, which Ray Data cannot use" if address.startswith("ray://") else "Ray's job server"
        raise ValueError(f"this is for {what}; run on a node of the cluster, and name host:6379")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("write host:6379, or auto on a node of the cluster")
    socket.create_connection((host, int(port)), SECONDS).close()


def _after(done: int, items: Sequence[Any]) -> str:
    return f"shard {done + 1} of {len(items)} or one after it"


def compute_of(config: ComputeConfig) -> ComputePool:
    """Return the engine of a configuration."""
    if config.engine == "local":
        return LocalPool(num_workers=config.workers, num_model_workers=config.model_workers)
    return RayPool(num_workers=config.workers, num_model_workers=config.model_workers, address=config.address or "")
