import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import Document, DocumentWriter
from hephaestus_dag.mixture.config import Component, MixtureConfig, TokenStoreConfig
from hephaestus_dag.mixture.figure import mixture_figure
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.plan import apportion, plan_mixture
from hephaestus_dag.mixture.store import MixtureError, StreamWriter, write_store
from hephaestus_dag.mixture.tokenise import tokenise_documents


def numbered_store(folder: Path, tokens: dict[str, int], vocab_size: int = 100_000) -> Path:
    """A store whose token values say where they stand, so that a window can be recognised."""
    writers = []
    for number, (domain, count) in enumerate(tokens.items()):
        writer = StreamWriter(folder, domain, "train", np.dtype("<u4"))
        writer.record(hashlib.md5(domain.encode()).hexdigest(), 0, count, count)
        writer.append(np.arange(count, dtype=np.uint32) + 10_000 * number)
        writers.append(writer)
    write_store(folder, vocab_size, writers)
    return folder


def mixture(tokens: int, shares: dict[str, float], length: int = 4, max_epochs: float = 1.0, seed: int = 0) -> MixtureConfig:
    components = tuple(Component(domain=domain, share=share) for domain, share in shares.items())
    return MixtureConfig(tokens=tokens, sequence_length=length, components=components, max_epochs=max_epochs, seed=seed)


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
    shares = dict(zip(("agent", "code", "text"), (p / 100 for p in percent), strict=True))
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


def test_a_source_of_twice_the_weight_is_shown_twice_as_often(tmp_path: Path, tokenizer_folder: Path):
    with DocumentWriter(tmp_path / "documents") as writer:
        for source in ("plain", "dear"):
            texts = [f"{source} {number} " + "a few words about tea and cups " * 8 for number in range(40)]
            writer.write(
                Document(text=text, domain="agent", kind="k", source=source, origin=text[:9], license="MIT") for text in texts
            )
    config = TokenStoreConfig(heldout_share=0.1)
    figures = tokenise_documents(tmp_path / "documents", tokenizer_folder, tmp_path / "store", config, weights={"dear": 2.0})
    assert set(figures["streams"]) == {"agent", "agent.heldout", "agent.x2"}
    config_of_mixture = mixture(3_200, {"agent": 1.0}, length=16, max_epochs=4)
    plan_mixture(config_of_mixture, [tmp_path / "store"], tmp_path / "mixture")
    rows = np.load(tmp_path / "mixture" / "sequences.npy")
    shown = np.bincount(rows["stream"])
    windows = [(figures["streams"][name]["tokens"] - 1) // 16 for name in ("agent", "agent.x2")]
    assert shown.sum() == 200
    assert abs(shown[1] - 200 * 2 * windows[1] / (windows[0] + 2 * windows[1])) < 1
    once = config_of_mixture.model_copy(update={"max_epochs": 1.0, "tokens": 16 * sum(windows)})
    with pytest.raises(MixtureError, match=r"sources of weight 2 would be shown .* times"):
        plan_mixture(once, [tmp_path / "store"], tmp_path / "once")


def weighted(folder: Path, tokenizer_folder: Path, weights: dict[str, float], **config: int) -> dict:
    """The token store of 6,000 documents, as many of each source."""
    with DocumentWriter(folder / "documents") as writer:
        writer.write(
            Document(text=f"{source} {n} and some tea", domain="agent", kind="k", source=source, origin="o", license="MIT")
            for n in range(6_000 // len(weights))
            for source in weights
        )
    settings = TokenStoreConfig(heldout_share=0, **config)
    return tokenise_documents(folder / "documents", tokenizer_folder, folder / "store", settings, weights=weights)


def test_a_cap_on_tokens_leaves_every_source_its_share(tmp_path: Path, tokenizer_folder: Path):
    whole = weighted(tmp_path / "whole", tokenizer_folder, {"plain": 1.0, "dear": 2.0})["streams"]
    half = sum(stream["tokens"] for stream in whole.values()) // 2
    capped = weighted(tmp_path / "half", tokenizer_folder, {"plain": 1.0, "dear": 2.0}, max_tokens_per_domain=half)["streams"]
    assert sum(stream["tokens"] for stream in capped.values()) == pytest.approx(half, abs=100)
    for name in ("agent", "agent.x2"):
        assert capped[name]["tokens"] == pytest.approx(whole[name]["tokens"] / 2, rel=0.2)


def test_a_source_beside_one_of_a_smaller_weight_keeps_the_cap_too(tmp_path: Path, tokenizer_folder: Path):
    streams = weighted(tmp_path, tokenizer_folder, {"plain": 1.0, "cheap": 0.01})["streams"]
    unique = sum((stream["tokens"] - 1) // 16 for stream in streams.values())
    with pytest.raises(MixtureError, match=r"sources of weight 1 would be shown .* times, max_epochs is 1; bring the weights"):
        plan_mixture(mixture(16 * unique, {"agent": 1.0}, length=16, max_epochs=1), [tmp_path / "store"], tmp_path / "mixture")


def test_weights_that_differ_in_the_last_digit_have_streams_of_their_own(tmp_path: Path, tokenizer_folder: Path):
    streams = weighted(tmp_path, tokenizer_folder, {"one": 1.00000001, "other": 1.00000002})["streams"]
    assert set(streams) == {"agent.x1.00000001", "agent.x1.00000002"}
    assert sum(stream["documents"] for stream in streams.values()) == 6_000
