import json
from pathlib import Path

import numpy as np
import pytest
from mixture_stores import mixture, numbered_store

from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.plan import Replay, plan_mixture
from hephaestus_dag.mixture.store import MixtureError


@pytest.fixture
def first(tmp_path: Path) -> Replay:
    """Stage I: 40 sequences over a seed store and a web store."""
    seed = numbered_store(tmp_path / "seed", {"agent/docs": 121, "text/wiki": 121})
    web = numbered_store(tmp_path / "web", {"agent/web": 121})
    plan_mixture(mixture(160, {"agent": 0.5, "text": 0.5}, max_epochs=4), [seed, web], tmp_path / "first")
    return Replay(tmp_path / "first", [seed, web])


def test_a_replay_shows_the_beginning_of_the_other_mixture_in_its_share(tmp_path: Path, first: Replay) -> None:
    config = mixture(80, {"agent": 0.75, "text": 0.25}, replay_share=0.2)
    figures = plan_mixture(config, first.stores[:1], tmp_path / "second", first)
    loader = MixtureLoader(tmp_path / "second", first.stores)
    assert [store.folder.name for store in loader.stores] == ["seed", "web"]
    assert loader.mix(0, 20) == {"agent": 12, "text": 4, "replay": 4}
    assert loader.mix(0, 5) == {"agent": 3, "text": 1, "replay": 1}
    assert figures["components"]["replay"] == {
        "share": 0.2,
        "tokens": 16,
        "sequences": 4,
        "unique_tokens": 160,
        "epochs": 0.1,
    }
    again = [row for row in range(20) if loader.mix(row, 1)["replay"]]
    tokens = loader.batch(0, 20).tokens[again]
    assert np.array_equal(tokens, MixtureLoader(first.mixture, first.stores).batch(0, 4).tokens)


def test_a_replay_of_a_replay_and_of_other_stores_alone(tmp_path: Path, first: Replay) -> None:
    other = numbered_store(tmp_path / "other", {"code": 121})
    config = mixture(80, {"code": 1}, replay_share=0.5)
    plan_mixture(config, [other], tmp_path / "second", first)
    second = Replay(tmp_path / "second", [*first.stores, other])
    plan_mixture(config, [other], tmp_path / "third", second)
    loader = MixtureLoader(tmp_path / "third", second.stores)
    assert [store.folder.name for store in loader.stores] == ["other", "seed", "web"]
    assert {stream["replays"] for stream in loader.streams} == {None, "code", "replay"}


def test_repetition_counts_own_and_replayed_sequences(tmp_path: Path, first: Replay) -> None:
    config = mixture(160, {"agent": 1}, replay_share=0.25)
    with pytest.raises(MixtureError, match=r"source docs of agent: .* of them replayed, or 1\.1. times .*lower replay_share"):
        plan_mixture(config, first.stores[:1], tmp_path / "second", first)
    more = config.model_copy(update={"max_epochs": 1.5})
    figures = plan_mixture(more, first.stores[:1], tmp_path / "second", first)
    rows = {(s["source"], s["store"]): s for s in figures["sources"]}
    assert rows["docs", 0]["epochs"] > 1 == figures["components"]["agent"]["epochs"]
    assert sum(row["tokens"] for row in rows.values()) == 160
    assert rows["web", 1]["tokens"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence_length": 5}, "replay: the mixture has sequences of 4 tokens, this one of 5; give both one sequence_length"),
        (
            {"replay_share": 0.9, "tokens": 400, "max_epochs": 99},
            r"replay: needs 360 tokens, the replayed mixture has 160, 200 short; lower replay_share to 0.4 or tokens",
        ),
    ],
)
def test_a_replay_that_does_not_fit_is_refused(tmp_path: Path, first: Replay, change: dict, message: str) -> None:
    config = mixture(40, {"agent": 1}, replay_share=0.1).model_copy(update=change)
    with pytest.raises(MixtureError, match=message):
        plan_mixture(config, first.stores[:1], tmp_path / "second", first)
    assert not (tmp_path / "second").exists()


def test_a_replay_needs_its_mixture_and_its_name(tmp_path: Path, first: Replay) -> None:
    with pytest.raises(MixtureError, match=r"replay_share is 0\.1: give the mixture to replay, or set it to 0"):
        plan_mixture(mixture(40, {"agent": 1}, replay_share=0.1), first.stores, tmp_path / "second")
    with pytest.raises(MixtureError, match="the name is taken by the replayed mixture"):
        plan_mixture(mixture(40, {"agent/replay": 1}, replay_share=0.1), first.stores, tmp_path / "second", first)


def test_without_a_share_nothing_is_replayed(tmp_path: Path, first: Replay) -> None:
    plan_mixture(mixture(40, {"agent": 1}), first.stores[:1], tmp_path / "with", first)
    plan_mixture(mixture(40, {"agent": 1}), first.stores[:1], tmp_path / "without")
    heads = [(tmp_path / name / "mixture.json").read_bytes() for name in ("with", "without")]
    assert heads[0] == heads[1]
    assert len(json.loads(heads[0])["stores"]) == 1
