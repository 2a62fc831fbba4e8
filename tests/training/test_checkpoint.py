import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaestus_dag.training.checkpoint import Checkpoints, DamagedCheckpointError, read_checkpoint


def commit(checkpoints: Checkpoints, step: int) -> Path:
    state = checkpoints.staging(step) / "state"
    state.mkdir(parents=True)
    content = {f"state/{name}.bin": bytes([step, number]) * 20 for number, name in enumerate(("weights", "moments"))}
    for name, value in content.items():
        (checkpoints.staging(step) / name).write_bytes(value)
    digests = {name: hashlib.sha256(value).hexdigest() for name, value in content.items()}
    return checkpoints.commit(step, {"job": "a", "updates": step}, digests)


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
    assert (newest.step, newest.head) == (200, {"job": "a", "updates": 200})


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_changed_or_missing_byte_is_noticed(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    if not checkpoints.folder.exists():
        commit(checkpoints, 1)
    newest = commit(checkpoints, 2)
    path = data.draw(st.sampled_from(sorted(path for path in newest.rglob("*") if path.is_file())))
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[position]))
    cut = data.draw(st.booleans())
    path.write_bytes(whole[:position] + (b"" if cut else bytes([other]) + whole[position + 1 :]))
    with pytest.raises(DamagedCheckpointError, match="step-00000002"):
        read_checkpoint(newest)
    caplog.clear()
    found = checkpoints.newest()
    assert found is not None
    assert found.step == 1
    assert "going back" in caplog.text
    assert path.name in caplog.text


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
    assert path.read_bytes() == b"\x02\x00" * 20
