import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.retrieval.embeddings import write_vectors
from hephaestus_dag.retrieval.vectors import check_same_encoder, open_vectors


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    rows=st.lists(st.integers(0, 10**6), max_size=30),
    step=st.integers(1, 7),
)
@settings(max_examples=25, deadline=None)
def test_blocks_and_take_give_what_was_written(sizes: list[int], rows: list[int], step: int):
    total = sum(sizes)
    whole = np.random.default_rng(total).normal(size=(total, 3)).astype(np.float32)
    starts = np.cumsum([0, *sizes])
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "v"
        write_vectors(folder, (([f"d{r}" for r in range(a, b)], whole[a:b]) for a, b in itertools.pairwise(starts)), {}, 3)
        vectors = open_vectors(folder)
        assert len(vectors) == total
        for first, block in vectors.blocks(step):
            assert 1 <= len(block) <= step
            np.testing.assert_array_equal(block, whole[first : first + len(block)])
        assert sum(len(block) for _, block in vectors.blocks(step)) == total
        asked = np.array([row % total for row in rows], dtype=np.int64)
        np.testing.assert_array_equal(vectors.take(asked), whole[asked])
        assert vectors.ids.to_pylist() == [f"d{row}" for row in range(total)]
        blocks = list(vectors.id_blocks(step))
        assert [identity for _, ids in blocks for identity in ids] == vectors.ids.to_pylist()
        assert all(ids[0] == f"d{first}" for first, ids in blocks)


@pytest.mark.parametrize("row", [-1, 4])
def test_a_row_that_is_not_there_is_refused(tmp_path: Path, row: int):
    write_vectors(tmp_path, [(["a", "b"], np.zeros((2, 3))), (["c", "d"], np.zeros((2, 3)))], {}, 3)
    with pytest.raises(IndexError, match="rows 0 to 3"):
        open_vectors(tmp_path).take(np.array([0, row]))


def test_vectors_of_the_wrong_shape_or_without_a_value_are_refused_and_leave_nothing(tmp_path: Path):
    good = (["a", "b"], np.ones((2, 3), dtype=np.float32))
    with pytest.raises(ValueError, match=r"shape \(1, 2\).*dimension 3"):
        write_vectors(tmp_path / "v", [good, (["c"], np.ones((1, 2)))], {}, 3)
    with pytest.raises(ValueError, match="document d is not finite"):
        write_vectors(tmp_path / "v", [good, (["c", "d"], np.array([[1, 1, 1], [1, np.inf, 1]]))], {}, 3)
    assert contents(tmp_path) == {}


def test_a_second_write_replaces_the_first(tmp_path: Path):
    for count in (3, 1):
        write_vectors(tmp_path, [([f"d{n}"], np.full((1, 2), n)) for n in range(count)], {}, 2)
    assert len(open_vectors(tmp_path)) == 1
    assert sorted(contents(tmp_path)) == ["ids.parquet", "vectors.json", "vectors/part-00000.npy"]


@pytest.mark.parametrize("name", ["vectors/part-00001.npy", "ids.parquet", "vectors.json"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed", "other"])
def test_a_damaged_folder_names_its_file(tmp_path: Path, name: str, damage: str):
    for folder, rows in (("v", 2), ("w", 3)):
        blocks = [([f"{n}{row}" for row in range(rows)], np.ones((rows, 4))) for n in range(2)]
        write_vectors(tmp_path / folder, blocks, {"model": "m"}, 4)
    path = tmp_path / "v" / name
    if damage == "removed":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:-20], "emptied": b"", "other": (tmp_path / "w" / name).read_bytes()}[damage])
    error = FileNotFoundError if (name, damage) == ("vectors.json", "removed") else ValueError
    blamed = "part-00000.npy" if (name, damage) == ("vectors.json", "other") else Path(name).name
    with pytest.raises(error, match=blamed):
        open_vectors(tmp_path / "v")


def test_different_encoders_are_named_by_field(tmp_path: Path):
    for name, encoder, dimension in (("a", {"model": "m", "pooling": "cls"}, 2), ("b", {"model": "m", "pooling": "mean"}, 2)):
        write_vectors(tmp_path / name, [(["x"], np.ones((1, dimension)))], encoder, dimension)
    write_vectors(tmp_path / "c", [(["x"], np.ones((1, 3)))], {"model": "m", "pooling": "cls"}, 3)
    a, b, c = (open_vectors(tmp_path / name) for name in "abc")
    check_same_encoder(a, a, "queries and pages")
    with pytest.raises(ValueError, match=r"queries and pages: .* differ in pooling"):
        check_same_encoder(a, b, "queries and pages")
    with pytest.raises(ValueError, match="dimensions 2 and 3"):
        check_same_encoder(a, c, "queries and pages")
