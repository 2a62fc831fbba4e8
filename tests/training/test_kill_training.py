"""The benchmark that disturbs training, with few kills."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_training.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc and sets limits")
def test_neither_kills_nor_damage_change_the_weights() -> None:
    command = [sys.executable, str(SCRIPT), "kills", "damage", "--kills", "3"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "everything as it should be" in run.stdout
