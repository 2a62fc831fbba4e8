"""Mine a web corpus exactly: every query against every page, in one pass over the pages, without an index.

Two caps decide which of the pairs that score above the threshold are matches, in this order:

1. a page keeps its best ``max_queries_per_document`` queries (of equal scores the lower query),
2. a query keeps the best ``neighbours`` of the pages that kept it (of equal scores the lower row).

Pages come in tiles that meet all queries at once, so a page's part is final when its tile is done. Only the running lists
of the queries stay: memory is O(queries x neighbours + tile), whatever the number of pages.

Two bounds spare most of the work and change nothing in the result:

**Bar of a query** (for the second cap). Once a query holds ``neighbours`` pages, let its bar be the score of the last of
them, else the threshold. Pages come by ascending row, so a later page that scores the bar or less stands behind all that
the query holds, and what it holds is only ever replaced by better: such a pair cannot be a match. It still takes a place of
its page. So the bar never enters the first cap: it says which *pages* can be passed over (those where no query exceeds its
bar bring no match, hence nobody needs to know who took their places), and it is applied to single pairs after the first cap.

**Floor of a page** (for the first cap). Split the queries into disjoint groups and take the best score of each: the
``max_queries_per_document``-th largest of these maxima is a score that at least so many different queries reach. A query
below has that many strictly better ones, so it is not among the page's best, and whoever is better than a query at or above
the floor is above the floor too. So the first cap decided among the pairs at or above the floor is the first cap decided
among all. Where the floor is below the threshold, the threshold replaces it by the same argument.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hephaestus_dag.retrieval.vectors import Vectors

if TYPE_CHECKING:
    from torch import Tensor

TILE_SCORES = {"cpu": 2**20, "cuda": 2**27}
"""Scores computed at a time: on a processor they stay in its cache, on a graphics card they fill it."""
MIN_TILE_ROWS = 256
WORD = 8
"""Booleans that are looked at as one integer."""
MIN_ROOM = 4_096
"""New pairs that wait at least before the lists are pruned."""
GROUPS_PER_PLACE = 4
"""Groups of queries for each place of a page: more make the floor sharper, and dearer."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of query and page, by query, best first."""

    query: np.ndarray
    """int64: row of the query matrix"""
    row: np.ndarray
    """int64: row of the page's vector"""
    score: np.ndarray
    """float32"""

    def __len__(self) -> int:
        return len(self.query)


def mine(
    queries: np.ndarray,
    pages: Vectors,
    neighbours: int,
    max_queries_per_document: int,
    threshold: float,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Matches:
    """Return all matches of queries (Q, d) among the pages; see the module for what counts.

    Scores are float32 dot products. ``progress`` is told pages done and pages in all.
    Raises ValueError when the dimensions differ or a query is not finite.
    """
    import torch

    check_queries(queries, pages)
    columns = torch.zeros((pages.dimension, -(-len(queries) // WORD) * WORD))
    columns[:, : len(queries)] = torch.from_numpy(np.array(queries, dtype=np.float32)).T
    columns = columns.to(device)
    lists = QueryLists(columns.shape[1], neighbours, threshold, device)
    tile_rows = max(MIN_TILE_ROWS, TILE_SCORES[columns.device.type] // columns.shape[1])
    lowest = float(np.nextafter(np.float32(threshold), np.float32(np.inf)))
    with torch.inference_mode():
        for first, block in pages.blocks():
            for start in range(0, len(block), tile_rows):
                tile = torch.from_numpy(block[start : start + tile_rows].copy()).to(device)  # what is mapped is read-only
                scores = tile @ columns
                scores[:, len(queries) :] = -torch.inf  # the padding to whole words
                page, query, score = page_matches(scores, lists.bars, lowest, max_queries_per_document)
                lists.add(query, page + (first + start), score)
            if progress:
                progress(first + len(block), len(pages))
        return lists.result()


def capped(query: np.ndarray, row: np.ndarray, score: np.ndarray, neighbours: int, max_queries_per_document: int) -> Matches:
    """Return the matches among some pairs above the threshold, each named once: both caps, in the order of `mine`."""
    import torch

    order = np.lexsort((query, row))
    query, row, score = query[order].astype(np.int64), row[order].astype(np.int64), score[order].astype(np.float32)
    places = best_of_each(torch.from_numpy(row), torch.from_numpy(score), max_queries_per_document).numpy()
    best = best_of_each(torch.from_numpy(query[places]), torch.from_numpy(score[places]), neighbours).numpy()
    return Matches(query[places[best]], row[places[best]], score[places[best]])


def check_queries(queries: np.ndarray, pages: Vectors) -> None:
    """Raise ValueError when queries cannot search these pages."""
    if not len(queries):
        raise ValueError("there are no queries: nothing can search")
    if queries.ndim != 2 or queries.shape[1] != pages.dimension:
        raise ValueError(f"queries of shape {queries.shape} cannot search {pages.folder}, whose dimension is {pages.dimension}")
    if not np.isfinite(queries).all():
        raise ValueError(f"{int((~np.isfinite(queries).all(axis=1)).sum())} queries are not finite: encode them again")


def page_matches(scores: "Tensor", bars: "Tensor", lowest: float, limit: int) -> tuple["Tensor", "Tensor", "Tensor"]:
    """Return (page, query, score) of the pairs above their query's bar that are among the best ``limit`` of their page.

    ``scores`` holds one row a page and one column a query; ``lowest`` is the least score above the threshold.
    """
    import torch

    above = (scores > bars).view(torch.uint8).amax(dim=1)  # any(dim=1), nine times as fast
    pages = above.nonzero().squeeze(1)
    if 2 * len(pages) < len(scores):
        scores = scores[pages]
    else:  # not worth a copy
        pages = torch.arange(len(scores), device=scores.device)
    local, query = few_true(scores >= page_floors(scores, limit).clamp(min=lowest))
    score = scores[local, query]
    best = best_of_each(local, score, limit)
    best = best[score[best] > bars[query[best]]]
    return pages[local[best]], query[best], score[best]


def page_floors(scores: "Tensor", limit: int) -> "Tensor":
    """Return for each row a score that at least ``limit`` of its columns reach, shape (rows, 1); -inf where there are fewer."""
    import torch

    rows, columns = scores.shape
    if columns <= limit:
        return torch.full((rows, 1), -torch.inf, device=scores.device)
    groups = min(columns, GROUPS_PER_PLACE * limit)
    size = columns // groups
    maxima = scores[:, : groups * size].view(rows, size, groups).amax(dim=1)
    return maxima.topk(limit, dim=1).values[:, -1:]


def few_true(mask: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Return ``mask.nonzero(as_tuple=True)``, several times as fast where little is true; columns come in whole words."""
    import torch

    row, word = mask.view(torch.int64).nonzero(as_tuple=True)
    hit, place = mask.view(len(mask), mask.shape[1] // WORD, WORD)[row, word].nonzero(as_tuple=True)
    return row[hit], word[hit] * WORD + place


def best_of_each(group: "Tensor", score: "Tensor", limit: int) -> "Tensor":
    """Return positions of the ``limit`` best entries of each group, by group, best first; of equals the earlier is better.

    ``group`` holds integers from 0 to below 2**31.
    """
    import torch

    # One sort of integers: the bits of a float32 order like the number once those of negative ones are flipped.
    bits = (score + 0.0).view(torch.int32)  # adding 0.0 makes -0.0 the same as 0.0
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    order = torch.sort((group << 32) - ascending.long(), stable=True).indices
    ordered = group[order]
    keep = torch.ones_like(ordered, dtype=torch.bool)
    keep[limit:] = ordered[limit:] != ordered[:-limit]
    return order[keep]


class QueryLists:
    """The best pages of every query so far. Pages must be added by ascending row."""

    def __init__(self, num_queries: int, neighbours: int, threshold: float, device: str) -> None:
        import torch

        self.neighbours = neighbours
        self.bars = torch.full((num_queries,), threshold, dtype=torch.float32, device=device)
        empty = torch.empty(0, dtype=torch.int64, device=device)
        self.kept = (empty, empty, torch.empty(0, dtype=torch.float32, device=device))
        self.added: list[tuple[Tensor, Tensor, Tensor]] = []
        self.num_added = 0
        # Waiting for as many new pairs as the lists hold makes pruning cost a constant per pair; the first lists fill
        # sooner, since the bars they raise spare the most.
        self.room = max(MIN_ROOM, num_queries * neighbours // 2)

    def add(self, query: "Tensor", row: "Tensor", score: "Tensor") -> None:
        """Add pairs; rows must not lie before rows added earlier."""
        if len(query):
            self.added.append((query, row, score))
            self.num_added += len(query)
        if self.num_added > self.room:
            self.prune()

    def prune(self) -> None:
        """Keep the best ``neighbours`` of every query, and raise the bars of full lists."""
        import torch

        query, row, score = (torch.cat(column) for column in zip(self.kept, *self.added, strict=True))
        best = best_of_each(query, score, self.neighbours)
        query, row, score = self.kept = (query[best], row[best], score[best])
        self.added, self.num_added = [], 0
        last = self.neighbours - 1
        full = torch.nonzero(query[last:] == query[: max(0, len(query) - last)]).squeeze(1) + last
        self.bars[query[full]] = score[full]

    def result(self) -> Matches:
        """Return what the queries hold."""
        self.prune()
        query, row, score = (column.cpu().numpy() for column in self.kept)
        return Matches(query, row, score)
