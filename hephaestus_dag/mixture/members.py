"""Which training streams of some token stores the components of a mixture draw on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hephaestus_dag.mixture.config import Component, MixtureConfig
from hephaestus_dag.mixture.store import MixtureError, Stream, TokenStore


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStream:
    """A training stream as a part of a mixture."""

    name: str
    store: int
    """Index of its token store in the mixture."""
    component: str
    domain: str
    source: str | None
    windows: int
    """Training sequences that do not overlap."""
    dtype: str
    masked: bool
    replays: str | None = None
    """Where the component is the replay: the stream's component in the replayed mixture."""


def distinct_stores(stores: Iterable[TokenStore]) -> list[TokenStore]:
    """Return each store once, in order. Raises MixtureError when they hold tokens of several tokenizers."""
    found = list({store.fingerprint: store for store in stores}.values())
    sizes = sorted({store.vocab_size for store in found})
    if len(sizes) > 1:
        raise MixtureError(f"stores: vocabularies of {sizes} entries; tokenise all documents with one tokenizer")
    if len({store.tokenizer for store in found}) > 1:
        raise MixtureError("stores: tokens of several tokenizers; tokenise all documents with one tokenizer")
    return found


def members(config: MixtureConfig, stores: Sequence[TokenStore]) -> tuple[dict[str, list[PlannedStream]], list[dict[str, Any]]]:
    """Return the streams of each component, in the order of stores and names, and those that are too short to be shown.

    A source that is a component itself is no part of its domain's. Raises MixtureError when a component has no stream, or
    when one is packed for sequences of another length.
    """
    sources = {component.source: component.name for component in config.components if component.source}
    domains = {component.domain: component.name for component in config.components if component.domain}
    train = [(i, name, s) for i, store in enumerate(stores) for name, s in sorted(store.streams.items()) if s.split == "train"]
    found: dict[str, list[PlannedStream]] = {component.name: [] for component in config.components}
    too_short: list[dict[str, Any]] = []
    for index, name, stream in train:
        component = sources.get(stream.source or "") or domains.get(stream.domain)
        if component is None:
            continue
        if stream.sequence_length not in (None, config.sequence_length):
            raise MixtureError(
                f"stream {name} of store {index} is packed for sequences of {stream.sequence_length} tokens; "
                f"set sequence_length to that, not to {config.sequence_length}, or pack it again"
            )
        windows = max(stream.tokens - 1, 0) // config.sequence_length
        if not windows:
            told = {"source": stream.source or name, "domain": stream.domain, "store": index, "tokens": stream.tokens}
            too_short.append(told | {"component": component})
            continue
        found[component].append(
            PlannedStream(
                name=name,
                store=index,
                component=component,
                domain=stream.domain,
                source=stream.source,
                windows=windows,
                dtype=stores[index].dtype.name,
                masked=stream.masked,
            )
        )
    for component in config.components:
        if not found[component.name]:
            short = [told["tokens"] for told in too_short if told["component"] == component.name]
            raise MixtureError(_why_nothing(component, config.sequence_length, short, [stream for _, _, stream in train]))
    return found, too_short


def _why_nothing(component: Component, length: int, short: Sequence[int], train: Sequence[Stream]) -> str:
    name = component.name
    begin = f"component {name}: "
    if short:
        held = ", ".join(f"{tokens:,}" for tokens in short)
        return (
            f"{begin}its streams have {held} tokens, a sequence needs {length + 1:,}; add {name} documents or shorten sequences"
        )
    if component.source:
        known = ", ".join(sorted({stream.source for stream in train if stream.source})) or "none"
        return f"{begin}no store has a training stream of the source {name}; the sources are: {known}"
    if any(stream.domain == name for stream in train):
        return f"{begin}every source of {name} is a component of its own; leave {name} out, or one of them"
    return f"{begin}no store has a training stream of {name}; add {name} documents"
