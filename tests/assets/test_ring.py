import base64
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.artifact import ArtifactAsset, Build, CheckDeclaration, Lineage, artifact
from assets.page import to_dagster
from hephaestus_dag import events
from hephaestus_dag.artifacts import ArtifactError, Check, Report
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import load_recipe
from resources.compute import LocalPool
from resources.database import DatabaseServer
from resources.launcher import LocalLauncher
from resources.recipe import RecipeChoice
from resources.store import ArtifactStore
from resources.trainer import DeepSpeedTrainer

HOT = CheckDeclaration(name="iron_is_hot", description="The iron glows.")
SHINY = CheckDeclaration(name="sword_is_shiny", description="The sword shines.", blocking=False)
PIXEL = b"\x89PNG not really"


@artifact(group="smithy", kinds={"text"}, recipe=["mixture.seed"])
def iron(build: Build) -> Report:
    """Words, in upper case."""
    words = list(build.pool.map(str.upper, ["hammer", "anvil"], build.progress))
    (build.folder / "words.txt").write_text("\n".join(words))
    return Report(headline=f"{len(words)} words", rows=len(words), figures={"words": len(words)})


@artifact(group="smithy", inputs=["iron"], key="hero/sword")
def sword(build: Build) -> Report:
    """The words of the iron, in one line."""
    text = (build.input("iron") / "words.txt").read_text()
    (build.folder / "line.txt").write_text(text.replace("\n", " "))
    return Report(headline=text.replace("\n", " and "))


def checked(key: str, declared: CheckDeclaration, passed: bool, inputs: Iterable[str] = ()) -> ArtifactAsset:
    """An asset that reports one check about itself."""

    @artifact(group="smithy", key=key, inputs=inputs, checks=[declared], description="Checked.")
    def made(build: Build) -> Report:
        (build.folder / "made").write_text(key)
        return Report(headline=key, checks=[Check(name=declared.name, passed=passed, detail="800 °C, at least 900 °C")])

    return made


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("laptop")


class Forge:
    """A few assets, run by Dagster in this process on a store of their own."""

    def __init__(self, recipe: Recipe, assets: Iterable[ArtifactAsset], store: ArtifactStore) -> None:
        self.lineage = Lineage(recipe, assets)
        self.store = store
        self.choice = ""
        self.instance = dg.DagsterInstance.ephemeral()

    def run(self, *names: str, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        keys = [dg.AssetKey(name.split("/")) for name in names]
        return dg.materialize(
            [to_dagster(self.lineage, asset, None) for asset in self.lineage.assets.values()],
            selection=dg.AssetSelection.assets(*keys) if keys else None,
            resources={
                "recipe": RecipeChoice(name=self.choice),
                "store": self.store,
                "compute": LocalPool(num_workers=1),
                "database": DatabaseServer(),
                "trainer": DeepSpeedTrainer(launcher=LocalLauncher()),
            },
            instance=self.instance,
            raise_on_error=raise_on_error,
        )

    def folder(self, name: str) -> Path:
        return self.store.store.path(self.lineage.identity(name))


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(root=str(tmp_path / "store"))


def metadata(result: dg.ExecuteInProcessResult, name: str) -> dict[str, Any]:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(name.split("/"))]
    return {key: value.value for key, value in event.materialization.metadata.items()}


def made(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key]


def test_the_first_run_builds_and_the_second_reuses(recipe: Recipe, store: ArtifactStore) -> None:
    forge = Forge(recipe, [iron, sword], store)
    first, second = forge.run(), forge.run()
    assert made(first) == made(second) == ["iron", "hero/sword"]
    assert (forge.folder("hero/sword") / "line.txt").read_text() == "HAMMER ANVIL"
    for name in ("iron", "hero/sword"):
        before, after = metadata(first, name), metadata(second, name)
        assert (before["reused"], after["reused"]) == (False, True)
        assert before["built because"] == "- first build"
        assert "built because" not in after
        assert before["fingerprint"] == after["fingerprint"] == forge.lineage.identity(name).fingerprint
        assert before["dagster/uri"] == forge.folder(name).as_uri()
    assert metadata(second, "iron") | {"headline": "2 words", "words": 2, "dagster/row_count": 2} == metadata(second, "iron")


def test_dagster_carries_the_same_versions(recipe: Recipe, store: ArtifactStore) -> None:
    forge = Forge(recipe, [iron, sword], store)
    forge.run()
    for name in ("iron", "hero/sword"):
        event = forge.instance.get_latest_materialization_event(dg.AssetKey(name.split("/")))
        assert event is not None
        assert event.asset_materialization is not None
        tags = event.asset_materialization.tags or {}
        assert tags["dagster/data_version"] == forge.lineage.identity(name).fingerprint[:12]
        assert tags["dagster/code_version"] == forge.lineage.local_version(name)


def test_a_changed_value_rebuilds_what_follows_and_says_why(recipe: Recipe, store: ArtifactStore) -> None:
    Forge(recipe, [iron, sword], store).run()
    mixture = recipe.mixture.model_copy(update={"seed": 7})
    forge = Forge(recipe.model_copy(update={"mixture": mixture}), [iron, sword], store)
    result = forge.run()
    assert metadata(result, "iron")["built because"] == "- mixture.seed: 0 → 7"
    assert metadata(result, "hero/sword")["built because"] == "- input iron changed"
    assert not metadata(Forge(recipe, [iron, sword], store).run(), "hero/sword").get("built because"), "the old one is kept"


@pytest.mark.parametrize("times", [1, 2])
def test_a_failing_blocking_check_stops_what_follows(recipe: Recipe, store: ArtifactStore, times: int) -> None:
    cold = checked("cold", HOT, passed=False)
    after = checked("after", SHINY, passed=True, inputs=["cold"])
    forge = Forge(recipe, [cold, after], store)
    result = [forge.run(raise_on_error=False) for _ in range(times)][-1]
    assert not result.success
    assert made(result) == ["cold"]
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.passed) == ("iron_is_hot", False)
    assert evaluation.metadata["measured"].value == "800 °C, at least 900 °C"
    assert metadata(result, "cold")["reused"] == (times == 2), "an artifact found again still fails its check"


def test_a_failing_warning_stops_nothing(recipe: Recipe, store: ArtifactStore) -> None:
    dull = checked("dull", SHINY, passed=False)
    after = checked("after", HOT, passed=True, inputs=["dull"])
    result = Forge(recipe, [dull, after], store).run()
    assert result.success
    assert made(result) == ["dull", "after"]
    found = {e.check_name: (e.passed, e.severity) for e in result.get_asset_check_evaluations()}
    assert found["sword_is_shiny"] == (False, dg.AssetCheckSeverity.WARN)
    assert found["iron_is_hot"] == (True, dg.AssetCheckSeverity.ERROR)


def test_a_declared_check_must_be_reported(recipe: Recipe, store: ArtifactStore) -> None:
    @artifact(group="smithy", key="silent", checks=[HOT], description="Says nothing.")
    def silent(build: Build) -> Report:
        return Report(headline="nothing to say")

    with pytest.raises(ValueError, match=r"silent declares the checks \['iron_is_hot'\] but reported \[\]"):
        Forge(recipe, [silent], store).run()


def test_a_damaged_input_names_the_asset_to_materialise_again(recipe: Recipe, store: ArtifactStore) -> None:
    forge = Forge(recipe, [iron, sword], store)
    forge.run("iron")
    (forge.folder("iron") / "words.txt").write_text("PLASTIC")
    with pytest.raises(ArtifactError, match=r"input iron .*words\.txt was changed.*materialise iron again"):
        forge.run("hero/sword")
    assert not forge.folder("hero/sword").exists()
    healed = metadata(forge.run("iron"), "iron")
    assert healed["built because"].endswith("words.txt was changed after it was written")
    assert metadata(forge.run("hero/sword"), "hero/sword")["headline"] == "HAMMER and ANVIL"


def test_a_missing_input_names_the_asset_to_materialise(recipe: Recipe, store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError, match=r"input iron .*holds no finished artifact.*materialise iron again"):
        Forge(recipe, [iron, sword], store).run("hero/sword")


def test_an_artifact_that_was_deleted_is_made_again_and_what_follows_is_kept(recipe: Recipe, store: ArtifactStore) -> None:
    forge = Forge(recipe, [iron, sword], store)
    forge.run()
    shutil.rmtree(forge.folder("iron"))
    again = forge.run()
    assert [metadata(again, name)["reused"] for name in ("iron", "hero/sword")] == [False, True]
    assert (forge.folder("iron") / "words.txt").read_text() == "HAMMER\nANVIL"


def test_an_interrupted_build_resumes_from_its_work(recipe: Recipe, store: ArtifactStore) -> None:
    @artifact(group="smithy", key="slow", description="Needs two attempts.")
    def slow(build: Build) -> Report:
        step = build.work / "step"
        if not step.exists():
            step.write_text("1")
            raise InterruptedError("lights out")
        (build.folder / "done").write_text(step.read_text())
        return Report(headline="done")

    forge = Forge(recipe, [slow], store)
    with pytest.raises(InterruptedError, match="lights out"):
        forge.run()
    assert metadata(forge.run(), "slow")["headline"] == "done"


def test_an_input_that_changed_after_the_run_began_is_not_read_under_its_old_name(
    recipe: Recipe, store: ArtifactStore, tmp_path: Path
) -> None:
    ore = tmp_path / "ore"

    @artifact(group="smithy", key="melted", outside=lambda _: {"ore": ore.read_text()}, description="Melts what is there.")
    def melted(build: Build) -> Report:
        (build.folder / "melted").write_text(ore.read_text())
        return Report(headline=ore.read_text())

    ore.write_text("copper")
    begun = Forge(recipe, [melted], store)
    ore.write_text("tin")
    with pytest.raises(ValueError, match=r"melted: what it reads changed .* \(ore: copper → tin\): start it again"):
        begun.run()
    assert not begun.folder("melted").exists()
    assert metadata(Forge(recipe, [melted], store).run(), "melted")["headline"] == "tin"
    ore.write_text("copper")
    assert metadata(begun.run(), "melted")["headline"] == "copper"


def test_a_build_finds_its_earlier_artifacts(recipe: Recipe, store: ArtifactStore) -> None:
    @artifact(group="smithy", key="shards", recipe=["mixture.seed"], description="Takes over what is there.")
    def shards(build: Build) -> Report:
        (build.folder / "shard").write_text(str(build.recipe.mixture.seed))
        return Report(headline=",".join((folder / "shard").read_text() for folder in build.earlier()))

    def headline(seed: int) -> str:
        mixture = recipe.mixture.model_copy(update={"seed": seed})
        return metadata(Forge(recipe.model_copy(update={"mixture": mixture}), [shards], store).run(), "shards")["headline"]

    assert [headline(seed) for seed in (1, 2, 3)] == ["", "1", "1,2"]


def test_tables_and_pictures_reach_the_page(recipe: Recipe, store: ArtifactStore) -> None:
    @artifact(group="smithy", key="shown", description="Something to look at.")
    def shown(build: Build) -> Report:
        (build.folder / "loss.png").write_bytes(PIXEL)
        return Report(
            headline="look",
            tables={"scores": [{"name": "a", "score": 0.5}, {"name": "b", "parts": ["x", "y"]}], "nothing": []},
            pictures={"loss": "loss.png"},
        )

    found = metadata(Forge(recipe, [shown], store).run(), "shown")
    assert [record.data for record in found["scores"].records if isinstance(record, dg.TableRecord)] == [
        {"name": "a", "score": 0.5, "parts": ""},
        {"name": "b", "score": "", "parts": '["x","y"]'},
    ]
    assert found["nothing"] == "empty"
    assert found["loss"] == f"![loss](data:image/png;base64,{base64.b64encode(PIXEL).decode()})"


def test_whoever_watches_is_told(recipe: Recipe, store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = tmp_path / "events.jsonl"
    monkeypatch.setenv(events.VARIABLE, str(watched))
    forge = Forge(recipe, [iron, checked("cold", HOT, passed=False, inputs=["iron"])], store)
    forge.run(raise_on_error=False)
    forge.run("iron")
    told = [json.loads(line) for line in watched.read_text().splitlines()]
    assert [(event["event"], event["asset"]) for event in told] == [
        ("start", "iron"),
        ("progress", "iron"),
        ("progress", "iron"),
        ("end", "iron"),
        ("start", "cold"),
        ("end", "cold"),
        ("start", "iron"),
        ("end", "iron"),
    ]
    assert [(event["done"], event["total"]) for event in told[1:3]] == [(1, 2), (2, 2)]
    assert told[3]["headline"] == "2 words"
    assert (told[3]["reused"], told[3]["reasons"], told[7]["reused"]) == (False, ["first build"], True)
    assert told[3]["path"] == str(forge.folder("iron"))
    assert (told[3]["failed_checks"], told[5]["failed_checks"]) == ([], ["iron_is_hot"])


def test_a_failure_is_told_too(recipe: Recipe, store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = tmp_path / "events.jsonl"
    monkeypatch.setenv(events.VARIABLE, str(watched))
    Forge(recipe, [iron, sword], store).run("hero/sword", raise_on_error=False)
    told = [json.loads(line) for line in watched.read_text().splitlines()]
    assert [event["event"] for event in told] == ["start", "failed"]
    assert told[1]["headline"].startswith("ArtifactError: input iron cannot be read")


def test_the_store_lies_where_it_is_told(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEPHAESTUS_STORE", raising=False)
    assert ArtifactStore().path == tmp_path / "store"
    monkeypatch.setenv("HEPHAESTUS_STORE", str(tmp_path / "elsewhere"))
    forge = Forge(recipe, [iron], ArtifactStore())
    forge.run()
    assert [path.parent.name for path in (tmp_path / "elsewhere" / "iron").glob("*/manifest.json")] == [
        forge.lineage.identity("iron").fingerprint[:12]
    ]
    assert ArtifactStore(root="here").path == tmp_path / "here"
    assert ArtifactStore().cache == tmp_path / "elsewhere" / ".cache"
