import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import shards_to_map as shards

from hephaestus_dag.compute_config import ComputeConfig
from resources.compute import LocalPool, WorkerDiedError
from resources.ray_compute import RayPool, compute_of


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_of_the_items_and_progress_counts_up(workers: int) -> None:
    seen: list[tuple[int, int]] = []
    assert list(LocalPool(num_workers=workers).map(shards.slow_first, range(4), lambda *at: seen.append(at))) == [0, 1, 2, 3]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_reaches_the_caller_as_it_is(workers: int) -> None:
    results = LocalPool(num_workers=workers).map(shards.fragile, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(shards.BrokenShardError, match=r"^shard 2 holds no text$"):
        next(results)


def test_a_killed_worker_costs_its_shard_only(tmp_path: Path) -> None:
    assert list(LocalPool(num_workers=2).map(shards.Noted(tmp_path, kills=2), range(6))) == [0, 10, 20, 30, 40, 50]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-0", "1-0", "2-0", "2-1", "3-0", "4-0", "5-0"]


def test_a_shard_that_kills_every_worker_is_an_error_and_no_wait() -> None:
    with pytest.raises(WorkerDiedError, match=r"4 workers ended at shard 3 of 5.*execution\.compute\.workers"):
        list(LocalPool(num_workers=2).map(shards.deadly, range(5)))


def test_two_workers_are_two_other_processes_and_one_is_this_one() -> None:
    assert set(LocalPool(num_workers=1).map(shards.process, range(3))) == {os.getpid()}
    found = set(LocalPool(num_workers=2).map(shards.process, range(12)))
    assert len(found) == 2
    assert os.getpid() not in found


@pytest.mark.parametrize("workers", [1, 2])
def test_a_setup_is_made_once_in_each_worker_however_many_work_without_one(tmp_path: Path, workers: int) -> None:
    pool = LocalPool(num_workers=5, num_model_workers=workers)
    found = list(pool.map(shards.with_model, range(6), setup=shards.Loaded(tmp_path)))
    assert [row[:2] for row in found] == [("model", number) for number in range(6)]
    assert len({process for *_, process in found}) == len(list(tmp_path.iterdir())) == workers
    assert (found[0][2] == os.getpid()) == (workers == 1)


def test_each_worker_with_a_model_has_a_gpu_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    pool = LocalPool(num_model_workers=0)
    assert set(pool.map(shards.gpu, range(8), setup=shards.Loaded(tmp_path), gpus=1)) == {"3", "5"}


def test_an_error_of_a_setup_reaches_the_caller_as_it_is() -> None:
    for workers in (1, 2):
        with pytest.raises(shards.BrokenShardError, match="no model"):
            list(LocalPool(num_model_workers=workers).map(shards.with_model, range(3), setup=shards.broken_setup))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_no_items_give_no_results(workers: int) -> None:
    results: Iterator[int] = LocalPool(num_workers=workers).map(shards.squared, [])
    assert list(results) == []


def test_an_impossible_number_of_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="num_workers"):
        LocalPool(num_workers=-1)


def test_the_recipe_chooses_the_engine() -> None:
    local = compute_of(ComputeConfig(workers=3, model_workers=2))
    assert isinstance(local, LocalPool)
    assert (local.num_workers, local.num_model_workers) == (3, 2)
    cluster = compute_of(ComputeConfig(engine="ray", workers=3, address="head:6379"))
    assert isinstance(cluster, RayPool)
    assert (cluster.num_workers, cluster.num_model_workers, cluster.address) == (3, 1, "head:6379")
    for address in ("head", "ray://head:10001"):
        with pytest.raises(ValueError, match=rf"address '{address}' is none.*host:6379"):
            ComputeConfig(engine="ray", address=address)


def test_a_missing_ray_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'hephaestus-dag\[ray\]'"):
        list(RayPool().map(shards.squared, range(2)))
