"""A store that is full, or cannot be written: clear words, nothing lost, nothing half there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hephaestus_dag.artifacts import ArtifactError, Identity, Report, Store, Workspace
from tests.full_disk import no_file_above

SMALL, LARGE = (Identity(key=key, code="c1") for key in ("small", "large"))


def write_small(workspace: Workspace) -> Report:
    (workspace.folder / "words").write_text("hammer")
    return Report(headline="a word")


def write_large(workspace: Workspace) -> Report:
    (workspace.work / "first").write_text("step 1")
    (workspace.folder / "whole").write_bytes(b"x" * 10_000)
    (workspace.folder / "cut").write_bytes(b"x" * 1_000_000)
    return Report(headline="a million")


def test_a_full_disk_is_said_and_frees_what_was_half_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = store.build(SMALL, write_small).artifact
    with no_file_above(100_000), pytest.raises(ArtifactError, match=r"no room left for the store .*make room.*is kept"):
        store.build(LARGE, write_large)
    left = sorted(path.name for path in (tmp_path / "large").rglob("*"))
    assert left == [f".work-{LARGE.fingerprint[:12]}", "first"]
    assert store.build(SMALL, write_small).artifact == kept
    assert store.build(LARGE, write_large).artifact.num_bytes == 1_010_000


def test_a_store_that_nobody_may_write_is_named() -> None:
    with pytest.raises(ArtifactError, match=r"the store /sys/hephaestus/store cannot be written \(.*HEPHAESTUS_STORE"):
        Store(Path("/sys/hephaestus/store")).build(SMALL, write_small)


def test_another_error_keeps_its_own_words(tmp_path: Path) -> None:
    def refused(_: Workspace) -> Report:
        raise PermissionError(13, "Permission denied", "/elsewhere/secret")

    with pytest.raises(PermissionError, match="/elsewhere/secret"):
        Store(tmp_path).build(SMALL, refused)


SCRIPT = """
import subprocess, sys
from pathlib import Path
from hephaestus_dag.artifacts import Store
from tests.test_unwritable_store import LARGE, SMALL, write_large, write_small

store = Store(Path(sys.argv[1]))
print("reused", store.build(SMALL, write_small).reused)
try:
    store.build(LARGE, write_large)
except Exception as error:
    print(type(error).__name__, error)
print("again", store.build(SMALL, write_small).reused, sorted(p.name for p in store.root.glob("large/*/*")))
"""


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (
            "mount -t tmpfs -o size=400k none $STORE && cp -r $KEPT/. $STORE",
            "no room left .*No space left on device",
        ),
        (
            "mount --bind $KEPT $STORE && mount -o remount,ro,bind $STORE",
            "the store .* cannot be .*Read-only file",
        ),
    ],
)
def test_a_real_file_system_that_refuses(tmp_path: Path, prepare: str, said: str) -> None:
    allowed = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no file system of our own can be mounted: {allowed.stderr.decode().strip()}")
    kept, store = tmp_path / "kept", tmp_path / "store"
    store.mkdir()
    Store(kept).build(SMALL, write_small)
    script = f"KEPT={kept} STORE={store}; {prepare} && exec {sys.executable} -c '{SCRIPT}' $STORE"
    root = Path(__file__).parents[1]
    run = subprocess.run(["unshare", "-Urm", "sh", "-c", script], cwd=root, capture_output=True, text=True, check=False)
    first, second, last = run.stdout.splitlines() or [run.stderr, "", ""]
    assert first == "reused True"
    assert re.search(f"^ArtifactError {said}", second), second
    assert last.startswith("again True [")
    assert "whole" not in last
