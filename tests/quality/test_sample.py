import hashlib
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.documents import document_id
from hephaestus_dag.quality.config import AnnotationConfig
from hephaestus_dag.quality.sample import draw, draw_sample, read_texts, strata_names, take_turns

PAGES = [f"page number {n}" for n in range(600)]
IDS = [document_id(text) for text in PAGES]


def write_retrieved(path: Path, ids: list[str]) -> Path:
    """The earlier in the list, the better; in the file they stand in another order."""
    rows = sorted(zip(ids, range(len(ids), 0, -1), strict=True))
    pq.write_table(pa.table({"document_id": [i for i, _ in rows], "best_score": [float(score) for _, score in rows]}), path)
    return path


@pytest.fixture
def web(corpus: Callable[..., Path]) -> Path:
    return corpus("web", PAGES, documents_per_shard=250)


@pytest.fixture
def retrieved(tmp_path: Path) -> Path:
    return write_retrieved(tmp_path / "retrieved.parquet", IDS[:400])


def test_strata_are_equal_parts_of_the_retrieved_pages_by_score(web: Path, retrieved: Path):
    sample = draw_sample(web, retrieved, AnnotationConfig(num_samples=200))
    places = {identity: place for place, identity in enumerate(IDS)}
    for number, name in enumerate(strata_names(4)):
        stratum = [places[identity] for identity, its in sample.items() if its == name]
        assert len(stratum) == 40
        assert number * 100 <= min(stratum)
        assert max(stratum) < (number + 1) * 100 if number < 4 else max(stratum) < 600


@pytest.mark.parametrize("num_strata", [1, 3, 7])
def test_the_number_of_strata_can_be_chosen(web: Path, retrieved: Path, num_strata: int):
    sample = draw_sample(web, retrieved, AnnotationConfig(num_samples=100, num_strata=num_strata))
    counts = Counter(sample.values())
    assert list(counts) == strata_names(num_strata)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_what_small_strata_lack_others_give(web: Path, tmp_path: Path):
    few = write_retrieved(tmp_path / "few.parquet", IDS[:6])
    counts = Counter(draw_sample(web, few, AnnotationConfig(num_samples=100)).values())
    assert counts == {"score 1 of 4": 1, "score 2 of 4": 2, "score 3 of 4": 1, "score 4 of 4": 2, "not retrieved": 94}


def test_a_small_web_is_taken_whole(corpus: Callable[..., Path], tmp_path: Path):
    web = corpus("small", [*PAGES[:30], PAGES[0]])
    sample = draw_sample(web, write_retrieved(tmp_path / "r.parquet", IDS[:10]), AnnotationConfig())
    assert set(sample) == set(IDS[:30])


def test_a_smaller_sample_is_the_beginning_of_a_larger_one(web: Path, retrieved: Path):
    small, large = (draw_sample(web, retrieved, AnnotationConfig(num_samples=n)) for n in (100, 250))
    assert list(small.items()) == list(large.items())[:100]


def test_most_of_a_sample_stays_when_the_web_grows(web: Path, retrieved: Path, corpus: Callable[..., Path]):
    grown = corpus("grown", [f"a new page {n}" for n in range(60)] + PAGES)
    before, after = (draw_sample(folder, retrieved, AnnotationConfig(num_samples=100)) for folder in (web, grown))
    assert 92 <= len(before.keys() & after.keys()) < 100


def test_another_seed_draws_another_sample(web: Path, retrieved: Path):
    one, other = (draw_sample(web, retrieved, AnnotationConfig(num_samples=100, seed=seed)) for seed in (0, 1))
    assert len(one.keys() & other.keys()) < 50


def test_retrieved_pages_that_the_web_lacks_are_named(web: Path, tmp_path: Path):
    strange = write_retrieved(tmp_path / "strange.parquet", [*IDS[:5], "nowhere"])
    with pytest.raises(ValueError, match=r"strange\.parquet.*nowhere"):
        draw_sample(web, strange, AnnotationConfig())


def test_texts_come_in_the_order_of_the_ids(web: Path):
    wanted = [IDS[500], IDS[3], IDS[260]]
    assert read_texts(web, wanted) == dict(zip(wanted, [PAGES[500], PAGES[3], PAGES[260]], strict=True))
    assert list(read_texts(web, wanted)) == wanted


SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=6)


@given(sizes=SIZES, total=st.integers(0, 120))
def test_quotas_are_as_equal_as_the_strata_allow(sizes: list[int], total: int):
    strata = {f"s{n}": [f"{n}-{k}" for k in range(size)] for n, size in enumerate(sizes)}
    taken = list(islice(take_turns(strata), total))
    counts = Counter(name for _, name in taken)
    assert len({identity for identity, _ in taken}) == len(taken) == min(total, sum(sizes))
    assert all(identity in strata[name] for identity, name in taken)
    smallest_open = [counts[name] for name, ids in strata.items() if counts[name] < len(ids)]
    assert not smallest_open or max(counts.values(), default=0) <= min(smallest_open) + 1


@given(ids=st.sets(st.text(max_size=6), max_size=40), count=st.integers(0, 50), seed=st.integers(0, 3))
def test_a_draw_follows_the_hash_and_not_the_order(ids: set[str], count: int, seed: int):
    ordered = sorted(ids, key=lambda identity: hashlib.blake2b(f"{seed} {identity}".encode()).digest())
    assert draw(ids, count, seed) == draw(sorted(ids), count, seed) == ordered[:count]
