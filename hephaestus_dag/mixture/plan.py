"""Plan a mixture: which window of which stream is the i-th training sequence.

The shares hold at every prefix of the mixture, not only at its end: after any number of sequences each domain is
less than one sequence away from its share.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.mixture.config import MixtureConfig
from hephaestus_dag.mixture.store import MixtureError, TokenStore

ROW = np.dtype([("stream", "<u2"), ("offset", "<i8")])


@dataclass(frozen=True, slots=True)
class _Source:
    """One training stream that belongs to a component."""

    name: str
    store: int
    component: str
    unique: int
    """Windows that do not overlap."""
    weight: Fraction
    dtype: str
    masked: bool


def apportion(weights: Sequence[int], steps: int) -> np.ndarray:
    """Return which of several weighted parts takes each step, uint16 of shape [steps].

    At every prefix k the count of part i differs from ``k * weights[i] / sum(weights)`` by less than one. This is the
    optimal rule of Tijdeman, "The chairman assignment problem" (1980), in exact integers: among the parts that may
    take the step already, the one whose next turn is due first takes it. The pattern has the period ``sum(weights)``.
    """
    divisor = math.gcd(*weights)
    weights = [weight // divisor for weight in weights]
    parts, period = len(weights), sum(weights)
    if parts == 1:
        return np.zeros(steps, np.uint16)
    # A part's next turn (its n-th, from 0) may start at step period (1 + scale n) / (scale weight) and is due at
    # period (scale (n + 1) - 1) / (scale weight); `due` holds (scale (n + 1) - 1) / weight over the common denominator.
    scale, common = 2 * parts - 2, math.lcm(*weights)
    taken = [0] * parts
    start = [-(-period // (scale * weight)) for weight in weights]
    due = [(scale - 1) * (common // weight) for weight in weights]
    stride = [scale * (common // weight) for weight in weights]
    pattern = np.empty(min(period, steps), np.uint16)
    for step in range(1, len(pattern) + 1):
        chosen, earliest = -1, 0
        for part in range(parts):
            if start[part] <= step and (chosen < 0 or due[part] < earliest):
                chosen, earliest = part, due[part]
        pattern[step - 1] = chosen
        taken[chosen] += 1
        due[chosen] += stride[chosen]
        start[chosen] = -(-period * (1 + scale * taken[chosen]) // (scale * weights[chosen]))
    return np.resize(pattern, steps)


def visits(unique: int, count: int, seed: Sequence[int]) -> np.ndarray:
    """Return which window each of ``count`` visits to a stream takes, int64 of shape [count]: one permutation per epoch."""
    epochs = [np.random.default_rng([*seed, epoch]).permutation(unique) for epoch in range(-(-count // unique))]
    return np.concatenate(epochs)[:count] if epochs else np.empty(0, np.int64)


def plan_mixture(config: MixtureConfig, stores: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Write sequences.npy and mixture.json for a token budget over the training streams of some token stores.

    A component draws on every stream of its domain, in proportion to the streams' windows times their weights. A stream is
    visited in a seeded order, another one each epoch. Returns the figures per component, as mixture.json has them.

    Raises MixtureError when the stores do not fit together, or when a component would need more than ``max_epochs``.
    """
    length = config.sequence_length
    opened = [TokenStore(store) for store in stores]
    sources = _sources(config, opened)
    total = config.tokens // length
    shares = [Fraction(str(component.share)) for component in config.components]
    denominator = math.lcm(*(share.denominator for share in shares))
    component_of = apportion([int(share * denominator) for share in shares], total)

    rows = np.empty(total, ROW)
    figures: dict[str, dict[str, Any]] = {}
    for index, component in enumerate(config.components):
        places = np.flatnonzero(component_of == index)
        members = [number for number, source in enumerate(sources) if source.component == component.domain]
        unique = sum(sources[number].unique for number in members)
        _check_repetition(config, component.domain, unique, len(places))
        if len(places):
            scale = math.lcm(*(sources[number].weight.denominator for number in members))
            source_of = apportion([int(sources[n].unique * sources[n].weight * scale) for n in members], len(places))
            for part, number in enumerate(members):
                where = places[source_of == part]
                _check_weight(config, sources[number], len(where))
                rows["stream"][where] = number
                rows["offset"][where] = visits(sources[number].unique, len(where), (config.seed, number)) * length
        figures[component.domain] = {
            "share": component.share,
            "tokens": len(places) * length,
            "sequences": len(places),
            "unique_tokens": unique * length,
            "epochs": round(len(places) / unique, 6) if unique else 0.0,
        }

    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "sequences.npy", rows)
    head = {
        "sequence_length": length,
        "num_sequences": total,
        "seed": config.seed,
        "stores": [store.fingerprint for store in opened],
        "streams": [
            {"name": s.name, "store": s.store, "component": s.component, "dtype": s.dtype, "masked": s.masked} for s in sources
        ],
        "components": figures,
    }
    (folder / "mixture.json").write_text(json.dumps(head, indent=2, sort_keys=True) + "\n")
    return {"num_sequences": total, "tokens": total * length, "components": figures}


def _sources(config: MixtureConfig, stores: Sequence[TokenStore]) -> list[_Source]:
    """Return the training streams that the components draw on, in the order of components, stores and names."""
    sizes = sorted({store.vocab_size for store in stores})
    if len(sizes) > 1:
        raise MixtureError(f"stores: vocabularies of {sizes} entries; tokenise all documents with one tokenizer")
    sources = []
    for component in config.components:
        for index, store in enumerate(stores):
            for name, stream in sorted(store.streams.items()):
                if stream.domain != component.domain or stream.split != "train":
                    continue
                if stream.sequence_length not in (None, config.sequence_length):
                    raise MixtureError(
                        f"stream {name} of store {index} is packed for sequences of {stream.sequence_length} tokens; "
                        f"set sequence_length to that, not to {config.sequence_length}, or pack it again"
                    )
                unique = max(stream.tokens - 1, 0) // config.sequence_length
                if unique:
                    weight = Fraction(str(stream.weight))
                    sources.append(_Source(name, index, component.domain, unique, weight, store.dtype.name, stream.masked))
    return sources


def _check_weight(config: MixtureConfig, source: _Source, visits: int) -> None:
    """Streams of one weight repeat as often as their component; beside a smaller weight one may exceed the cap alone."""
    if visits > source.unique * config.max_epochs + 1:
        raise MixtureError(
            f"component {source.component}: sources of weight {float(source.weight):g} would be shown "
            f"{visits / source.unique:.2f} times, max_epochs is {config.max_epochs:g}; "
            "bring the weights of the sources closer together, or raise max_epochs"
        )


def _check_repetition(config: MixtureConfig, domain: str, unique: int, needed: int) -> None:
    available = math.floor(unique * config.max_epochs + 1e-9)
    if needed <= available:
        return
    length = config.sequence_length
    allowed = int(config.tokens * available / needed)
    remedy = (
        f"add {domain} documents, lower tokens to {allowed:,} or the share of {domain}, "
        f"or raise max_epochs to {math.ceil(100 * needed / unique) / 100:g}"
        if unique
        else f"no store has a training stream of {domain} as long as one sequence; add {domain} documents or shorten sequences"
    )
    raise MixtureError(
        f"component {domain}: needs {needed * length:,} tokens, {available * length:,} are available "
        f"({unique * length:,} unique, max_epochs {config.max_epochs:g}), {(needed - available) * length:,} short; {remedy}"
    )
