import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.config import TrainingConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.progress import Progress, ProgressLog


def line(step: int, **more: Any) -> dict[str, Any]:
    mix = {"agent": 3, "text": 1} if step % 2 else {"agent": 2, "text": 2}
    speed = {"seconds": 0.5, "tokens_per_second": 256.0, "mfu": 0.41}
    return {"step": step, "tokens": 128 * step, "loss": 3.25, "lr": 2e-4, "grad_norm": 1.0, "mix": mix, **speed, **more}


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    """A job of twelve steps of four sequences; only the head of its mixture is there."""
    (tmp_path / "mixture.json").write_text(json.dumps({"num_sequences": 48, "sequence_length": 32}))
    return TrainingJob(
        title="run",
        model=tmp_path,
        tokenizer=tmp_path,
        mixture=tmp_path,
        stores=(tmp_path,),
        heldout={},
        config=TrainingConfig(global_batch_sequences=4, micro_batch_sequences=1, learning_rate=0.1),
        output=tmp_path / "output",
        work=tmp_path / "work",
    )


@pytest.fixture
def lines(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> tuple[ProgressLog, list[str], list[str]]:
    monkeypatch.setattr("hephaestus_dag.training.progress.SECONDS_BETWEEN_LINES", 0.0)
    said: list[str] = []
    warned: list[str] = []
    return ProgressLog(job, said.append, warned.append), said, warned


def test_a_line_says_what_was_shown_and_how_long_it_takes(lines: tuple[ProgressLog, list[str], list[str]]) -> None:
    log, said, warned = lines
    for step in range(1, 4):
        log.note(line(step))
    log.note({"step": 3, "heldout": {"agent": {"loss": 2.5}, "text": {"loss": 3.0}}})
    assert said[2:] == [
        "run: step 3 of 12, loss 3.250, lr 0.0002, 256 tokens/s, MFU 41.0%, 4 s left; tokens so far: agent 256, text 128",
        "run: step 3, held-out loss: agent 2.500, text 3.000",
    ]
    assert warned == []


def test_an_unknown_peak_leaves_the_mfu_out(lines: tuple[ProgressLog, list[str], list[str]]) -> None:
    log, said, _ = lines
    log.note(line(1, mfu=None))
    assert "MFU" not in said[0]


def test_what_goes_wrong_is_said_at_once(
    lines: tuple[ProgressLog, list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, said, warned = lines
    monkeypatch.setattr("hephaestus_dag.training.progress.SECONDS_BETWEEN_LINES", 1e9)
    log.note(line(5))
    log.note(line(6, loss=None, skipped="the loss is nan"))
    log.note({"step": 6, "rewound_to": 4})
    log.note({"step": 8, "checkpoint_failed": "No space left on device"})
    assert said == []
    assert warned == [
        "run: step 6 was skipped: the loss is nan",
        "run: step 6: back to the weights of step 4, and on with the data",
        "run: step 8: the checkpoint could not be written (No space left on device); the one before it stays",
    ]


def test_steps_done_again_after_a_restart_count_once(job: TrainingJob) -> None:
    straight, disturbed = Progress(job), Progress(job)
    for step in range(1, 9):
        straight.take(line(step))
    for metrics in [*map(line, range(1, 6)), {"step": 5, "heldout": {}, "seconds": 99.0}, *map(line, range(3, 9))]:
        disturbed.take(metrics)
    assert disturbed.tokens == straight.tokens == {"agent": 20 * 32, "text": 12 * 32}
    assert disturbed.line == straight.line


def test_the_tokens_of_a_long_run_cost_no_time(job: TrainingJob) -> None:
    progress = Progress(job)
    for step in range(1, 200_001):
        progress.take(line(step))
    began = time.process_time()
    assert progress.tokens["agent"] > 0
    assert time.process_time() - began < 0.01


SHOW = """
import sys
from pathlib import Path
from hephaestus_dag.training.config import TrainingConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.metrics import MetricsFile
from hephaestus_dag.training.progress import showing
job = TrainingJob.read(Path(sys.argv[1]))
with showing(job):
    file = MetricsFile(job.metrics, -1)
    file.write({"step": 0, "heldout": {"text": {"loss": 5.5}}})
    for step in range(1, 13):
        file.write({"step": step, "tokens": 128 * step, "loss": 2.5, "lr": 0.01, "mix": {"text": 4}, "seconds": 0.1,
                    "tokens_per_second": 1280.0, "mfu": 0.25})
    print("a warning", file=sys.stderr)
"""


def test_lines_where_there_is_no_terminal(job: TrainingJob) -> None:
    job.write(job.work / "job.json")
    shown = subprocess.run(
        [sys.executable, "-c", SHOW, job.work / "job.json"], capture_output=True, text=True, check=True
    ).stderr
    assert shown.splitlines()[-1] == (
        "run: step 12 of 12, loss 2.500, lr 0.01, 1,280 tokens/s, MFU 25.0%, 0 s left; tokens so far: text 1.54K"
    )
    assert "run: step 0, held-out loss: text 5.500" in shown
    assert "\x1b" not in shown


@pytest.mark.skipif(sys.platform != "linux", reason="reads a pseudo-terminal as Linux has it")
def test_a_bar_on_a_terminal(job: TrainingJob) -> None:
    job.write(job.work / "job.json")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "150", "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", SHOW, job.work / "job.json"], stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += (part := os.read(ours, 65_536))
            except OSError:  # the other end was closed
                break
            if not part:
                break
    os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    assert "━" in text
    assert "12/12" in text
    assert "loss 2.500, lr 0.01, 1,280 tokens/s, MFU 25.0%, 0 s left" in text
    assert "step 0, held-out loss: text 5.500" in text
