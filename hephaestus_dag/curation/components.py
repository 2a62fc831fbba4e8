"""Which documents could be near-duplicates of each other: components of the graph in which those that share a band are joined.

Whatever is decided about a document depends on its own component alone, so components can be settled apart. They are found by
alternating two steps until every document is joined to the least of its component and to nothing else: the large star joins
all larger neighbours of a document to the least of its neighbours, the small star all others (Kiveris, Lattanzi, Mirrokni,
Rastogi and Vassilvitskii 2014, "Connected components in MapReduce and beyond"). Each step is one shuffle, and a few do.

A document is known here by the first 8 bytes of its id. Where two have these in common, two components count as one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hephaestus_dag.map_over import MapOver
from hephaestus_dag.shuffle import Exchange, exchange

ENTRY = np.dtype([("key", "u8"), ("node", "u8")])
"""A band with its value, and a document."""
EDGE = np.dtype([("node", "u8"), ("other", "u8")])

Sent = tuple[np.ndarray, np.ndarray]


class Components(NamedTuple):
    """The components of all documents that share a band with another, or with a copy of their own."""

    edges: Exchange
    """Of ``EDGE``, in the part of the node: to what it is joined. See `least`."""
    documents: int
    """Different documents in them."""


def components(entries: Exchange, work: Path, map_over: MapOver) -> Components:
    """Find the components, given every band of every document as ``ENTRY``, in the part of its value.

    In ``work`` lie 32 bytes for each edge of every step.
    """
    parts = entries.parts
    edges = exchange(_Neighbours(entries), range(parts), work / "neighbours", parts, map_over)
    for step in range(1_000):
        loose, documents = np.sum(list(map_over(_Count(edges), range(parts))), axis=0).tolist()
        if not loose:
            return Components(edges, documents)
        large = exchange(_LargeStar(edges), range(parts), work / f"large-star-{step:02d}", parts, map_over)
        edges = exchange(_SmallStar(large), range(parts), work / f"small-star-{step:02d}", parts, map_over)
    raise AssertionError("every step brings documents closer to the least of their component")


def least(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the edges, each once and sorted, where each node's begin, and the least of each node and its neighbours."""
    edges = edges[np.lexsort((edges["other"], edges["node"]))]
    edges = edges[_starts(edges)]
    starts = _starts(edges["node"])
    return edges, starts, np.minimum(edges["node"][starts], edges["other"][starts])


def _starts(values: np.ndarray) -> np.ndarray:
    """Return where the runs of equal values begin."""
    first = np.ones(len(values), np.bool_)
    first[1:] = values[1:] != values[:-1]
    return np.flatnonzero(first)


@dataclass(frozen=True)
class _Neighbours:
    """Joins the documents of one part that have a value of a band in common."""

    entries: Exchange

    def __call__(self, number: int) -> Sent:
        entries = self.entries.received(number)
        entries = entries[np.argsort(entries["key"])]
        starts = _starts(entries["key"])
        sizes = np.diff(starts, append=len(entries))
        shared = np.repeat(sizes > 1, sizes)
        lowest = np.repeat(np.minimum.reduceat(entries["node"], starts), sizes)
        return _both_ways(entries["node"][shared], lowest[shared], self.entries.parts)


@dataclass(frozen=True)
class _Count:
    """Counts, in one part, the documents that are not yet joined to one alone, and all."""

    edges: Exchange

    def __call__(self, number: int) -> tuple[int, int]:
        edges, starts, lowest = least(self.edges.received(number))
        if not len(starts):
            return 0, 0
        others = np.add.reduceat(edges["other"] != edges["node"], starts, dtype=np.int64)
        return int(((lowest < edges["node"][starts]) & (others > 1)).sum()), len(starts)


@dataclass(frozen=True)
class _LargeStar:
    """Joins the larger neighbours of a document to the least of all."""

    edges: Exchange

    def __call__(self, number: int) -> Sent:
        edges, starts, lowest = least(self.edges.received(number))
        lowest = np.repeat(lowest, np.diff(starts, append=len(edges)))
        itself = (edges["other"] == edges["node"]) & (lowest == edges["node"])
        chosen = (edges["other"] > edges["node"]) | itself  # without neighbours nothing else says that there is the document
        return _sent(edges["other"][chosen], lowest[chosen], self.edges.parts)


@dataclass(frozen=True)
class _SmallStar:
    """Joins a document, and its neighbours, none of which is larger, to the least of these."""

    edges: Exchange

    def __call__(self, number: int) -> Sent:
        edges, starts, lowest = least(self.edges.received(number))
        nodes = np.concatenate([edges["other"], edges["node"][starts]])
        lowest = np.concatenate([np.repeat(lowest, np.diff(starts, append=len(edges))), lowest])
        return _both_ways(nodes, lowest, self.edges.parts)


def _both_ways(nodes: np.ndarray, others: np.ndarray, parts: int) -> Sent:
    return _sent(np.concatenate([nodes, others]), np.concatenate([others, nodes]), parts)


def _sent(nodes: np.ndarray, others: np.ndarray, parts: int) -> Sent:
    edges = np.empty(len(nodes), EDGE)
    edges["node"], edges["other"] = nodes, others
    edges, _, _ = least(edges)
    return edges, edges["node"] % np.uint64(parts)
