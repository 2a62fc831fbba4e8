from pathlib import Path

from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.metrics import MetricsFile, read_metrics


def test_opening_drops_what_came_after_the_step_and_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    file = MetricsFile(path, 2)
    file.write({"step": 3, "loss": 0.1})
    file.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.1}]


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
