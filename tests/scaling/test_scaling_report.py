import json
from dataclasses import replace

import pytest
from PIL import Image
from scaling_sweeps import fit_config, simulate

from hephaestus_dag.scaling.__main__ import main
from hephaestus_dag.scaling.decision import chosen_ratio
from hephaestus_dag.scaling.report import PICTURES, fit_and_write
from hephaestus_dag.scaling.runs import write_runs

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
    objective = ["--objective", "agent=0.5", "code=0.25", "text=0.25"]
    assert main(["fit", str(table), *objective, *target, "--json", str(tmp_path / "law.json")]) == 0
    assert json.loads((tmp_path / "law.json").read_text())["decision"]["status"] == "supported"
    printed = capsys.readouterr().out
    for word in ("alpha", "best ratio", "95 % interval", "regret band", "backtest", "supported: 0."):
        assert word in printed.lower()
    assert main(["fit", str(table), "--max-interval-width", "0.0001"]) == 3
    assert "no supported optimum" in capsys.readouterr().out


def test_the_command_names_what_is_wrong(table, capsys):
    assert main(["fit", str(table), "--objective", "agent:1"]) == 2
    assert "give it as agent=0.5 code=0.25" in capsys.readouterr().err
    assert main(["fit", str(table), "--objective", "agent=1", "agent=2"]) == 2
    assert "a loss stands there twice" in capsys.readouterr().err
    assert main(["fit", str(table), "--objective", "speech=1"]) == 2
    assert "no loss speech; choose from agent, code, text" in capsys.readouterr().err
    assert main(["fit", str(table), "--target-params", "8e9"]) == 2
    assert "together" in capsys.readouterr().err
    assert main(["fit", str(table.with_name("absent.parquet"))]) == 2
    assert "absent.parquet" in capsys.readouterr().err
    assert main(["fit", str(table), "--draws", "3"]) == 2
    assert "bootstrap_draws" in capsys.readouterr().err


def test_names_are_no_markup_and_runs_left_out_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    runs = [
        replace(run, losses={"[/bold]" if name == "code" else name: loss for name, loss in run.losses.items()})
        for run in simulate(0.003, seed=0, replicates=False)
    ]
    runs[5] = replace(runs[5], status="diverged at step 40", losses={})
    write_runs(tmp_path / "table.parquet", runs)
    assert main(["fit", str(tmp_path / "table.parquet")]) == 3
    printed = capsys.readouterr()
    assert "[/bold]" in printed.out
    assert f"left out: {runs[5].cell}: diverged at step 40" in printed.err
