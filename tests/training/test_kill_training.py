"""The benchmark that disturbs training, with few kills."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_training.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc and sets limits")
@pytest.mark.parametrize("cases", [("kills", "damage"), ("disk", "worlds")], ids="-".join)
def test_nothing_that_happens_to_a_job_changes_its_weights(cases: tuple[str, ...]) -> None:
    run = subprocess.run([sys.executable, str(SCRIPT), *cases, "--kills", "3"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "everything as it should be" in run.stdout
