"""Two Ray nodes on this machine; one is killed in the middle, with all that runs on it."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import shards_to_map as shards

from resources.ray_compute import RayPool

pytest.importorskip("ray", reason="Ray is not installed: pip install 'hephaestus-dag[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


UNNOTICED = {"health_check_period_ms": 5_000, "health_check_failure_threshold": 4}
"""Settings of a cluster that takes 15 seconds or more to see that a node is gone; callers of its actors give up within 5."""


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A cluster, its second node added last; each has one CPU. The parameter gives settings."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    settings = {"_system_config": request.param} if hasattr(request, "param") else {}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **settings})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def processes_of(node: Any) -> list[psutil.Process]:
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [raylet, *raylet.children(recursive=True)]


def test_a_killed_node_costs_only_what_ran_on_it(two_nodes: Any, tmp_path: Path) -> None:
    (second,) = two_nodes.worker_nodes
    pool = RayPool(address=two_nodes.address)
    pool.check_shared(tmp_path)
    results = pool.map(shards.Begun(tmp_path), range(40))
    found = [next(results)]
    while not (there := {process.pid for process in processes_of(second)} & begun(tmp_path)):
        found.append(next(results))
    for process in processes_of(second):
        os.kill(process.pid, signal.SIGKILL)
    found += results
    pool.close()
    assert found == [number * 10 for number in range(40)]
    assert len(there) == 1, "one worker of the second node had begun"
    again = [number for number in range(40) if len(list(tmp_path.glob(f"{number}-*"))) > 1]
    assert len(again) <= 3, "what was running there, and at most what had not been fetched from there"


def test_the_model_of_a_killed_node_is_loaded_elsewhere(two_nodes: Any, tmp_path: Path) -> None:
    (second,) = two_nodes.worker_nodes
    pool = RayPool(address=two_nodes.address, num_model_workers=2)
    results = pool.map(shards.slow_with_model, range(12), setup=shards.Loaded(tmp_path))
    found = [next(results), next(results)]
    for process in processes_of(second):
        os.kill(process.pid, signal.SIGKILL)
    found += results
    pool.close()
    assert found == [number * 10 for number in range(12)]


@pytest.mark.parametrize("two_nodes", [UNNOTICED], indirect=True)
def test_an_actor_that_ray_gives_up_on_is_met_with_the_rest_of_the_items(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (second,) = two_nodes.worker_nodes
    starts: list[int] = []
    rows = RayPool._rows

    def counted(pool: RayPool, function: Any, items: Any, *rest: Any) -> Any:
        starts.append(len(items))
        return rows(pool, function, items, *rest)

    def kill_once_at_work() -> None:
        while not {process.pid for process in processes_of(second)} & begun(tmp_path):
            time.sleep(0.05)
        for process in processes_of(second):
            os.kill(process.pid, signal.SIGKILL)
        (tmp_path / "go-on").write_text("all others")

    monkeypatch.setattr(RayPool, "_rows", counted)
    pool = RayPool(address=two_nodes.address, num_model_workers=2)
    with ThreadPoolExecutor(1) as thread:
        killed = thread.submit(kill_once_at_work)
        found = list(pool.map(shards.HeldWithModel(tmp_path), range(6), setup=str))
        killed.result()
    pool.close()
    assert found == [number * 10 for number in range(6)]
    assert len(starts) > 1, "Ray gave up, and what was not yet done was begun again"


def begun(folder: Path) -> set[int]:
    """Return the processes that are at an item now."""
    return {int(path.name.split("-")[1]) for path in folder.glob("[0-9]*-*") if not path.read_bytes()}
