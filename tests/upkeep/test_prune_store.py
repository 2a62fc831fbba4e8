import os
import time
from pathlib import Path
from threading import Thread

import pytest

from hephaestus_dag.artifacts import Identity, Report, Store, Workspace
from hephaestus_dag.locks import lock
from hephaestus_dag.manifests import ArtifactError, DamagedArtifactError
from hephaestus_dag.upkeep.prune import Reach, reach, remove_unreached, unreached
from hephaestus_dag.upkeep.verify import verify
from tests.laptop import recipe

OLD = Identity(key="tiny/words", code="old")
NEW = Identity(key="tiny/words", code="new")
LINES = Identity(key="lines", code="c", inputs={"tiny/words": NEW.fingerprint})


def write(workspace: Workspace) -> Report:
    (workspace.folder / "words.txt").write_text("hammer\n" * 100)
    return Report(headline="words")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for identity in (OLD, NEW, LINES):
        store.build(identity, write)
    age(tmp_path)
    return store


def age(root: Path) -> None:
    """Let all that is in a folder have been written long ago."""
    long_ago = time.time() - 7_200
    for path in root.rglob("*"):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def names(given: Reach, cache: bool = False) -> set[str]:
    return {str(each.path.relative_to(given.root)) for each in unreached(given, cache)}


def place(identity: Identity) -> str:
    return f"{identity.key}/{identity.fingerprint[:12]}"


def test_only_what_nobody_reaches_goes_with_its_lock(store: Store) -> None:
    (store.root / "notes.txt").write_text("of a person")
    (store.root / "mine").mkdir()
    given = reach(store.root, [], [LINES])  # its input is reached through the manifest
    before = tree(store.root)
    found = unreached(given)
    assert {each.what for each in found} == {"artifact", "lock"}
    assert (found[0].path, given.num_artifacts) == (store.path(OLD), 2)
    assert found[0].num_bytes > 700
    assert 7_200 <= found[0].age < 7_260
    assert tree(store.root) == before
    assert list(remove_unreached(given, found)) == found
    gone = {path for path in before if path.startswith(place(OLD)) or OLD.fingerprint[:12] in path}
    assert tree(store.root) == before - gone
    assert not verify(store.root).damages
    assert not unreached(given)


def test_the_last_artifact_of_an_asset_takes_its_empty_folder_along(store: Store) -> None:
    given = reach(store.root, [], [])
    list(remove_unreached(given, unreached(given)))
    assert tree(store.root) == {".locks"}


def test_an_artifact_that_a_recipe_names_by_path_is_reached_with_all_it_was_made_from(store: Store) -> None:
    named = recipe(description=str(store.path(LINES) / "model"))  # wherever in the recipe it stands
    assert reach(store.root, [named], []).needed == {(i.key, i.fingerprint[:12]) for i in (LINES, NEW)}


def test_what_a_needed_artifact_resumes_from_stays_until_it_is_there(store: Store) -> None:
    unbuilt = Identity(key="later", code="c")
    kept = store.root / "later" / f".work-{unbuilt.fingerprint[:12]}"
    stale = store.root / "lines" / f".work-{LINES.fingerprint[:12]}"  # its artifact is there: nobody takes it up again
    foreign = store.root / "gone" / ".staging-0123456789ab"
    for folder in (kept, stale, foreign):
        folder.mkdir(parents=True)
    held_once = store.root / ".locks" / "gone-0123456789ab"
    held_once.touch()
    age(store.root)
    given = reach(store.root, [], [OLD, LINES, unbuilt])
    assert names(given) == {str(each.relative_to(store.root)) for each in (stale, foreign, held_once)}
    list(remove_unreached(given, unreached(given)))
    assert kept.exists()
    assert not stale.exists()
    assert not foreign.parent.exists()
    assert store.open(LINES)


def test_nothing_goes_while_a_build_runs_that_no_recipe_accounts_for(store: Store) -> None:
    given = reach(store.root, [], [LINES])
    before = tree(store.root)
    with lock(store.root, OLD.key, OLD.fingerprint[:12]), pytest.raises(ArtifactError, match="nothing was removed"):
        list(remove_unreached(given, unreached(given)))
    assert tree(store.root) == before
    with lock(store.root, LINES.key, LINES.fingerprint[:12]):  # one that is accounted for reads nothing of what goes
        assert list(remove_unreached(given, unreached(given)))


def test_the_cache_stays_unless_it_is_asked_for_and_nobody_builds(store: Store) -> None:
    (store.root / ".cache" / "hub").mkdir(parents=True)
    (store.root / ".cache" / "of_somebody_else").mkdir()
    given = reach(store.root, [], [OLD, LINES])
    assert names(given) == set()
    assert names(given, cache=True) == {".cache/hub"}
    with lock(store.root, LINES.key, LINES.fingerprint[:12]), pytest.raises(ArtifactError, match="being built"):
        list(remove_unreached(given, unreached(given, cache=True)))
    list(remove_unreached(given, unreached(given, cache=True)))
    assert [path.name for path in (store.root / ".cache").iterdir()] == ["of_somebody_else"]


def test_a_needed_manifest_that_cannot_be_read_stops_everything(store: Store) -> None:
    (store.path(LINES) / "manifest.json").write_text("broken")
    with pytest.raises(DamagedArtifactError, match="was changed"):
        reach(store.root, [], [LINES])


def test_what_is_not_known_to_be_of_the_store_stays(store: Store) -> None:
    for name in ("objects/0123456789ab", "objects/.work-0123456789ab", ".locks/nodash"):
        (store.root / name).mkdir(parents=True)
    (store.root / "objects" / "0123456789ab" / "manifest.json").write_text("{}")  # of another program
    misplaced = store.root / "elsewhere" / store.path(OLD).name
    misplaced.parent.mkdir()
    store.path(OLD).rename(misplaced)
    age(store.root)
    before = tree(store.root)
    given = reach(store.root, [], [LINES])
    list(remove_unreached(given, unreached(given, cache=True)))
    assert before - tree(store.root) == {f".locks/tiny.words-{OLD.fingerprint[:12]}"}


def test_a_damaged_artifact_that_nobody_needs_goes(store: Store) -> None:
    (store.path(OLD) / "manifest.json").write_text("broken")
    age(store.root)
    given = reach(store.root, [], [LINES])
    list(remove_unreached(given, unreached(given)))
    assert not store.path(OLD).exists()


def test_a_folder_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    for name in ("models/0123456789ab/manifest.json", "models/.work-0123456789ab/half", ".cache/hub/model"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    before = tree(tmp_path)
    with pytest.raises(ArtifactError, match="not taken for a store"):
        reach(tmp_path, [], [])
    assert tree(tmp_path) == before


def test_a_store_whose_cache_is_a_link_is_refused(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    (store.root / ".cache").symlink_to(tmp_path_factory.mktemp("shared"))
    with pytest.raises(ArtifactError, match="leads out of the store"):
        reach(store.root, [], [LINES])


@pytest.mark.parametrize(
    "text",
    [
        "file://{root}/lines/{name}/words.txt",
        "hf:{root}/lines/{name}",
        "{root}/tiny/../lines/{name}",
        "{link}/lines/{name}/model",
        "{root}/lines/*/words.txt",
        "{root}/lines",
        "{root}/**/*.txt",
        "{link}",
        "../{here}/lines/{name}",
    ],
)
def test_however_a_recipe_writes_the_path_the_artifact_is_reached(
    store: Store, text: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path_factory.mktemp("links") / "store"
    link.symlink_to(store.root)
    monkeypatch.chdir(store.root)
    named = recipe(description=text.format(root=store.root, link=link, name=store.path(LINES).name, here=store.root.name))
    wanted = {(each.key, each.fingerprint[:12]) for each in (LINES, NEW)}
    assert reach(store.root, [named], []).needed >= wanted
    assert reach(link, [named], []).needed >= wanted


def test_a_relative_path_starts_at_the_checkout_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hephaestus_dag.upkeep.prune.CHECKOUT", store.root)
    named = recipe(description=f"lines/{store.path(LINES).name}/words.txt")
    assert reach(store.root, [named], []).num_artifacts == 2


def test_an_artifact_named_by_path_that_lost_its_manifest_stops_everything(store: Store) -> None:
    (store.path(LINES) / "manifest.json").unlink()
    with pytest.raises(DamagedArtifactError, match="is missing"):
        reach(store.root, [recipe(description=str(store.path(LINES)))], [])


def test_what_a_run_has_just_finished_stays_with_all_it_was_made_from(store: Store) -> None:
    os.utime(store.path(LINES) / "manifest.json")  # no lock is held between two steps of a run
    given = reach(store.root, [], [])
    found = unreached(given)
    assert {each.path for each in found if each.fresh} == {store.path(LINES), store.path(NEW)}
    gone = list(remove_unreached(given, found))
    assert {each.path for each in gone if each.what == "artifact"} == {store.path(OLD)}
    assert store.open(LINES)
    assert store.open(NEW)
    list(remove_unreached(given, unreached(given, fresh=0)))
    assert not store.path(LINES).exists()


def test_a_build_that_waited_for_a_lock_that_was_pruned_takes_the_new_one(store: Store) -> None:
    place, found = (OLD.key, OLD.fingerprint[:12]), []

    def wait() -> None:
        with lock(store.root, *place) as path:
            found.append(path.exists())

    with lock(store.root, *place) as held:
        waiting = Thread(target=wait, daemon=True)
        waiting.start()
        waiting.join(0.3)  # it waits for the file that goes now
        held.unlink()
    waiting.join(5)
    assert found == [True]
