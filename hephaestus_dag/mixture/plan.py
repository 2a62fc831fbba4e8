"""Plan a mixture: which window of which stream is the i-th training sequence.

The shares hold at every prefix of the mixture, not only at its end: after any number of sequences each component is
less than one sequence away from its share of them. So is each source from its part of what its component has had by then,
and each stream from its part of what its source has had.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.mixture.apportion import share_out, visits
from hephaestus_dag.mixture.config import MixtureConfig
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.members import PlannedStream, distinct_stores, members
from hephaestus_dag.mixture.shown import shown_sources
from hephaestus_dag.mixture.store import MixtureError, TokenStore
from hephaestus_dag.whole_folder import whole_file

ROW = np.dtype([("stream", "<u2"), ("offset", "<i8")])
REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Replay:
    """A mixture whose beginning is shown again, and the token stores that it was planned over."""

    mixture: Path
    stores: Sequence[Path]


def plan_mixture(config: MixtureConfig, stores: Sequence[Path], folder: Path, replay: Replay | None = None) -> dict[str, Any]:
    """Write sequences.npy and mixture.json for a token budget over the training streams of some token stores.

    A component of a source draws on all streams of that source, one of a domain on those of the domain's sources that are
    no components themselves; its sources take part in proportion to their windows times their weights. A stream is visited
    in a seeded order, another one each epoch, in windows that do not overlap. What is never shown as input: the tokens
    after a stream's last window, ``sequence_length`` at most, and the streams that are too short for one window, which are
    told under ``too_short``.

    With ``replay_share`` the first sequences of the replayed mixture come in between, in their order and in that share; the
    other shares divide the rest. That mixture keeps its shares at every prefix, so its replayed sequences do.

    Returns what mixture.json tells: figures per component (of ``replay``, the unique tokens are those of the replayed
    mixture), ``sources`` as `shown_sources` counts them, and ``too_short``.

    Raises MixtureError when the stores do not fit together, when a component has nothing to show, when the replayed mixture
    is too short or has another sequence length, and when a component or a source, replayed sequences included, would be
    shown more than ``max_epochs`` times.
    """
    length, total = config.sequence_length, config.tokens // config.sequence_length
    own = distinct_stores(map(TokenStore, stores))
    replayed = _replayed(config, replay)
    opened = distinct_stores([*own, *(replayed.stores if replayed else ())])
    streams_of, too_short = members(config, own)

    shares = _shares(config)
    places = share_out(np.arange(total), shares)
    rows, streams = np.empty(total, ROW), list[PlannedStream]()
    components: dict[str, dict[str, Any]] = {}
    for component, share, where in zip(config.components, shares, places, strict=False):
        unique = sum(stream.windows for stream in streams_of[component.name])
        _check_component(config, component.name, share, unique, len(where))
        for stream, mine in _divided(streams_of[component.name], where, config.weights):
            rows["stream"][mine] = len(streams)
            rows["offset"][mine] = visits(stream.windows, len(mine), (config.seed, len(streams))) * length
            streams.append(stream)
        components[component.name] = _figures(share, len(where), unique, length)
    if replayed:
        _check_replay(config, replayed, len(places[-1]))
        again = replayed.rows[: len(places[-1])]
        rows["stream"][places[-1]] = again["stream"] + len(streams)
        rows["offset"][places[-1]] = again["offset"]
        streams += _streams_again(replayed, opened)
        components[REPLAY] = _figures(shares[-1], len(again), replayed.num_sequences, length)
    _check_sources(config, streams, rows)

    told = {
        "num_sequences": total,
        "components": components,
        "sources": shown_sources(opened, streams, rows, length),
        "too_short": too_short,
    }
    head = {
        "sequence_length": length,
        "seed": config.seed,
        "stores": [store.fingerprint for store in opened],
        "streams": [asdict(stream) for stream in streams],
    }
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "sequences.npy") as staging, staging.open("wb") as file:
        np.save(file, rows)
    with whole_file(folder / "mixture.json") as staging:
        staging.write_text(json.dumps(head | told, indent=2, sort_keys=True) + "\n")
    return {"tokens": total * length, **told}


def _shares(config: MixtureConfig) -> list[Fraction]:
    """Return the share of each component, and at the end that of the replay where there is one."""
    replay = Fraction(str(config.replay_share))
    shares = [Fraction(str(component.share)) for component in config.components]
    return [share / sum(shares) * (1 - replay) for share in shares] + ([replay] if replay else [])


def _figures(share: Fraction, sequences: int, unique: int, length: int) -> dict[str, Any]:
    return {
        "share": round(float(share), 9),
        "tokens": sequences * length,
        "sequences": sequences,
        "unique_tokens": unique * length,
        "epochs": round(sequences / unique, 6),
    }


def _divided(
    streams: Sequence[PlannedStream], places: np.ndarray, weights: Mapping[str, float]
) -> Iterator[tuple[PlannedStream, np.ndarray]]:
    """Yield the streams of a component with their places: divided among sources by windows and weight, then by windows."""
    groups: dict[str, list[PlannedStream]] = {}
    for stream in streams:
        groups.setdefault(_source(stream), []).append(stream)
    windows = [[Fraction(stream.windows) for stream in group] for group in groups.values()]
    weight = [Fraction(str(weights.get(group[0].source or "", 1))) for group in groups.values()]
    parts = share_out(places, [sum(w) * factor for w, factor in zip(windows, weight, strict=True)])
    for group, part, divided in zip(groups.values(), parts, windows, strict=True):
        yield from zip(group, share_out(part, divided), strict=True)


def _source(stream: PlannedStream) -> str:
    """Return, in words, what makes streams one source; a stream of several sources stands alone."""
    if stream.source:
        return f"source {stream.source} of {stream.domain}"
    return f"stream {stream.name} of store {stream.store}"


def _replayed(config: MixtureConfig, replay: Replay | None) -> MixtureLoader | None:
    """Open the replayed mixture, where there is to be one."""
    if not config.replay_share:
        return None
    if replay is None:
        raise MixtureError(f"replay_share is {config.replay_share:g}: give the mixture to replay, or set it to 0")
    if any(component.name == REPLAY for component in config.components):
        raise MixtureError(f"component {REPLAY}: the name is taken by the replayed mixture; give the source another")
    opened = MixtureLoader(replay.mixture, replay.stores)
    if opened.sequence_length != config.sequence_length:
        raise MixtureError(
            f"replay: the mixture has sequences of {opened.sequence_length} tokens, this one of {config.sequence_length}; "
            "give both one sequence_length"
        )
    return opened


def _streams_again(replayed: MixtureLoader, stores: Sequence[TokenStore]) -> Iterator[PlannedStream]:
    """Yield the streams of the replayed mixture as parts of this one, over its stores."""
    index = {store.fingerprint: index for index, store in enumerate(stores)}
    for stream in replayed.streams:
        store = index[replayed.stores[stream["store"]].fingerprint]
        yield PlannedStream(**stream | {"store": store, "component": REPLAY, "replays": stream["component"]})


def _check_component(config: MixtureConfig, name: str, share: Fraction, unique: int, needed: int) -> None:
    available = math.floor(unique * config.max_epochs + 1e-9)
    if needed <= available:
        return
    length = config.sequence_length
    raise MixtureError(
        f"component {name}: needs {needed * length:,} tokens, {available * length:,} are available "
        f"({unique * length:,} unique, max_epochs {config.max_epochs:g}), {(needed - available) * length:,} short; "
        f"add {name} documents, lower tokens to {int(available / share) * length:,} or the share of {name}, "
        f"or raise max_epochs to {math.ceil(100 * needed / unique) / 100:g}"
    )


def _check_replay(config: MixtureConfig, replayed: MixtureLoader, needed: int) -> None:
    if needed > replayed.num_sequences:
        length = config.sequence_length
        share = math.floor(10**4 * replayed.num_sequences / (config.tokens // length)) / 10**4
        raise MixtureError(
            f"replay: needs {needed * length:,} tokens, the replayed mixture has {replayed.num_sequences * length:,}, "
            f"{(needed - replayed.num_sequences) * length:,} short; lower replay_share to {share:g} "
            "or tokens, or plan a longer mixture to replay"
        )


def _check_sources(config: MixtureConfig, streams: Sequence[PlannedStream], rows: np.ndarray) -> None:
    """Hold each source to the cap, replayed sequences included: beside one of a smaller weight it may exceed it alone."""
    counts = np.bincount(rows["stream"], minlength=len(streams)).tolist()
    visited, again, windows = Counter[str](), Counter[str](), dict[str, dict[tuple[int, str], int]]()
    for stream, count in zip(streams, counts, strict=True):
        source = _source(stream)
        visited[source] += count
        again[source] += count if stream.replays else 0
        windows.setdefault(source, {})[stream.store, stream.name] = stream.windows
    for source, count in visited.items():
        unique, length = sum(windows[source].values()), config.sequence_length
        # Counts are whole sequences, so a part of one is rounded up.
        if count > math.ceil(unique * config.max_epochs - 1e-9):
            replay = f"{again[source] * length:,} of them replayed, " if again[source] else ""
            remedy = "lower replay_share or tokens" if again[source] else "bring the weights of the sources closer together"
            raise MixtureError(
                f"{source}: would be shown {count * length:,} tokens, {replay}or {count / unique:.2f} times its "
                f"{unique * length:,} unique tokens, max_epochs is {config.max_epochs:g}, "
                f"{math.ceil((count - unique * config.max_epochs) * length):,} too many; "
                f"{remedy}, or raise max_epochs to {math.ceil(100 * count / unique) / 100:g}"
            )
