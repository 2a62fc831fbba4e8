import os
import time
from collections.abc import Iterator

import pytest

from resources.compute import LocalPool


class BrokenShardError(Exception):
    pass


def squared(number: int) -> int:
    return number * number


def slow_first(number: int) -> int:
    """The first item takes longest, so that a pool finishes it last."""
    time.sleep(0.3 if number == 0 else 0)
    return number


def process(_: int) -> int:
    return os.getpid()


def fragile(number: int) -> int:
    if number == 2:
        raise BrokenShardError(f"shard {number} holds no text")
    return number


def deadly(number: int) -> int:
    if number == 2:
        os._exit(9)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_of_the_items(workers: int) -> None:
    assert list(LocalPool(num_workers=workers).map(slow_first, range(6))) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_counts_up_to_the_total(workers: int) -> None:
    seen: list[tuple[int, int]] = []
    assert list(LocalPool(num_workers=workers).map(squared, [3, 1, 2], lambda *at: seen.append(at))) == [9, 1, 4]
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_reaches_the_caller_with_its_words(workers: int) -> None:
    results = LocalPool(num_workers=workers).map(fragile, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(BrokenShardError, match=r"^shard 2 holds no text$"):
        next(results)


def test_a_worker_that_dies_is_an_error_and_no_wait() -> None:
    with pytest.raises(RuntimeError, match="terminated abruptly"):
        list(LocalPool(num_workers=2).map(deadly, range(5)))


def test_two_workers_are_two_other_processes_and_one_is_this_one() -> None:
    assert set(LocalPool(num_workers=1).map(process, range(3))) == {os.getpid()}
    assert os.getpid() not in set(LocalPool(num_workers=2).map(process, range(8)))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_no_items_give_no_results(workers: int) -> None:
    results: Iterator[int] = LocalPool(num_workers=workers).map(squared, [])
    assert list(results) == []


def test_an_impossible_number_of_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="num_workers"):
        LocalPool(num_workers=-1)
