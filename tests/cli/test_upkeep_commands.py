import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hephaestus_dag.artifacts import Identity, Report, Store, Workspace
from hephaestus_dag.cli.main import main

WORDS = Identity(key="words", code="c")


def write(workspace: Workspace) -> Report:
    (workspace.folder / "words.txt").write_text("hammer\n")
    return Report(headline="1 word", figures={"words": 1})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Store(tmp_path).build(WORDS, write).artifact.path


def run(*arguments: str, store: Path) -> Result:
    return CliRunner().invoke(main, [*arguments, "--store", str(store)])


def test_verify_ends_with_1_when_something_is_damaged(folder: Path, tmp_path: Path) -> None:
    sound = run("verify", store=tmp_path)
    assert sound.exit_code == 0
    assert "all as they were written" in sound.output
    (folder / "words.txt").write_text("hamner\n")
    damaged = run("verify", "words", store=tmp_path)
    assert damaged.exit_code == 1
    assert f"{folder / 'words.txt'} was changed after it was written" in damaged.output
    told = json.loads(run("verify", "--json", store=tmp_path).output)
    assert (told["sound"], told["damages"][0]["remedy"]) == (False, "hephaestus rebuild words")


def test_what_is_not_there_is_said_without_a_traceback(folder: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("verify", "word"), "did you mean words"),
        (("card", "word"), "did you mean words"),
        (("rebuild", "--check", "words", "nosuch"), "no recipe 'nosuch'"),
        (("prune", "nosuch.yaml"), "no recipe 'nosuch.yaml'"),
    ):
        found = run(*arguments, store=tmp_path)
        assert found.exit_code == 2, found.output
        assert message in found.output
    assert "there is no store" in run("verify", store=tmp_path / "nowhere").output


def test_card_is_written_where_asked(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    assert run("card", "words", "-o", str(file), store=tmp_path).exit_code == 0
    assert "| words | 1 |" in file.read_text()
    assert run("card", "words", store=tmp_path).output == file.read_text()
    file.write_text("of a person")
    refused = run("card", "words", "-o", str(file), store=tmp_path)
    assert (refused.exit_code, file.read_text()) == (2, "of a person")
    assert "--force" in refused.output
    assert run("card", "words", "-o", str(file), "--force", store=tmp_path).exit_code == 0
    assert "| words | 1 |" in file.read_text()
    nowhere = run("card", "words", "-o", str(tmp_path / "no" / "card.md"), store=tmp_path)
    assert nowhere.exit_code == 2
    assert "cannot be written: No such file" in nowhere.output


def test_a_store_is_a_folder_with_a_name(folder: Path, tmp_path: Path) -> None:
    empty = CliRunner().invoke(main, ["prune", "laptop", "--store", ""])
    assert (empty.exit_code, "it is empty" in empty.output) == (2, True)
    file = run("verify", store=folder / "words.txt")
    assert (file.exit_code, "is a file; a store is a folder" in file.output) == (2, True)
    for arguments in (("rebuild", "text_documents"), ("prune", "laptop"), ("card", "words")):
        found = run(*arguments, store=tmp_path / "nowhere")
        assert (found.exit_code, "there is no store" in found.output) == (2, True), found.output
    assert not (tmp_path / "nowhere").exists()


def test_what_a_rebuild_put_aside_has_its_own_remedy(folder: Path, tmp_path: Path) -> None:
    folder.rename(folder.with_name(f".aside-{folder.name}"))
    told = run("verify", store=tmp_path).output
    assert "`hephaestus rebuild KEY`" in told
    assert "resumes" not in told


def test_prune_lists_first_and_removes_when_told(folder: Path, tmp_path: Path) -> None:
    listed = run("prune", "laptop", store=tmp_path)
    assert listed.exit_code == 0, listed.output
    assert f"words/{folder.name}" in listed.output
    assert "nothing was removed" in listed.output
    assert folder.exists()
    assert listed.output.count("stays") == 1
    assert json.loads(run("prune", "laptop", "--yes", "--json", store=tmp_path).output)["removed"] == []
    told = json.loads(run("prune", "laptop", "--yes", "--older-than", "0", "--json", store=tmp_path).output)
    assert str(folder) in told["removed"]
    assert not folder.exists()


def test_rebuild_needs_the_asset_the_artifact_and_its_inputs(tmp_path: Path) -> None:
    for arguments, message in (
        (("rebuild", "--check", "stage3_checkpoint"), "did you mean hephaestus/stage3_checkpoint"),
        (("rebuild", "--check", "tokenizer"), "tokenizer is not in the store"),
        (("rebuild", "tokenizer"), "tokenizer is made from seed_corpus, not in the store"),
    ):
        found = run(*arguments, store=tmp_path)
        assert found.exit_code == 2, found.output
        assert message in found.output


def interrupted(when: Callable[[], object], *arguments: object) -> tuple[int, str]:
    """Return exit status and output of a command that gets an interrupt once something is so."""
    command = [sys.executable, "-m", "hephaestus_dag.cli.main", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not when() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_interrupted_rebuild_leaves_no_process_and_the_artifact_as_it_was(folder: Path, tmp_path: Path) -> None:
    def building() -> bool:
        return any(tmp_path.glob("text_documents/.work-*"))

    status, output = interrupted(building, "rebuild", "text_documents", "--store", tmp_path)
    assert (status, output.strip()) == (130, "stopped; nothing half-written stays"), output
    assert not any(tmp_path.glob("text_documents/[0-9a-f]*"))
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            assert f"HEPHAESTUS_STORE={tmp_path}".encode() not in environment.read_bytes()


@pytest.mark.slow
def test_a_rebuilt_asset_is_the_same_and_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    built = run("rebuild", "text_documents", store=tmp_path)
    assert built.exit_code == 0, built.output
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    checked = run("rebuild", "--check", "text_documents", "--json", store=tmp_path)
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.output)["differences"] == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
