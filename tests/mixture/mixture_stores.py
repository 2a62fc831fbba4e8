"""Token stores whose tokens say where they stand, and mixtures over them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hephaestus_dag.mixture.config import Component, MixtureConfig
from hephaestus_dag.mixture.store import StreamWriter, write_store


def numbered_store(folder: Path, tokens: Mapping[str, int], vocab_size: int = 100_000, tokenizer: str = "") -> Path:
    """A store of streams named ``domain`` or ``domain/source``; each document has 1, 2, 3... tokens and ends with 0."""
    writers = []
    for number, (name, count) in enumerate(tokens.items()):
        domain, _, source = name.partition("/")
        writer = StreamWriter(folder, domain, "train", np.dtype("<u4"), source=source or None)
        values, begin, size = np.arange(count, dtype=np.uint32) + 10_000 * number + 1, 0, 1
        while begin < count:
            size = min(size, count - begin)
            writer.record(hashlib.md5(f"{folder.name} {name} {begin}".encode()).hexdigest(), begin, size, size)
            values[begin + size - 1] = 0
            begin, size = begin + size, size % 7 + 1
        writer.append(values)
        writers.append(writer)
    write_store(folder, vocab_size, writers, tokenizer=tokenizer)
    return folder


def component(name: str, share: float) -> Component:
    """A component named ``domain`` or ``domain/source``."""
    domain, _, source = name.partition("/")
    return Component(source=source, share=share) if source else Component(domain=domain, share=share)


def mixture(tokens: int, shares: Mapping[str, float], length: int = 4, **settings: object) -> MixtureConfig:
    components = tuple(component(name, share) for name, share in shares.items())
    return MixtureConfig.model_validate({"tokens": tokens, "sequence_length": length, "components": components} | settings)
