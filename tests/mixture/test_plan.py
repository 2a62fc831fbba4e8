import hashlib
import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_stores import mixture, numbered_store

from hephaestus_dag.mixture.apportion import apportion
from hephaestus_dag.mixture.config import MixtureConfig
from hephaestus_dag.mixture.figure import mixture_figure
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.plan import plan_mixture
from hephaestus_dag.mixture.store import MixtureError, StreamWriter, write_store


@given(weights=st.lists(st.integers(1, 2_000), min_size=1, max_size=9), steps=st.integers(0, 1_500))
@settings(deadline=None)
def test_every_prefix_is_less_than_one_away_from_its_share(weights: list[int], steps: int) -> None:
    parts = apportion(weights, steps)
    prefix = np.arange(1, steps + 1)
    for part, weight in enumerate(weights):
        away = np.abs(np.cumsum(parts == part) * sum(weights) - weight * prefix)
        assert (away < sum(weights)).all()


def test_a_period_divides_exactly() -> None:
    assert np.bincount(apportion([36, 34, 30], 100_000)).tolist() == [36_000, 34_000, 30_000]


@given(
    percent=st.integers(1, 98).flatmap(lambda a: st.integers(1, 99 - a).map(lambda b: (a, b, 100 - a - b))),
    sequences=st.integers(1, 120),
    seed=st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_shares_hold_at_every_prefix_and_windows_repeat_only_once_all_were_seen(
    tmp_path_factory: pytest.TempPathFactory, percent: tuple[int, int, int], sequences: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    store = numbered_store(folder / "store", {"agent": 41, "code": 81, "text": 22})
    shares: dict[str, float] = dict(zip(("agent", "code", "text"), (p / 100 for p in percent), strict=True))
    figures = plan_mixture(mixture(4 * sequences, shares, max_epochs=100, seed=seed), [store], folder / "mixture")
    rows = np.load(folder / "mixture" / "sequences.npy")
    assert len(rows) == figures["num_sequences"] == sequences
    loader = MixtureLoader(folder / "mixture", [store])
    components = np.array([stream["component"] for stream in loader.streams])[rows["stream"]]
    for domain, share in shares.items():
        wanted = [Fraction(str(share)) * k for k in range(1, sequences + 1)]
        got = np.cumsum(components == domain)
        assert all(abs(int(have) - want) < 1 for have, want in zip(got, wanted, strict=True))
        assert figures["components"][domain]["sequences"] == got[-1]
        offsets = rows["offset"][components == domain]
        unique = figures["components"][domain]["unique_tokens"] // 4
        for epoch in range(0, len(offsets), unique):
            assert len(set(offsets[epoch : epoch + unique])) == len(offsets[epoch : epoch + unique])


def test_streams_of_one_domain_are_drawn_on_in_proportion(tmp_path: Path) -> None:
    seed = numbered_store(tmp_path / "seed", {"agent": 401, "text": 401})
    web = numbered_store(tmp_path / "web", {"agent": 1_201})
    plan_mixture(mixture(800, {"agent": 0.5, "text": 0.5}), [seed, web], tmp_path / "mixture")
    loader = MixtureLoader(tmp_path / "mixture", [seed, web])
    streams = loader.batch(0, 200).streams
    counts = {(loader.streams[s]["store"], loader.streams[s]["name"]): int((streams == s).sum()) for s in np.unique(streams)}
    assert counts == {(0, "agent"): 25, (1, "agent"): 75, (0, "text"): 100}


def test_each_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"text": 401})
    plan_mixture(mixture(800, {"text": 1}, max_epochs=2), [store], tmp_path / "mixture")
    offsets = np.load(tmp_path / "mixture" / "sequences.npy")["offset"]
    assert sorted(offsets[:100]) == sorted(offsets[100:]) == list(range(0, 400, 4))
    assert offsets[:100].tolist() != offsets[100:].tolist() != sorted(offsets[100:])


def test_too_much_repetition_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"agent": 41, "text": 401})
    config = mixture(400, {"agent": 0.5, "text": 0.5}, max_epochs=2)
    with pytest.raises(MixtureError, match=r"component agent: needs 200 tokens, 80 are available .* 120 short") as error:
        plan_mixture(config, [store], tmp_path / "mixture")
    assert "lower tokens to 160" in str(error.value)
    assert "max_epochs to 5" in str(error.value)
    plan_mixture(config.model_copy(update={"tokens": 160}), [store], tmp_path / "mixture")
    plan_mixture(config.model_copy(update={"max_epochs": 5.0}), [store], tmp_path / "mixture")


def test_a_domain_that_no_store_has_is_named(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"text": 401})
    with pytest.raises(MixtureError, match=r"component agent.*no store has a training stream of agent"):
        plan_mixture(mixture(40, {"agent": 0.5, "text": 0.5}), [store], tmp_path / "mixture")


def test_stores_of_two_tokenizers_do_not_mix(tmp_path: Path) -> None:
    one = numbered_store(tmp_path / "one", {"text": 41})
    two = numbered_store(tmp_path / "two", {"agent": 41}, vocab_size=90_000)
    with pytest.raises(MixtureError, match="tokenise all documents with one tokenizer"):
        plan_mixture(mixture(8, {"agent": 0.5, "text": 0.5}), [one, two], tmp_path / "mixture")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": [{"domain": "agent", "share": 0.5}, {"domain": "text", "share": 0.4}]}, "sum to 0.9, not 1"),
        ({"components": [{"domain": "text", "share": 0.5}, {"domain": "text", "share": 0.5}]}, "text named more than once"),
        ({"tokens": 3}, "less than one sequence of 4"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_remedy(change: dict, message: str) -> None:
    good = mixture(40, {"agent": 0.5, "text": 0.5}).model_dump()
    with pytest.raises(ValueError, match=message):
        MixtureConfig.model_validate(good | change)


def test_a_plan_is_the_same_bytes_each_time_and_its_seed_matters(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"agent": 401, "text": 401})
    shares = {"agent": 0.36, "text": 0.64}
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        plan_mixture(mixture(400, shares, seed=seed), [store], tmp_path / name)
    one, again, other = ((tmp_path / name / "sequences.npy").read_bytes() for name in ("one", "again", "other"))
    assert one == again != other
    assert (tmp_path / "one" / "mixture.json").read_bytes() == (tmp_path / "again" / "mixture.json").read_bytes()


def test_the_figure_is_a_small_image(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"agent": 401, "text": 401})
    plan_mixture(mixture(400, {"agent": 0.36, "text": 0.64}), [store], tmp_path / "mixture")
    mixture_figure(tmp_path / "mixture", tmp_path / "mixture.png")
    content = (tmp_path / "mixture.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 100_000


def shown(folder: Path) -> dict[str, int]:
    """Sequences by component and source, from the plan's rows."""
    streams = json.loads((folder / "mixture.json").read_text())["streams"]
    counts = np.bincount(np.load(folder / "sequences.npy")["stream"], minlength=len(streams)).tolist()
    return {f"{s['component']}:{s['source']}": n for s, n in zip(streams, counts, strict=True)}


def test_a_named_source_is_no_part_of_its_domain(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"agent/docs": 401, "agent/calls": 401, "agent/more": 801, "text/wiki": 401})
    plan_mixture(mixture(400, {"agent": 0.3, "agent/docs": 0.5, "text": 0.2}), [store], tmp_path / "mixture")
    assert shown(tmp_path / "mixture") == {"agent:calls": 10, "agent:more": 20, "docs:docs": 50, "text:wiki": 20}


def test_a_source_of_twice_the_weight_is_shown_twice_as_often(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"agent/plain": 401, "agent/dear": 401})
    config = mixture(600, {"agent": 1}, weights={"dear": 2.0, "elsewhere": 9.0})
    figures = plan_mixture(config, [store], tmp_path / "mixture")
    assert shown(tmp_path / "mixture") == {"agent:plain": 50, "agent:dear": 100}
    assert [(s["source"], s["tokens"], s["unique_tokens"], s["epochs"]) for s in figures["sources"]] == [
        ("dear", 400, 400, 1.0),
        ("plain", 200, 400, 0.5),
    ]
    with pytest.raises(
        MixtureError, match=r"source dear of agent: would be shown 412 tokens, or 1.03 times .* 12 too many; bring the weights"
    ):
        plan_mixture(config.model_copy(update={"tokens": 618}), [store], tmp_path / "more")


def test_a_heavy_source_may_not_exceed_the_cap_by_one_sequence(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"agent/plain": 401, "agent/small": 5})
    config = mixture(200, {"agent": 1}, weights={"small": 3.95})
    with pytest.raises(MixtureError, match=r"source small of agent: would be shown 8 tokens, or 2\.00 times .* 4 too many"):
        plan_mixture(config, [store], tmp_path / "mixture")
    plan_mixture(config.model_copy(update={"max_epochs": 1.5}), [store], tmp_path / "mixture")


@pytest.mark.parametrize(("parts", "windows", "sequences"), [((18, 14, 14), 4, 22), ((5, 1, 13, 2), 6, 40)])
def test_the_budget_that_a_refusal_advises_is_accepted(
    tmp_path: Path, parts: tuple[int, ...], windows: int, sequences: int
) -> None:
    names = ("agent", "code", "text", "more")[: len(parts)]
    sizes = {name: 4 * windows * (1 if name == "agent" else 100) + 1 for name in names}
    store = numbered_store(tmp_path / "store", sizes)
    shares = {name: part / sum(parts) for name, part in zip(names, parts, strict=True)}
    with pytest.raises(MixtureError, match=r"component agent: .* lower tokens to") as error:
        plan_mixture(mixture(4 * sequences, shares), [store], tmp_path / "mixture")
    tokens = int(re.findall(r"lower tokens to ([\d,]+) or", str(error.value))[0])
    figures = plan_mixture(mixture(tokens, shares), [store], tmp_path / "mixture")
    assert figures["components"]["agent"]["epochs"] == 1


def test_one_source_in_two_stores_is_one_source(tmp_path: Path) -> None:
    one = numbered_store(tmp_path / "one", {"agent/docs": 41, "agent/calls": 41})
    two = numbered_store(tmp_path / "two", {"agent/docs": 121})
    figures = plan_mixture(mixture(200, {"agent": 1}, max_epochs=2), [one, two, one], tmp_path / "mixture")
    assert [(s["source"], s["store"], s["tokens"]) for s in figures["sources"]] == [
        ("calls", 0, 40),
        ("docs", 0, 40),
        ("docs", 1, 120),
    ]
    assert len(MixtureLoader(tmp_path / "mixture", [one, two]).stores) == 2


def test_an_unknown_source_is_answered_with_those_there_are(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"agent/docs": 41, "text/wiki": 41})
    with pytest.raises(MixtureError, match=r"component dcos: no store .* the source dcos; the sources are: docs, wiki"):
        plan_mixture(mixture(8, {"agent/dcos": 1}), [store], tmp_path / "mixture")
    with pytest.raises(MixtureError, match="every source of agent is a component of its own; leave agent out"):
        plan_mixture(mixture(8, {"agent/docs": 0.5, "agent": 0.5}), [store], tmp_path / "mixture")
    assert not (tmp_path / "mixture").exists()


def test_a_stream_shorter_than_one_sequence_is_told(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "store", {"agent/docs": 41, "agent/tiny": 4, "agent/just": 5})
    figures = plan_mixture(mixture(40, {"agent": 1}), [store], tmp_path / "mixture")
    told = [{"source": "tiny", "domain": "agent", "store": 0, "tokens": 4, "component": "agent"}]
    assert figures["too_short"] == told == json.loads((tmp_path / "mixture" / "mixture.json").read_text())["too_short"]
    assert [source["source"] for source in figures["sources"]] == ["docs", "just"]
    with pytest.raises(MixtureError, match="component tiny: its streams have 4 tokens, a sequence needs 5; add tiny documents"):
        plan_mixture(mixture(4, {"agent/tiny": 1}), [store], tmp_path / "other")


def test_tokens_of_two_tokenizers_of_one_size_do_not_mix(tmp_path: Path) -> None:
    one = numbered_store(tmp_path / "one", {"text": 41}, tokenizer="a")
    two = numbered_store(tmp_path / "two", {"agent": 41}, tokenizer="b")
    with pytest.raises(MixtureError, match="tokens of several tokenizers"):
        plan_mixture(mixture(8, {"agent": 0.5, "text": 0.5}), [one, two], tmp_path / "mixture")


def test_a_stream_of_several_sources_is_counted_through_its_ledger(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path / "store", "instruction", "train", np.dtype("<u2"), masked=True)
    # Packed sequences of 8: [a a a b b . . .] [c c c c c c a a] and the last target.
    for source, begin, size in (("a", 0, 3), ("b", 3, 2), ("c", 8, 6), ("a", 14, 2)):
        writer.record(hashlib.md5(f"{begin}".encode()).hexdigest(), begin, size, size, source)
    writer.append(np.arange(17), np.ones(17))
    write_store(tmp_path / "store", 100, [writer], sequence_length=8)
    config = mixture(24, {"instruction": 1}, length=8, max_epochs=1.5)
    figures = plan_mixture(config, [tmp_path / "store"], tmp_path / "mixture")
    twice = np.load(tmp_path / "mixture" / "sequences.npy")["offset"].tolist().count(8) == 2
    counts = {source["source"]: (source["tokens"], source["unique_tokens"]) for source in figures["sources"]}
    assert counts == {"a": (7, 5), "b": (2, 2), "c": (12, 6)} if twice else {"a": (8, 5), "b": (4, 2), "c": (6, 6)}
