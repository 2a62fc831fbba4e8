from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.evaluation.bfcl.items import sampled_items
from hephaestus_dag.evaluation.bfcl.references import bfcl_references
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.references import Reference, drawn


def reference(number: int) -> Reference:
    return Reference(item_id=f"exam/{number}", category=f"exam/{number % 3}", prompt=f"{number}?", target=" yes")


@given(st.integers(0, 40), st.integers(1, 20), st.integers(0, 5))
def test_draws_are_bounded_by_category_nested_and_in_order(size: int, per_category: int, seed: int):
    all_of_them = [reference(number) for number in range(size)]
    some = drawn(all_of_them, BenchmarkLossConfig(items_per_category=per_category, seed=seed))
    more = drawn(all_of_them, BenchmarkLossConfig(items_per_category=per_category + 1, seed=seed))
    available = Counter(each.category for each in all_of_them)
    assert Counter(each.category for each in some) == Counter({c: min(n, per_category) for c, n in available.items()})
    assert [each for each in more if each in some] == some
    assert drawn(all_of_them, BenchmarkLossConfig(items_per_category=None)) == all_of_them


def test_bfcl_draws_what_the_proxy_runs_score(bfcl_items: Path):
    config = BenchmarkLossConfig(items_per_category=2, seed=3)
    found = list(bfcl_references(bfcl_items, config))
    rows = sampled_items(bfcl_items, 2, 3).to_pylist()
    assert [each.item_id for each in found] == [f"bfcl/{row['item_id']}" for row in rows]
    assert all(each.target and not isinstance(each.prompt, str) and each.prompt[-1]["role"] == "user" for each in found)
    everything = drawn(bfcl_references(bfcl_items, BenchmarkLossConfig()), config)
    assert everything == found
