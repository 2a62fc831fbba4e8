import json
from dataclasses import replace

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scaling_sweeps import fit_config, scaling, simulate
from test_scaling_predict import mixtures

from hephaestus_dag.scaling.decision import chosen_ratio, decide
from hephaestus_dag.scaling.pictures import draw
from hephaestus_dag.scaling.report import PICTURES, fit_and_write
from hephaestus_dag.scaling.runs import write_runs
from hephaestus_dag.scaling.study import study

FILES = {"law.json", "runs.parquet", "optima.csv", *PICTURES.values()}


@pytest.fixture
def table(tmp_path):
    write_runs(tmp_path / "table.parquet", simulate(0.003, seed=0))
    return tmp_path / "table.parquet"


def test_the_law_is_written_and_the_same_table_gives_the_same_bytes(table, tmp_path):
    seen = []
    figures = fit_and_write(table, fit_config(), tmp_path / "a", lambda done, total: seen.append((done, total)))
    assert fit_and_write(table, fit_config(), tmp_path / "b") == figures
    assert {path.name for path in (tmp_path / "a").iterdir()} == FILES
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert seen[-1][0] == seen[-1][1]
    law = json.loads((tmp_path / "a" / "law.json").read_text())
    assert law["decision"]["agent_ratio"] == figures["agent_ratio"] == figures["ratio"] == law["optima"][-1]["ratio"]
    assert chosen_ratio(tmp_path / "a", fallback=0.9) == (figures["ratio"], "fitted by the scaling law")
    assert len(law["optima"]) == 5
    exponents = law["families"]["joint"]["losses"]["agent"]
    low, high = exponents["intervals"]["alpha"]
    assert low < exponents["parameters"]["alpha"] < high
    for name in PICTURES.values():
        assert (tmp_path / "a" / name).stat().st_size < 150_000
        assert min(Image.open(tmp_path / "a" / name).size) > 300


def test_failed_runs_are_listed_with_their_reason(tmp_path):
    runs = simulate(0.003, seed=0)
    runs[5] = replace(runs[5], status="diverged at step 40", losses={})
    write_runs(tmp_path / "table.parquet", runs)
    assert fit_and_write(tmp_path / "table.parquet", fit_config(), tmp_path / "out")["excluded_runs"] == 1
    law = json.loads((tmp_path / "out" / "law.json").read_text())
    assert law["excluded"] == [{"cell": runs[5].cell, "reason": "diverged at step 40"}]


def test_the_command_prints_the_law_and_its_status_is_the_verdict(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    target = ["--target-params", "8e9", "--target-tokens", "160e9"]
    objective = ["--objective", "agent=0.5,code=0.25,text=0.25"]
    assert scaling("fit", str(table), *objective, *target, "--json", str(tmp_path / "law.json")) == 0
    assert json.loads((tmp_path / "law.json").read_text())["decision"]["status"] == "supported"
    printed = capsys.readouterr().out
    for word in ("alpha", "best ratio", "95 % interval", "regret band", "backtest", "supported: 0."):
        assert word in printed.lower()
    assert scaling("fit", str(table), "--max-interval-width", "0.0001") == 3
    assert "no supported optimum" in capsys.readouterr().out


def test_the_command_names_what_is_wrong(table, capsys):
    assert scaling("fit", str(table), "--objective", "agent:1") == 2
    assert "give it as agent=0.5,code=0.25" in capsys.readouterr().err
    assert scaling("fit", str(table), "--objective", "agent=1,agent=2") == 2
    assert "a loss stands there twice" in capsys.readouterr().err
    assert scaling("fit", str(table), "--objective", "speech=1") == 2
    assert "no loss speech; choose from agent, code, text" in capsys.readouterr().err
    assert scaling("fit", str(table), "--target-params", "8e9") == 2
    assert "together" in capsys.readouterr().err
    assert scaling("fit", str(table.with_name("absent.parquet"))) == 2
    assert "absent.parquet" in capsys.readouterr().err
    assert scaling("fit", str(table), "--draws", "3") == 2
    assert "bootstrap_draws" in capsys.readouterr().err


def test_names_are_no_markup_and_runs_left_out_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    runs = [
        replace(run, losses={"[/bold]" if name == "code" else name: loss for name, loss in run.losses.items()})
        for run in simulate(0.003, seed=0, replicates=False)
    ]
    runs[5] = replace(runs[5], status="diverged at step 40", losses={})
    runs[9] = replace(runs[9], losses=runs[9].losses | {"text": runs[9].losses["text"] + 0.1})
    write_runs(tmp_path / "table.parquet", runs)
    pyarrow.csv.write_csv(pq.read_table(tmp_path / "table.parquet"), tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text().splitlines(keepends=True)
    (tmp_path / "table.csv").write_text("".join([*lines[:2], "\n", *lines[2:], lines[-1]]))
    assert scaling("fit", str(tmp_path / "table.csv"), "--json", str(tmp_path / "law.json")) == 3
    printed = capsys.readouterr().out
    assert "[/bold]" in printed
    assert "table.csv: 25 rows, 23 used, copies of others: 1, 1 left out" in printed
    assert f"left out: line 8, {runs[5].cell}: diverged at step 40" in printed
    assert "sizes: 4.5e+07, 1.35e+08, 3.5e+08, 6.5e+08 parameters" in printed
    assert "token budgets: 9e+08, 2.7e+09, 7e+09, 1.3e+10" in printed
    assert "6 mixtures; only agent varies" in printed
    assert "losses (rows that have them): agent (23), [/bold] (23), text (23)" in printed
    assert "seeds: 1; runs that repeat the size and mixture of another: 0" in printed
    assert f"line 12, {runs[9].cell}: loss text" in printed
    (far,) = json.loads((tmp_path / "law.json").read_text())["outliers"]
    assert (far["place"], far["cell"], far["loss"]) == ("line 12", runs[9].cell, "text")
    assert far["residual"] > 10


def test_off_a_line_the_pictures_show_every_domain_and_a_gain_within_the_noise_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    runs = [
        replace(run, losses={"web": 2 + 1e6 / run.params + 0.003 * rng.standard_normal()})
        for params in (1e7, 4e7, 1.6e8)
        for run in mixtures(params, 20 * params, 10, int(params))
    ]
    config = fit_config(objective={"web": 1.0}, target=None)
    found = study(runs, config)
    assert any("the runs cannot tell mixtures apart" in reason for reason in decide(found, config).reasons)
    draw(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(PICTURES.values())
    assert all(min(Image.open(path).size) > 300 for path in tmp_path.iterdir())


def test_what_cannot_be_written_is_said_before_the_fit(tmp_path, capsys):
    write_runs(tmp_path / "few.parquet", simulate(0.003, seed=0)[:3])
    for command in (["fit", str(tmp_path / "few.parquet")], ["predict", *[str(tmp_path / "few.parquet")] * 2]):
        assert scaling(*command, "--json", str(tmp_path / "absent" / "law.json")) == 2
        assert f"there is no folder {tmp_path / 'absent'}; create it first" in capsys.readouterr().err
        assert scaling(*command, "--json", str(tmp_path)) == 2
        assert "not a file" in capsys.readouterr().err
    assert scaling("fit", str(tmp_path / "few.parquet"), "--pictures", str(tmp_path / "few.parquet")) == 2
    assert "not a folder" in capsys.readouterr().err
