"""Keys and values of running sequences: room to grow, joining and leaving a batch, a prefix shared by its rows.

Rows are aligned at the right edge; what lies left of a shorter row is masked and never read.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 128
"""Positions by which a full buffer grows: until then, a step writes its own keys and values and copies no others."""


class GrowingLayer(DynamicLayer):
    """One layer's keys and values [rows, heads, positions, size]: views of buffers with room at the end."""

    def __init__(self, *states: Sequence[Tensor]) -> None:
        """Begin with the keys of some batches one below the other, and their values, each at the right edge."""
        super().__init__()
        if states:
            self._own([_stacked(parts) for parts in states], max(part.shape[2] for part in states[0]))

    def _own(self, buffers: Sequence[Tensor], length: int) -> None:
        self.is_initialized = True
        self.buffers = buffers
        self.keys, self.values = (buffer[:, :, :length] for buffer in buffers)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new positions and return all of them."""
        new = (key_states, value_states)
        if not self.is_initialized:
            self._own([_stacked([states[:, :, :0]]) for states in new], 0)
        assert self.keys is not None
        assert self.values is not None
        used, length = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        if length > self.buffers[0].shape[2]:
            self._own([_stacked([states], length) for states in (self.keys, self.values)], used)
        for buffer, states in zip(self.buffers, new, strict=True):
            buffer[:, :, used:length] = states
        self._own(self.buffers, length)
        return self.keys, self.values


def _stacked(parts: Sequence[Tensor], capacity: int = 0) -> Tensor:
    """Return a buffer with the parts [rows, heads, positions, size] one below the other, and room at its end."""
    length = max(part.shape[2] for part in parts)
    first = parts[0]
    shape = (sum(len(part) for part in parts), first.shape[1], max(length, capacity) + ROOM, first.shape[3])
    buffer, row = first.new_zeros(shape), 0
    for part in parts:
        buffer[row : row + len(part), :, length - part.shape[2] : length] = part
        row += len(part)
    return buffer


def empty_cache() -> Cache:
    """Return a cache that holds nothing yet."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def expanded(prefix: Cache, rows: int) -> Cache:
    """Return a cache of ``rows`` rows that all begin with the one row of ``prefix``."""
    return _cache([_states(layer, slice(None), 0, rows)] for layer in prefix.layers)


def joined(caches: Sequence[Cache]) -> Cache:
    """Return the rows of some caches as one, aligned at the right edge."""
    return _cache([_states(layer) for layer in layers] for layers in zip(*(cache.layers for cache in caches), strict=True))


def selected(cache: Cache, rows: Tensor, start: int) -> Cache:
    """Return some rows of a cache, without the positions before ``start``."""
    return _cache([_states(layer, rows, start)] for layer in cache.layers)


def first_positions(cache: Cache, length: int) -> Cache:
    """Return the rows of a cache up to a position."""
    return _cache([_states(layer, end=length)] for layer in cache.layers)


def size_of(cache: Cache) -> int:
    """Return the bytes that a cache made here holds, its room to grow included."""
    return sum(buffer.nbytes for layer in cache.layers if isinstance(layer, GrowingLayer) for buffer in layer.buffers)


def _states(
    layer: Any, rows: Any = slice(None), start: int = 0, copies: int = -1, end: int | None = None
) -> tuple[Tensor, Tensor]:
    keys, values = (states[rows, :, start:end].expand(copies, -1, -1, -1) for states in (layer.keys, layer.values))
    return keys, values


def _cache(layers: Any) -> Cache:
    return Cache(layers=[GrowingLayer(*zip(*parts, strict=True)) for parts in layers])


def positions_of(mask: Tensor) -> Tensor:
    """Return the position of each token in its row, int64 like the mask [rows, positions]; 0 where nothing is."""
    return (torch.cumsum(mask, 1) - 1).clamp(min=0)
