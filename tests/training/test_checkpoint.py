import logging
from pathlib import Path

import pytest

from hephaestus_dag.training.checkpoint import Checkpoints, DamagedCheckpointError, read_checkpoint


def commit(checkpoints: Checkpoints, step: int) -> Path:
    state = checkpoints.staging(step) / "state"
    state.mkdir(parents=True)
    (state / "weights.bin").write_bytes(bytes([step]) * 20)
    return checkpoints.commit(step, {"job": "a", "world_size": 1})


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def test_the_newest_two_stay_and_the_newest_is_found(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() is None
    for step in (5, 10, 200):
        commit(checkpoints, step)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["step-00000010", "step-00000200"]
    newest = checkpoints.newest()
    assert newest is not None
    assert (newest.step, newest.head) == (200, {"job": "a", "world_size": 1})


def test_any_changed_or_missing_byte_is_noticed(checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture) -> None:
    commit(checkpoints, 1)
    newest = commit(checkpoints, 2)
    for path in (newest / "state" / "weights.bin", newest / "manifest.json"):
        whole = path.read_bytes()
        for position in range(len(whole)):
            for damaged in (whole[:position], whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :]):
                path.write_bytes(damaged)
                with pytest.raises(DamagedCheckpointError, match="step-00000002"):
                    read_checkpoint(newest)
        with caplog.at_level(logging.WARNING):
            found = checkpoints.newest()
        assert found is not None
        assert found.step == 1
        assert "going back" in caplog.text
        path.write_bytes(whole)
    assert read_checkpoint(newest).step == 2


def test_a_checkpoint_without_manifest_or_half_written_does_not_count(checkpoints: Checkpoints) -> None:
    commit(checkpoints, 1)
    (commit(checkpoints, 2) / "manifest.json").unlink()
    staging = checkpoints.staging(3)
    staging.mkdir()
    found = checkpoints.newest()
    assert found is not None
    assert found.step == 1
    checkpoints.clear()
    assert not staging.exists()


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(checkpoints: Checkpoints) -> None:
    commit(checkpoints, 1)
    path = commit(checkpoints, 2) / "state" / "weights.bin"
    path.write_bytes(b"damaged")
    commit(checkpoints, 2)
    assert path.read_bytes() == b"\x02" * 20
