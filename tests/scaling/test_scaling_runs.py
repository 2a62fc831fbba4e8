import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from scaling_sweeps import RATIOS, SIZES, simulate

from hephaestus_dag.scaling.runs import read_runs, usable_runs, write_runs


def test_a_table_comes_back_as_written(tmp_path):
    runs = simulate(0.003, seed=0)
    runs[3] = replace(runs[3], status="out of memory", losses={})
    runs[4] = replace(runs[4], loss_benchmark=1.5, unique={"agent": 1e9, "code": None, "text": None})
    write_runs(tmp_path / "runs.parquet", runs)
    back = {run.cell: run for run in read_runs(tmp_path / "runs.parquet")}
    assert len(back) == len(runs)
    assert back[runs[0].cell].losses == runs[0].losses
    assert back[runs[3].cell].status == "out of memory"
    assert math.isnan(back[runs[3].cell].losses["agent"])
    assert back[runs[4].cell].loss_benchmark == 1.5
    assert back[runs[4].cell].unique == {"agent": 1e9, "code": None, "text": None}
    pyarrow.csv.write_csv(pq.read_table(tmp_path / "runs.parquet"), tmp_path / "runs.csv")
    assert [r.cell for r in read_runs(tmp_path / "runs.csv")] == list(back)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("loss_agent", math.nan, r"row 2 \(cell .*\): loss_agent is nan; run the cell again"),
        ("loss_code", None, "loss_code is None; run the cell again"),
        ("share_text", 0.9, "share_agent .* must sum to 1"),
        ("share_agent", 17.0, "a share lies between 0 and 1"),
        ("params", 0.0, "params is 0.0; it must be a positive number"),
    ],
)
def test_an_impossible_value_is_named(tmp_path, column, value, message):
    rows = _rows(tmp_path)
    rows[1][column] = value
    _write(tmp_path, rows)
    with pytest.raises(ValueError, match=f"runs.parquet.*{message}"):
        read_runs(tmp_path / "runs.parquet")


def test_a_cell_with_two_results_is_refused_and_a_copy_is_not(tmp_path):
    rows = _rows(tmp_path)
    _write(tmp_path, [*rows, rows[0]])
    assert len(read_runs(tmp_path / "runs.parquet")) == len(rows)
    _write(tmp_path, [*rows, rows[0] | {"loss_text": 1.0}])
    with pytest.raises(ValueError, match="appears twice with different values"):
        read_runs(tmp_path / "runs.parquet")


def test_a_missing_column_is_named(tmp_path):
    pq.write_table(pa.Table.from_pylist(_rows(tmp_path)).drop_columns(["flops"]), tmp_path / "runs.parquet")
    with pytest.raises(ValueError, match=r"missing column\(s\) flops"):
        read_runs(tmp_path / "runs.parquet")


def test_runs_that_cannot_carry_a_law_are_refused_with_the_remedy():
    runs = simulate(0.003, seed=0)
    with pytest.raises(ValueError, match=r"7 usable runs.*train more cells"):
        usable_runs(runs[:7])
    with pytest.raises(ValueError, match=r"one scale .*add at least one other model size"):
        usable_runs([replace(r, params=SIZES[0]) for r in runs])
    with pytest.raises(ValueError, match=r"constant agent ratio 0.17: add cells"):
        usable_runs([replace(r, shares=runs[0].shares) for r in runs])
    with pytest.raises(ValueError, match="only 2 agent ratios"):
        usable_runs(simulate(0.003, seed=0, ratios=RATIOS[:2]))
    tilted = replace(runs[0], shares={"agent": 0.17, "code": 0.8, "text": 0.03})
    with pytest.raises(ValueError, match="split the same way"):
        usable_runs([tilted, *runs[1:]])
    failed = [replace(r, status="diverged") for r in runs[:3]]
    assert len(usable_runs([*failed, *runs[3:]])) == len(runs) - 3


def test_the_order_of_the_rows_does_not_matter():
    runs = simulate(0.003, seed=0)
    assert usable_runs(runs[::-1]) == usable_runs(runs)


def _rows(folder):
    write_runs(folder / "runs.parquet", simulate(0.003, seed=0))
    return pq.read_table(folder / "runs.parquet").to_pylist()


def _write(folder, rows):
    pq.write_table(pa.Table.from_pylist(rows), folder / "runs.parquet")
