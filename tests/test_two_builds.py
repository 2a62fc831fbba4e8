"""Two builds of one artifact at the same time, over two paths: one works, the other waits and finds the work done."""

import multiprocessing
import os
import time
from pathlib import Path

from hephaestus_dag.artifacts import Identity, Report, Store, Workspace

IDENTITY = Identity(key="sword", code="c1")


def build(root: Path, store: str) -> None:
    def write(workspace: Workspace) -> Report:
        with (root / "began").open("a") as file:
            file.write(f"{os.getpid()}\n")
        (workspace.folder / "half").write_text("half")
        time.sleep(0.5)
        (workspace.folder / "half").write_text("whole")
        return Report(headline="a sword")

    while len(list(root.glob("ready-*"))) < 2:  # both are there
        (root / f"ready-{os.getpid()}").touch()
        time.sleep(0.01)
    built = Store(root / store).build(IDENTITY, write)
    (root / f"done-{os.getpid()}").write_text(f"{built.reused} {(built.artifact.path / 'half').read_text()}")


def test_the_second_of_two_builds_waits_and_reuses(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    (tmp_path / "store").mkdir()
    (tmp_path / "mounted").symlink_to(tmp_path / "store")  # as two machines reach one network drive
    processes = [spawn.Process(target=build, args=(tmp_path, store)) for store in ("store", "mounted")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len((tmp_path / "began").read_text().split()) == 1
    assert sorted(path.read_text() for path in tmp_path.glob("done-*")) == ["False whole", "True whole"]
    assert [path.name for path in (tmp_path / "store" / "sword").iterdir()] == [IDENTITY.fingerprint[:12]]
