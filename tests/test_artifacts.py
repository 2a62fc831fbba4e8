import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.artifacts import (
    Check,
    DamagedArtifactError,
    Identity,
    MissingArtifactError,
    Report,
    Store,
    Workspace,
    differences,
)

IDENTITY = Identity(key="seed_corpus", code="c1", values={"seed_corpus.sample": 3}, inputs={"text_documents": "aa"})


def write_words(workspace: Workspace) -> Report:
    (workspace.folder / "part").mkdir()
    (workspace.folder / "part" / "words.txt").write_text("hammer\nanvil\n")
    return Report(headline="2 words", figures={"words": 2}, checks=[Check(name="has_words", passed=True, detail="2")])


def test_build_commits_a_verified_artifact_and_then_reuses_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.build(IDENTITY, write_words)
    second = store.build(IDENTITY, lambda _: pytest.fail("built twice"))
    assert (first.reused, second.reused) == (False, True)
    assert first.reasons == ["first build"]
    assert second.artifact == first.artifact
    assert second.artifact.report == write_words(Workspace(folder=_empty(tmp_path), work=tmp_path))
    assert first.artifact.path == tmp_path / "seed_corpus" / IDENTITY.fingerprint[:12]


def _empty(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@settings(deadline=None)  # it writes and syncs files
@given(st.data())
def test_any_changed_byte_is_detected_and_rebuilt(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    path = store.build(IDENTITY, write_words).artifact.path
    victim = path / data.draw(st.sampled_from(["manifest.json", "part/words.txt"]))
    content = bytearray(victim.read_bytes())
    position = data.draw(st.integers(0, 10_000)) % len(content)  # the manifest's length varies with the clock
    content[position] ^= data.draw(st.integers(1, 255))
    victim.write_bytes(bytes(content))
    with pytest.raises(DamagedArtifactError, match=victim.name):
        store.open(IDENTITY)
    rebuilt = store.build(IDENTITY, write_words)
    assert not rebuilt.reused
    assert "was changed after it was written" in rebuilt.reasons[0]


def test_missing_and_added_files_are_detected(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.build(IDENTITY, write_words).artifact.path
    (path / "extra").write_text("x")
    with pytest.raises(DamagedArtifactError, match="extra is not in the manifest"):
        store.open(IDENTITY)
    (path / "extra").unlink()
    (path / "part" / "words.txt").unlink()
    with pytest.raises(DamagedArtifactError, match=r"words\.txt is missing"):
        store.open(IDENTITY)


@pytest.mark.parametrize("loss", ["manifest", "folder for a file", "manifest is a folder"])
def test_a_folder_without_its_manifest_is_rebuilt(tmp_path: Path, loss: str) -> None:
    store = Store(tmp_path)
    path = store.build(IDENTITY, write_words).artifact.path
    (path / "manifest.json").unlink()
    if loss == "folder for a file":
        shutil.rmtree(path)
        path.write_text("no folder")
    elif loss == "manifest is a folder":
        (path / "manifest.json").mkdir()
    with pytest.raises(DamagedArtifactError, match=r"manifest\.json is missing or is no file"):
        store.open(IDENTITY)
    rebuilt = store.build(IDENTITY, write_words)
    assert not rebuilt.reused
    assert "manifest.json is missing" in rebuilt.reasons[0]
    assert store.build(IDENTITY, write_words).reused


def test_a_failed_build_leaves_nothing_to_read_and_keeps_its_work(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(workspace: Workspace) -> Report:
        (workspace.folder / "half").write_text("half")
        (workspace.work / "checkpoint").write_text("step 7")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        store.build(IDENTITY, fail)
    with pytest.raises(MissingArtifactError):
        store.open(IDENTITY)

    def resume(workspace: Workspace) -> Report:
        assert (workspace.work / "checkpoint").read_text() == "step 7"
        assert not list(workspace.folder.iterdir())
        return write_words(workspace)

    artifact = store.build(IDENTITY, resume).artifact
    assert sorted(p.name for p in artifact.path.parent.iterdir()) == [artifact.path.name]


def _build_and_die(root: Path) -> None:
    def die(workspace: Workspace) -> Report:
        (workspace.folder / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    Store(root).build(IDENTITY, die)


def test_a_killed_build_blocks_nobody(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_build_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not Store(tmp_path).build(IDENTITY, write_words).reused


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"values": {"seed_corpus.sample": 4}}, "seed_corpus.sample: 3 → 4"),
        ({"code": "c2"}, "code changed"),
        ({"inputs": {"text_documents": "bb"}}, "input text_documents changed"),
    ],
)
def test_a_rebuild_says_which_field_changed(tmp_path: Path, change: dict, reason: str) -> None:
    store = Store(tmp_path)
    store.build(IDENTITY, write_words)
    changed = Identity(**{**IDENTITY.__dict__, **change})
    assert store.explain(changed) == [reason]
    assert store.build(changed, write_words).reasons == [reason]
    assert store.explain(changed) == []


def test_differences_reach_into_nested_values() -> None:
    before = {"values": {"mixture": {"shares": [0.5, 0.5], "tokens": 10}}}
    after = {"values": {"mixture": {"shares": [0.6, 0.4], "tokens": 10, "seed": 1}}}
    assert differences(before, after) == [
        "mixture.seed: absent → 1",
        "mixture.shares[0]: 0.5 → 0.6",
        "mixture.shares[1]: 0.5 → 0.4",
    ]


def test_identity_refuses_what_is_not_json() -> None:
    with pytest.raises(TypeError):
        _ = Identity(key="a", code="c", values={"folder": Path("somewhere")}).fingerprint
    with pytest.raises(ValueError, match="JSON compliant"):
        _ = Identity(key="a", code="c", values={"share": float("nan")}).fingerprint


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values), st.dictionaries(st.text(), values))
def test_fingerprints_are_equal_exactly_when_the_values_are(a: dict, b: dict) -> None:
    one, two = (Identity(key="k", code="c", values=v) for v in (a, b))
    same_json = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (one.fingerprint == two.fingerprint) == same_json
    reordered = Identity(key="k", code="c", values=dict(reversed(a.items())))
    assert reordered.fingerprint == one.fingerprint
