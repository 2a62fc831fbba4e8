"""Processes that fall silent, or stand still, are named; none is ended for it."""

import os
import sys
import time
from pathlib import Path

import pytest

from hephaestus_dag.training import pulse
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.pulse import Pulses

FROZEN = """
import os, signal, subprocess, sys, time
from hephaestus_dag.training import pulse
pulse.EVERY = 0.1
pulse.start_pulse()
if os.environ["RANK"] == "1":
    later = f"import os, time; time.sleep(3); os.kill({os.getpid()}, {signal.SIGCONT})"
    subprocess.Popen([sys.executable, "-c", later])
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(3.5 if os.environ["RANK"] == "0" else 0.5)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process is stopped by a signal")
def test_a_stopped_process_is_named_and_its_job_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "SILENCE", 1.0)
    monkeypatch.setattr(pulse, "EVERY", 0.1)
    warnings: list[str] = []
    plan = LaunchPlan(
        title="pair",
        argv=(sys.executable, "-c", FROZEN),
        env={pulse.VARIABLE: str(tmp_path / "pulses")},
        work=tmp_path,
        num_processes=2,
    )
    run_local(plan, lambda metrics: None, warnings.append)
    silent = [warning for warning in warnings if "no sign of life" in warning]
    assert len(silent) == 1, "rank 0 sleeps as long, but gives signs of life"
    assert silent[0].startswith(f"pair: rank 1 on {os.uname().nodename} has given no sign of life for ")
    assert "s; it was at <string>, line " in silent[0]
    assert any(warning == f"pair: rank 1 on {os.uname().nodename} is back" for warning in warnings)


def test_a_standstill_says_where_each_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "SILENCE", 0.5)
    monkeypatch.setattr(pulse, "EVERY", 0.1)
    metrics = tmp_path / "metrics.jsonl"
    pulses, remarks = Pulses(tmp_path, [metrics]), []
    for number in range(200):
        for rank, place in enumerate(("comm.py, line 7, in all_reduce", "loader.py, line 3, in batch")):
            (tmp_path / f"rank-{rank}").write_text(f"{number}\nhost-{rank}\n{place}\n")
        if number < 4:
            metrics.open("a").write("{}\n")
        time.sleep(0.04)
        remarks += pulses.remarks()
    assert len(remarks) == 1
    assert remarks[0].startswith("no step for ")
    places = "rank 0 on host-0 is at comm.py, line 7, in all_reduce; rank 1 on host-1 is at loader.py, line 3, in batch"
    assert remarks[0].endswith(places)


def test_nothing_is_said_of_processes_that_give_no_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "SILENCE", 0.0)
    monkeypatch.setattr(pulse, "EVERY", 0.1)
    pulses = Pulses(tmp_path, [tmp_path / "metrics.jsonl"])
    time.sleep(0.1)
    assert pulses.remarks() == []
