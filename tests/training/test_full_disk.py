"""A disk that refuses to write: checkpoints are missed, nothing that was whole is spoilt, and no output is half there."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hephaestus_dag.training.checkpoint import read_checkpoint
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.loop import train
from hephaestus_dag.training.metrics import MetricsFile, read_metrics
from tests.full_disk import no_file_above

MakeJob = Callable[..., TrainingJob]
STATE, MODEL = 323_000, 107_700
"""Bytes of the files that hold the test model's training state, and its weights."""


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_training_goes_on_without_the_checkpoints(make_job: MakeJob, caplog: pytest.LogCaptureFixture) -> None:
    torch.set_num_threads(1)
    whole, job = make_job(name="whole", title="same"), make_job(name="full", title="same")
    train(whole)
    shutil.copytree(whole.work, job.work)
    shutil.rmtree(job.work / "checkpoints" / "step-00000012")
    before = files(job.work / "checkpoints")
    with no_file_above(STATE - 10_000), caplog.at_level(logging.WARNING):
        train(job)
    assert files(job.work / "checkpoints") == before
    assert read_checkpoint(job.work / "checkpoints" / "step-00000008").step == 8
    assert "the checkpoint of step 12 failed: File too large" in caplog.text
    assert read_metrics(job.metrics)[-1] == {"step": 12, "checkpoint_failed": "File too large"}
    assert files(job.output) == files(whole.output)


def test_the_output_is_whole_or_not_there(make_job: MakeJob) -> None:
    torch.set_num_threads(1)
    job = make_job()
    job.output.mkdir(parents=True)
    with no_file_above(MODEL - 10_000), pytest.raises(OSError, match=r"run/output could not be written .*make room"):
        train(job)
    assert not any(job.output.iterdir())
    assert not any((job.work / "checkpoints").glob("*"))
    train(job)
    assert {path.name for path in job.output.iterdir()} == {"model", "metrics.jsonl", "summary.json", "loss.png"}


def test_metrics_wait_for_room_and_no_line_is_cut_or_lost(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl", 0)
    lines = [{"step": step, "loss": step / 7} for step in range(100)]
    with no_file_above(1_001):
        for line in lines[:70]:
            file.write(line)
        with pytest.raises(OSError, match="too large"):
            file.flush()
        assert read_metrics(tmp_path / "metrics.jsonl") == lines[: len(read_metrics(tmp_path / "metrics.jsonl"))]
        copy = MetricsFile(tmp_path / "copy.jsonl", 0)
        for line in lines:
            copy.write(line)
        with pytest.raises(OSError, match=r"too large: .*copy\.jsonl"):
            copy.close()
    for line in lines[70:]:
        file.write(line)
    file.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == lines


@pytest.mark.slow
@pytest.mark.parametrize("room", [400, 560, 900])
def test_a_file_system_that_is_really_full(make_job: MakeJob, tmp_path: Path, room: int) -> None:
    """400 KB take a checkpoint but no output beside it; 560 also the output, but no second checkpoint; 900 two, not three."""
    allowed = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no file system of our own can be mounted: {allowed.stderr.decode().strip()}")
    whole = make_job(name="whole", title="same")
    train(whole)
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    job = whole.model_copy(update={"work": disk / "work", "output": disk / "output"})
    job.write(tmp_path / "job.json")
    script = f"""
        mount -t tmpfs -o size={room}k none {disk}
        {sys.executable} -m hephaestus_dag.training.worker {tmp_path / "job.json"}
        code=$?
        cp -r {disk} {kept}
        exit $code
    """
    run = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False)
    failed = [line["step"] for line in read_metrics(kept / "work" / "metrics.jsonl") if "checkpoint_failed" in line]
    assert failed == ([12] if room == 900 else [8, 12]), run.stderr
    checkpoints = sorted((kept / "work" / "checkpoints").iterdir())
    assert [read_checkpoint(path).step for path in checkpoints] == ([4, 8] if room == 900 else [4])
    if room == 400:
        assert run.returncode == 1
        assert "disk/output could not be written" in run.stderr
        assert files(kept / "output") == {}
    else:
        assert run.returncode == 0, run.stderr
        assert "No space left on device" in run.stderr
        assert files(kept / "output") == files(whole.output)
        assert json.loads((kept / "work" / "timing.json").read_text())["attempts"] == 1
