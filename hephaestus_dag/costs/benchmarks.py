"""Costs of the benchmarks' items, and how many of them there are."""

from hephaestus_dag.costs.amount import Amount, at_most, unknown
from hephaestus_dag.costs.book import Book
from hephaestus_dag.evaluation.bfcl.config import BFCL_CATEGORIES, MULTI_TURN
from hephaestus_dag.recipe import Recipe

_COUNTS = (400, 100, 50, 200, 200, 200, 240, 258, 1_053, 16, 24, 884, 16, 200, 200, 200, 200)
BFCL_ITEMS: dict[str, int] = dict(zip(BFCL_CATEGORIES, _COUNTS, strict=True))
"""Items of the official release by category."""


def benchmark_costs(book: Book) -> None:
    """Enter the assets of the group benchmarks."""
    items = Amount(float(sum(BFCL_ITEMS[name] for name in book.recipe.evaluation.bfcl.categories)))
    disk = unknown("the index holds what the kept-out benchmarks hold")
    book.add("benchmark_items", "benchmarks", documents=items, disk=disk)
    book.add("benchmark_matches", "benchmarks", disk=at_most(1e8), note="on the CPU")


def num_answers(recipe: Recipe, per_category: int | None) -> int:
    """Return how many reference answers of BFCL are scored: irrelevance, relevance and conversations have none."""
    categories = [name for name in recipe.evaluation.bfcl.categories if name not in MULTI_TURN]
    answered = (BFCL_ITEMS[category] for category in categories if "relevance" not in category)
    return sum(min(count, per_category or count) for count in answered)
