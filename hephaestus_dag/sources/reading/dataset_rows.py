"""Rows of data sets by their repository id, or of a local folder, streamed with the library ``datasets``, shard by shard."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from datasets import IterableDataset, load_dataset

from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.remote import dataset_place

_SHARD = re.compile(r"/(\d+)-of-(\d+)$")


def list_shards(config: SourceConfig) -> list[str]:
    """Return one item per shard: ``hf:owner/name@revision/default/train/00003-of-00010``."""
    (root,) = config.roots()
    total = _open(*_key(config)).num_shards
    place = f"{config.subset or 'default'}/{config.split or 'train'}"
    return [root.item(f"{place}/{number:05d}-of-{total:05d}") for number in range(total)]


def read_shard(config: SourceConfig, item: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard; pictures and sounds stay as they are stored.

    Raises ValueError for an item that names no shard.
    """
    match = _SHARD.search(item)
    if not match:
        raise ValueError(f"item {item!r} names no shard of source {config.name!r}")
    rows = _open(*_key(config))
    rows = rows.shard(num_shards=int(match[2]), index=int(match[1]))
    if columns is not None and rows.column_names:
        rows = rows.select_columns([name for name in columns if name in rows.column_names])
    yield from rows


def _key(config: SourceConfig) -> tuple[str, str | None, str | None, str]:
    return (*dataset_place(config), config.subset, config.split or "train")


@lru_cache(maxsize=8)
def _open(place: str, revision: str | None, subset: str | None, split: str) -> IterableDataset:
    return load_dataset(place, name=subset, split=split, revision=revision, streaming=True).decode(False)
