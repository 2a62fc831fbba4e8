from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from word_encoder import vectors_folder

from hephaestus_dag.retrieval.projection import distances, draw_others, projection_figure
from hephaestus_dag.retrieval.vectors import Vectors

AXES = np.eye(8, dtype=np.float32)


def cloud(axis: int, size: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Points around an axis; ``scale`` lengthens vectors without turning them."""
    noise = np.random.default_rng(seed).normal(scale=0.3, size=(size, 8)).astype(np.float32)
    return scale * (AXES[axis] + noise)


def groups(tmp_path: Path, scale: float = 1.0, general: int = 60) -> tuple[Vectors, Vectors, np.ndarray, Vectors]:
    """A seed around axis 0, retrieved pages there too, other pages around 1, general text around 2."""
    pages = np.concatenate([cloud(1, 70, 1, scale), cloud(0, 30, 2, scale), cloud(1, 50, 3, scale)])
    return (
        vectors_folder(tmp_path / "seed", cloud(0, 40, 4)),
        vectors_folder(tmp_path / "web", pages, shards=3),
        np.arange(70, 100),
        vectors_folder(tmp_path / "general", cloud(2, general, 5) if general else np.zeros((0, 8), dtype=np.float32)),
    )


def test_retrieved_lies_nearer_than_general_text_and_the_interval_says_so(tmp_path: Path):
    figures = distances(*groups(tmp_path))
    assert figures["retrieved"] > figures["rest"] + 0.2
    assert figures["difference"] == pytest.approx(figures["retrieved"] - figures["general"])
    assert 0.2 < figures["difference_low"] < figures["difference"] < figures["difference_high"] < 1.5
    counts = [figures[f"{name}_documents"] for name in ("retrieved", "rest", "general")]
    assert (counts, figures["candidates"]) == ([30, 120, 60], 40)


def test_nearness_is_the_mean_cosine_with_the_five_nearest_candidates(tmp_path: Path):
    candidates, pages, retrieved, general = groups(tmp_path)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (candidates.take(np.arange(40)), pages.take(retrieved))]
    expected = np.sort(unit[1] @ unit[0].T, axis=1)[:, -5:].mean()
    assert distances(candidates, pages, retrieved, general)["retrieved"] == pytest.approx(expected, abs=1e-5)


def test_groups_drawn_alike_have_an_interval_around_zero(tmp_path: Path):
    seed, web, general = (vectors_folder(tmp_path / str(n), cloud(0, 80, n)) for n in range(3))
    figures = distances(seed, web, np.arange(0, 80, 2), general)
    assert figures["difference_low"] < 0 < figures["difference_high"]


def test_length_of_vectors_does_not_matter(tmp_path: Path):
    one, other = distances(*groups(tmp_path / "a")), distances(*groups(tmp_path / "b", scale=25.0))
    assert one["retrieved"] == pytest.approx(other["retrieved"], abs=1e-5)


def test_empty_groups_have_no_figure(tmp_path: Path):
    candidates, pages, retrieved, general = groups(tmp_path, general=0)
    figures = distances(candidates, pages, retrieved, general)
    assert figures["general"] is figures["difference"] is figures["difference_low"] is None
    assert distances(candidates, pages, retrieved[:0], general)["retrieved"] is None
    assert distances(candidates, pages, np.arange(len(pages)), general)["rest"] is None


def test_the_picture_is_small_and_the_same_every_time(tmp_path: Path):
    parts = groups(tmp_path)
    shares = projection_figure(*parts, tmp_path / "one.png")
    projection_figure(*parts, tmp_path / "other.png")
    content = (tmp_path / "one.png").read_bytes()
    assert content[:4] == b"\x89PNG"
    assert len(content) < 100_000
    assert content == (tmp_path / "other.png").read_bytes()
    assert 0.3 < shares["first"] + shares["second"] <= 1


@pytest.mark.parametrize("retrieved", [0, 1])
def test_nearly_nothing_can_be_drawn(tmp_path: Path, retrieved: int):
    one = vectors_folder(tmp_path, AXES[:1])
    empty = vectors_folder(tmp_path / "none", AXES[:0])
    projection_figure(one, one, np.arange(retrieved), empty, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1_000


@given(data=st.data(), size=st.integers(0, 60), count=st.integers(0, 80))
def test_others_are_drawn_among_what_is_not_taken(data: st.DataObject, size: int, count: int):
    taken = np.array(sorted(data.draw(st.sets(st.integers(0, size - 1)) if size else st.just(set()))), dtype=np.int64)
    drawn = draw_others(size, taken, count, np.random.default_rng(0))
    others = np.setdiff1d(np.arange(size), taken)
    assert len(drawn) == min(count, len(others))
    assert len(set(drawn.tolist())) == len(drawn)
    assert set(drawn.tolist()) <= set(others.tolist())
