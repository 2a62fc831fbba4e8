import time
from pathlib import Path

import numpy as np
import pytest

from hephaestus_dag.training.figure import MAX_POINTS, draw_loss
from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.metrics import MetricsFile, read_metrics


def test_opening_drops_what_came_after_the_step_and_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    file = MetricsFile(path, 2)
    file.write({"step": 3, "loss": 0.1})
    file.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.1}]


def test_what_a_crash_spoilt_is_dropped_unless_a_checkpoint_needs_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for spoilt in (b"\0\0\0\0\n", b'{"step": 3, \xff}\n'):
        path.write_bytes(b'{"step": 1}\n{"step": 2}\n' + spoilt + b'{"step": 4}\n')
        MetricsFile(path, 2).close()
        assert read_metrics(path) == [{"step": 1}, {"step": 2}]
        with pytest.raises(ValueError, match=r"work: .*metrics\.jsonl has lost step 3 of 4; delete"):
            MetricsFile(path, 4)
        assert read_metrics(path) == [{"step": 1}, {"step": 2}]


def test_a_follower_waits_for_the_new_attempt_and_for_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    follower = MetricsFollower(path)
    assert follower.new_lines() == []
    file = MetricsFile(path, 1)
    assert follower.new_lines() == [{"step": 1}]
    with path.open("a") as half:
        half.write('{"step"')
        half.flush()
        assert follower.new_lines() == []
        half.write(": 2}\n")
    assert follower.new_lines() == [{"step": 2}]
    file.close()


def test_a_follower_takes_a_file_that_comes_later_from_its_start(tmp_path: Path) -> None:
    follower = MetricsFollower(tmp_path / "metrics.jsonl")
    assert follower.new_lines() == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    assert follower.new_lines() == [{"step": 0}]


def test_time_of_lines_that_are_done_again_is_not_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for attempt, (kept, before) in enumerate([(0, 0.0), (2, 3.0), (1, 6.0)], start=1):
        file = MetricsFile(path, kept)
        assert (file.attempts, file.seconds) == (attempt, before)
        for step in range(kept + 1, 4):
            file.write({"step": step, "seconds": 1.0 if attempt == 1 else 3.0})
        file.close()
    assert MetricsFile(path, 0).seconds == 1 + 1 + 1 + 3 + 3 + 3


def test_a_long_run_with_every_kind_of_line_is_drawn_quickly_and_the_same_each_time(tmp_path: Path) -> None:
    losses = 3 + np.exp(-np.arange(1, 60_000) / 9_000)
    lines = [{"step": 0, "heldout": {"agent": {"loss": 5.0}}}]
    for step, loss in enumerate(losses.tolist(), start=1):
        lines.append({"step": step, "tokens": step * 100, "loss": loss, "lr": 1e-3 * min(1.0, step / 500)})
        if step % 9_000 < 3:
            lines[-1] |= {"skipped": "the loss is nan", "loss": None}
        if step % 9_000 == 2:
            lines.append({"step": step, "rewound_to": step - 500})
    lines.append({"step": len(losses), "checkpoint_failed": "No space left on device"})
    lines.append({"step": len(losses), "heldout": {"agent": {"loss": 3.2}}})
    draw_loss(lines, "warm-up", tmp_path / "first.png")
    began = time.process_time()
    draw_loss(lines, "warm-up", tmp_path / "again.png")
    assert time.process_time() - began < 2
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert len(losses) > 10 * MAX_POINTS
    draw_loss(lines[:1], "at its start", tmp_path / "start.png")
    draw_loss([], "before that", tmp_path / "nothing.png")
