"""What holds of every mixture, whatever its streams, shares, weights and replay."""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_stores import mixture, numbered_store

from hephaestus_dag.mixture.config import MixtureConfig
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.plan import Replay, plan_mixture
from hephaestus_dag.mixture.store import TokenStore

LENGTH = 4
NAMES = ("agent/docs", "agent/calls", "agent", "code/repositories", "text/wiki", "text/pages")


@dataclass(frozen=True)
class Case:
    """Two stores, a mixture over both, and a mixture over the first that may replay the other."""

    seed_streams: dict[str, int]
    web_streams: dict[str, int]
    shares: dict[str, float]
    weights: dict[str, float]
    replay_share: float
    sequences: int
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    sizes = st.integers(LENGTH + 1, 90)
    domains = draw(st.lists(st.sampled_from(["agent", "code", "text"]), min_size=1, unique=True))
    mine = [name for name in NAMES if name.partition("/")[0] in domains]
    seed_streams = {name: draw(sizes) for name in mine}
    web_streams = {name: draw(sizes) for name in mine if draw(st.booleans())}
    named = draw(st.sampled_from([(), ("agent/docs",), ("agent/docs", "text/wiki")]))
    components = [*domains, *(name for name in named if name in mine)]
    parts = [draw(st.integers(1, 20)) for _ in components]
    weights = {name.partition("/")[2]: draw(st.sampled_from([0.3, 1.0, 2.0, 3.7])) for name in mine if "/" in name}
    return Case(
        seed_streams,
        web_streams,
        {name: part / sum(parts) for name, part in zip(components, parts, strict=True)},
        weights,
        draw(st.sampled_from([0.0, 0.1, 0.25, 0.6])),
        draw(st.integers(1, 90)),
        draw(st.integers(0, 3)),
    )


@dataclass(frozen=True)
class Planned:
    """What was planned of a case."""

    config: MixtureConfig
    figures: dict
    loader: MixtureLoader
    first: MixtureLoader
    """The mixture that is replayed."""


def plan(case: Case, folder: Path) -> Planned:
    seed = numbered_store(folder / "seed", case.seed_streams)
    stores = [seed, numbered_store(folder / "web", case.web_streams)] if case.web_streams else [seed]
    common = {"weights": case.weights, "seed": case.seed, "max_epochs": 10_000.0}
    plan_mixture(mixture(LENGTH * case.sequences, case.shares, LENGTH, **common), stores, folder / "first")
    config = mixture(LENGTH * case.sequences, case.shares, LENGTH, replay_share=case.replay_share, **common)
    figures = plan_mixture(config, [seed], folder / "second", Replay(folder / "first", stores))
    return Planned(config, figures, MixtureLoader(folder / "second", stores), MixtureLoader(folder / "first", stores))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    return lambda: tmp_path_factory.mktemp("laws")


def assert_shares_hold(components: np.ndarray, shares: dict[str, Fraction]) -> None:
    """At every prefix each name is less than one away from its share."""
    for name, share in shares.items():
        for length, count in enumerate(np.cumsum(components == name).tolist(), 1):
            assert abs(count - share * length) < 1, (name, length)


def normalised(shares: dict[str, Fraction]) -> dict[str, Fraction]:
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def assert_sources_hold(loader: MixtureLoader, weights: dict[str, float]) -> None:
    """Inside each component, at every prefix, each source is less than one away from its part, windows times weight."""
    own = loader.rows["stream"]
    for component in {stream["component"] for stream in loader.streams} - {"replay"}:
        windows: Counter[str] = Counter()
        label = {}
        for number, stream in enumerate(loader.streams):
            if stream["component"] == component:
                label[number] = stream["source"] or f"{stream['name']} {stream['store']}"
                windows[label[number]] += stream["windows"]
        due = {name: count * Fraction(str(weights.get(name, 1))) for name, count in windows.items()}
        assert_shares_hold(np.array([label[n] for n in own.tolist() if n in label]), normalised(due))


@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_shares_hold_at_every_prefix_of_a_mixture_and_of_what_it_replays(folders, case: Case) -> None:
    planned = plan(case, folders())
    loader, share = planned.loader, Fraction(str(case.replay_share))
    own = normalised({name.rpartition("/")[2]: Fraction(str(share)) for name, share in case.shares.items()})
    wanted = {name: part * (1 - share) for name, part in own.items()} | ({"replay": share} if share else {})
    components = np.array([stream["component"] for stream in loader.streams])[loader.rows["stream"]]
    assert_shares_hold(components, wanted)
    assert_sources_hold(loader, case.weights)
    assert_sources_hold(planned.first, case.weights)
    assert {name: figure["sequences"] for name, figure in planned.figures["components"].items()} == {
        name: int((components == name).sum()) for name in wanted
    }

    replayed = np.flatnonzero(components == "replay")
    if len(replayed):
        tokens = loader.batch(0, loader.num_sequences).tokens[replayed]
        assert np.array_equal(tokens, planned.first.batch(0, len(replayed)).tokens)
        of = np.array([stream["replays"] for stream in loader.streams])[loader.rows["stream"]]
        assert_shares_hold(of[replayed], own)


@given(case=cases(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_stream_is_one_for_all_world_sizes_and_resumes_at_any_step(folders, case: Case, data: st.DataObject) -> None:
    loader = plan(case, folders()).loader
    global_batch = 8
    steps = loader.num_sequences // global_batch

    def read(first: int, last: int, world_size: int) -> list[np.ndarray]:
        slices = [
            loader.rank_slice(step * global_batch, global_batch, rank, world_size)
            for step in range(first, last)
            for rank in range(world_size)
        ]
        return [loader.batch(*part).tokens for part in slices]

    if not steps:
        return
    whole = loader.batch(0, steps * global_batch).tokens
    for world_size in (1, 2, 4, 8):
        assert np.array_equal(np.concatenate(read(0, steps, world_size)), whole)
    stop = data.draw(st.integers(0, steps))
    before, after = data.draw(st.sampled_from([1, 2, 4, 8])), data.draw(st.sampled_from([1, 2, 4, 8]))
    assert np.array_equal(np.concatenate(read(0, stop, before) + read(stop, steps, after)), whole)
    row = data.draw(st.integers(0, loader.num_sequences - 1))
    each = np.concatenate([loader.batch(n, 1).tokens for n in range(row + 1)])
    assert np.array_equal(loader.batch(row, 1).tokens, each[row:])


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_every_sequence_leads_to_its_documents_and_they_are_counted(folders, case: Case) -> None:
    planned = plan(case, folders())
    loader = planned.loader
    ledger = {row["document_id"]: (store, row) for store in loader.stores for row in store.ledger.to_pylist()}
    whole = loader.batch(0, loader.num_sequences, positions=True)
    shown: Counter[tuple[str, str, int]] = Counter()
    for row in range(loader.num_sequences):
        rank, world_size = row % 2, 2
        start, _ = loader.rank_slice(row - rank, 2, rank, world_size)
        batch = loader.batch(start, 1, positions=True)
        assert batch.positions is not None
        expected = np.full(LENGTH + 1, -1)
        for span in loader.documents_of(row):
            store, entry = ledger[span.document_id]
            begin = entry["offset"] + span.offset
            tokens = store.tokens(entry["stream"])[begin : begin + span.length]
            assert batch.tokens[0, span.position : span.position + span.length].tolist() == tokens.tolist()
            expected[span.position : span.position + span.length] = np.arange(span.length)
            inputs = min(span.position + span.length, LENGTH) - span.position
            shown[entry["domain"], entry["source"], loader.stores.index(store)] += inputs
        assert batch.positions[0].tolist() == expected[:LENGTH].tolist()
        assert whole.positions is not None
        assert whole.positions[row].tolist() == expected[:LENGTH].tolist()
    told = {(s["domain"], s["source"], s["store"]): s["tokens"] for s in planned.figures["sources"]}
    assert {key: tokens for key, tokens in told.items() if tokens} == {key: n for key, n in shown.items() if n}
    assert sum(told.values()) == planned.figures["tokens"]


@given(case=cases())
@settings(max_examples=20, deadline=None)
def test_unique_tokens_are_those_that_some_window_shows(folders, case: Case) -> None:
    planned = plan(case, folders())
    stores = [TokenStore(store.folder) for store in planned.loader.stores]
    for source in planned.figures["sources"]:
        mine = [
            (store, stream)
            for index, store in enumerate(stores)
            for stream in store.streams.values()
            if (index, stream.domain, stream.source or "") == (source["store"], source["domain"], source["source"])
        ]
        assert source["unique_tokens"] == sum((stream.tokens - 1) // LENGTH * LENGTH for _, stream in mine)
        assert source["epochs"] == pytest.approx(source["tokens"] / source["unique_tokens"], abs=1e-6)
