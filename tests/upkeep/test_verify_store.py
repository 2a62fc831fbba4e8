import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.artifacts import Identity, Report, Store, Workspace
from hephaestus_dag.locks import lock
from hephaestus_dag.manifests import ArtifactError
from hephaestus_dag.store_contents import find_artifacts
from hephaestus_dag.upkeep.verify import verify

WORDS = Identity(key="tiny/words", code="c")
LINES = Identity(key="lines", code="c", inputs={"tiny/words": WORDS.fingerprint})


def write(workspace: Workspace) -> Report:
    (workspace.folder / "part").mkdir()
    (workspace.folder / "part" / "words.txt").write_text("hammer\nanvil\n")
    (workspace.folder / "empty").touch()
    return Report(headline="2 words")


def built(root: Path) -> Store:
    store = Store(root)
    for identity in (WORDS, LINES):
        store.build(identity, write)
    return store


def test_a_sound_store_has_all_its_bytes_read(tmp_path: Path) -> None:
    store, told = built(tmp_path), []
    found = verify(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert (found.artifacts, found.files, found.num_bytes, found.damages) == (2, 4, 26, [])
    assert told[-1] == (26, 26)
    assert verify(tmp_path, [store.path(WORDS)]).artifacts == 1


@settings(deadline=None)  # it writes and syncs files
@given(st.data())
def test_any_changed_byte_is_named_with_its_remedy(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("store")
    folder = built(root).path(WORDS)
    victim = folder / data.draw(st.sampled_from(["manifest.json", "part/words.txt"]))
    content = bytearray(victim.read_bytes())
    content[data.draw(st.integers(0, 10_000)) % len(content)] ^= data.draw(st.integers(1, 255))
    victim.write_bytes(content)
    (damage,) = verify(root).damages
    assert damage.path == victim
    assert damage.problem == "was changed after it was written"
    assert damage.artifact == f"tiny/words@{folder.name}"
    assert damage.remedy == "hephaestus rebuild tiny/words"


def test_missing_added_truncated_and_misplaced_are_told_apart(tmp_path: Path) -> None:
    store = built(tmp_path)
    (store.path(WORDS) / "part" / "words.txt").unlink()
    (store.path(WORDS) / "extra").write_text("x")
    (store.path(WORDS) / "empty").write_text("no longer")
    elsewhere = tmp_path / "lines" / "0123456789ab"
    store.path(LINES).rename(elsewhere)
    found = {str(d.path.relative_to(tmp_path)): (d.problem, d.remedy) for d in verify(tmp_path).damages}
    words = f"tiny/words/{store.path(WORDS).name}"
    assert found[f"{words}/part/words.txt"] == ("is missing", "hephaestus rebuild tiny/words")
    assert found[f"{words}/extra"][0] == "is not in the manifest"
    assert found[f"{words}/extra"][1] == f"delete the file {tmp_path / words / 'extra'}"
    assert found[f"{words}/empty"][0] == "was changed after it was written"
    assert found["lines/0123456789ab"] == ("lies where another artifact belongs", f"delete the folder {elsewhere}")
    assert len(found) == 4


def test_a_folder_without_manifest_is_damaged(tmp_path: Path) -> None:
    manifest = built(tmp_path).path(LINES) / "manifest.json"
    manifest.unlink()
    (damage,) = verify(tmp_path).damages
    assert (damage.path, damage.problem) == (manifest, "is missing or is no file")


def test_what_builds_left_is_told_from_builds_that_run(tmp_path: Path) -> None:
    name = built(tmp_path).path(WORDS).name
    for kind in ("staging", "work", "aside"):
        (tmp_path / "tiny" / "words" / f".{kind}-{name}").mkdir()
    (tmp_path / "tiny" / "words" / f".work-{name}" / "half").write_text("1234")
    found = verify(tmp_path)
    assert not found.damages
    assert {(each.path.name[1:5], each.num_bytes, each.running) for each in found.unfinished} == {
        ("stag", 0, False),
        ("work", 4, False),
        ("asid", 0, False),
    }
    with lock(tmp_path, "tiny/words", name):
        assert all(each.running for each in verify(tmp_path).unfinished)


def test_what_is_removed_or_made_again_meanwhile_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = built(tmp_path)
    (store.path(WORDS) / "empty").unlink()
    with lock(tmp_path, WORDS.key, store.path(WORDS).name):
        assert not verify(tmp_path).damages
    assert verify(tmp_path).damages
    assert not verify(tmp_path, [store.path(LINES), tmp_path / "lines" / "0123456789ab"]).damages


def test_a_link_that_leads_nowhere_is_damage(tmp_path: Path) -> None:
    built(tmp_path)
    link = tmp_path / "lines" / "0123456789ab"
    link.symlink_to(tmp_path / "gone")
    (damage,) = verify(tmp_path).damages
    assert damage.problem == "is a link that leads nowhere"
    assert find_artifacts(tmp_path, "lines")[0] == link  # the oldest: its time is not known


def test_names_mean_artifacts(tmp_path: Path) -> None:
    store = built(tmp_path)
    newer = Identity(key="lines", code="d")
    store.build(newer, write)
    old, new = store.path(LINES), store.path(newer)
    os.utime(old / "manifest.json", (1, 1))
    assert find_artifacts(tmp_path, "lines") == [old, new]
    assert find_artifacts(tmp_path, f"lines@{old.name[:6]}") == [old]
    assert find_artifacts(tmp_path, f"lines@{LINES.fingerprint}") == [old]
    assert find_artifacts(tmp_path, f"lines/{old.name}") == [old]
    assert find_artifacts(tmp_path, str(store.path(WORDS) / "part" / "words.txt")) == [store.path(WORDS)]
    with pytest.raises(ArtifactError, match="did you mean lines"):
        find_artifacts(tmp_path, "line")
    with pytest.raises(ArtifactError, match="did you mean tiny/words"):
        find_artifacts(tmp_path, "words")
    with pytest.raises(ArtifactError, match=f"its fingerprints there: .*{new.name}"):
        find_artifacts(tmp_path, "lines@ffffffffffff")
    with pytest.raises(ArtifactError, match="holds no artifact x"):
        find_artifacts(tmp_path, "x" * 5_000)
    with pytest.raises(ArtifactError, match="there is no store"):
        find_artifacts(tmp_path / "nowhere", "lines")
