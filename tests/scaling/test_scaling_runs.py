import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_sweeps import RATIOS, simulate

from hephaestus_dag.scaling.runs import read_runs, write_runs
from hephaestus_dag.scaling.table import seed_noise, usable

PLAIN = "params,tokens,share_web,share_code,loss_web,loss_code\n"


def test_a_table_comes_back_as_written(tmp_path):
    runs = simulate(0.003, seed=0)
    runs[3] = replace(runs[3], status="out of memory", losses={})
    losses = {**runs[4].losses, "benchmark": 1.5}
    runs[4] = replace(runs[4], losses=losses, unique={"agent": 1e9, "code": None, "text": None})
    write_runs(tmp_path / "runs.parquet", runs)
    back = {run.cell: run for run in read_runs(tmp_path / "runs.parquet")}
    assert len(back) == len(runs)
    assert back[runs[0].cell].losses == runs[0].losses
    assert (back[runs[3].cell].status, back[runs[3].cell].losses) == ("out of memory", {})
    assert back[runs[4].cell].losses == losses
    assert back[runs[4].cell].unique == {"agent": 1e9, "code": None, "text": None}
    pyarrow.csv.write_csv(pq.read_table(tmp_path / "runs.parquet"), tmp_path / "runs.csv")
    assert read_runs(tmp_path / "runs.csv") == list(back.values())


def test_a_plain_table_of_two_domains_is_enough(tmp_path):
    rows = "1e6,1e9,0.3,0.7,3.1,\n1e6,1e9,0.5,0.5,3.0,1.9\n"
    (tmp_path / "t.csv").write_text(PLAIN + rows)
    first, second = read_runs(tmp_path / "t.csv")
    assert first.losses == {"web": 3.1}
    assert second.losses == {"web": 3.0, "code": 1.9}
    assert (first.flops, first.seed, first.status) == (6e15, 0, "ok")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("loss_agent", math.nan, r"row 2 \(cell .*\): loss_agent is nan; run the cell again"),
        ("loss_code", -1.0, "loss_code is -1.0; run the cell again"),
        ("share_text", 0.9, "the shares sum to .* must sum to 1"),
        ("share_agent", 17.0, "a share lies between 0 and 1"),
        ("params", 0.0, "params is 0.0; it must be a positive number"),
        ("tokens", None, "tokens is empty; it must be a positive number"),
        ("unique_code", 0.0, "unique_code is 0.0; it must be a positive number, or empty"),
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
    with pytest.raises(ValueError, match=rf"rows 1 and {len(rows) + 1}: .* stands there twice with different values.*seed"):
        read_runs(tmp_path / "runs.parquet")
    rows = "1e6,1e9,0.3,0.7,3.1,2\n1e6,1e9,0.3,0.7,3.2,2\n"
    (tmp_path / "t.csv").write_text(PLAIN + rows)
    with pytest.raises(ValueError, match=r"rows 1 and 2: .*0\.3.* twice"):
        read_runs(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params,share_a,share_b,loss_a\n1,0.5,0.5,1\n", r"missing column\(s\) tokens"),
        ("params,tokens,share_a,loss_a\n1,1,1,1\n", "1 columns share_<domain>, 2 to 20"),
        (PLAIN, "no rows"),
        (PLAIN + "many,1e9,0.3,0.7,3.1,2\n", "params is 'many'; it must be a number"),
        (PLAIN + "1e6,1e9,0.3,0.7,,\n1e6,1e9,0.4,0.6,1,1\n", "row 1: no loss at all"),
        (PLAIN + "1e6,1e9\n", "not a readable table"),
        (PLAIN + "1e6,1e9,0.3,0.7,nan,1\n", "row 1: loss_web is nan; run the cell again"),
        (PLAIN.replace("loss_code", "loss_web") + "1e6,1e9,0.3,0.7,1,2\n", r"column\(s\) loss_web stand there twice"),
        (PLAIN.replace(",", ";") + "1e6;1e9;0,3;0,7;3,1;2\n", "separated by semicolons; separate them by commas"),
        (PLAIN.replace(",", "\t") + "1e6\t1e9\t0.3\t0.7\t3.1\t2\n", "separated by tabs; separate them by commas"),
        ("seed," + PLAIN + "inf,1e6,1e9,0.3,0.7,1,2\n", "row 1: seed is inf; it must be a whole number"),
        ("seed," + PLAIN + "1.5,1e6,1e9,0.3,0.7,1,2\n", "row 1: seed is 1.5; it must be a whole number"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"t\.csv: .*{message}"):
        read_runs(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such file"):
        read_runs(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="a folder, not a table"):
        read_runs(tmp_path)


def test_spaces_in_the_header_and_other_spellings_of_ok_do_no_harm(tmp_path):
    (tmp_path / "t.csv").write_text("status, " + PLAIN.replace(",", ", ") + "OK,1e6,1e9,0.3,0.7,3.1,2\n")
    assert read_runs(tmp_path / "t.csv")[0].losses == {"web": 3.1, "code": 2.0}
    write_runs(tmp_path / "T.PARQUET", simulate(0.003, seed=0))
    assert len(read_runs(tmp_path / "T.PARQUET")) == 28


def test_checkpoints_of_one_cell_are_no_contradiction(tmp_path):
    (tmp_path / "t.csv").write_text("cell," + PLAIN + "a,1e6,1e9,0.3,0.7,3.1,2\na,1e6,2e9,0.3,0.7,3.0,2\n")
    assert [run.tokens for run in read_runs(tmp_path / "t.csv")] == [1e9, 2e9]


def test_every_row_is_read_where_rows_are_to_be_predicted(tmp_path):
    (tmp_path / "t.csv").write_text(PLAIN + "1e6,1e9,0.3,0.7,3.1,2\n" * 2 + "1e6,1e9,0.3,0.7,3.2,2\n")
    assert [run.losses["web"] for run in read_runs(tmp_path / "t.csv", every_row=True)] == [3.1, 3.1, 3.2]


def test_runs_that_cannot_carry_a_law_are_refused_with_the_remedy():
    runs = simulate(0.003, seed=0)
    with pytest.raises(ValueError, match=r"7 usable runs.*train more cells"):
        usable(runs[:7])
    with pytest.raises(ValueError, match=r"one mixture \(agent 0.17.*: add|one mixture \(agent 0.17.*add cells"):
        usable([replace(r, shares=runs[0].shares) for r in runs])
    with pytest.raises(ValueError, match="only 2 mixtures"):
        usable(simulate(0.003, seed=0, ratios=RATIOS[:2]))
    with pytest.raises(ValueError, match="no run has a loss"):
        usable([replace(r, losses={}) for r in runs])
    failed = [replace(r, status="diverged", losses={}) for r in runs[:3]]
    assert len(usable([*failed, *runs[3:]]).params) == len(runs) - 3


def test_a_line_of_mixtures_is_recognised():
    runs = simulate(0.003, seed=0)
    assert usable(runs).axis == 0
    tilted = replace(runs[0], shares={"agent": 0.17, "code": 0.8, "text": 0.03})
    assert usable([tilted, *runs[1:]]).axis is None
    alone = [replace(r, shares={"agent": 1.0, "code": 0.0, "text": 0.0}) for r in runs if r.shares["agent"] == RATIOS[-1]]
    assert usable([*runs, *alone]).axis == 0


def test_a_loss_that_some_repeats_lack_has_the_noise_of_the_others():
    runs = [run for seed in range(40) for run in simulate(0.01, seed=seed, ratios=RATIOS[:3])[:3]]
    runs = [replace(run, seed=i) for i, run in enumerate(runs)]
    gaps = [run if i % 4 == 0 else replace(run, losses={"agent": run.losses["agent"]}) for i, run in enumerate(runs)]
    covariance, repeats = seed_noise(usable(gaps))
    assert repeats == 117
    assert covariance[1, 1] ** 0.5 == pytest.approx(0.01, rel=0.35)


@settings(max_examples=20, deadline=None)
@given(st.randoms())
def test_the_order_of_the_rows_does_not_matter(random):
    runs = simulate(0.003, seed=0)
    first = usable(runs)
    random.shuffle(runs)
    again = usable(runs)
    assert (again.losses == first.losses).all()
    assert (again.run == first.run).all()


def _rows(folder):
    write_runs(folder / "runs.parquet", simulate(0.003, seed=0))
    return pq.read_table(folder / "runs.parquet").to_pylist()


def _write(folder, rows):
    pq.write_table(pa.Table.from_pylist(rows), folder / "runs.parquet")
