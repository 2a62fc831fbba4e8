from pathlib import Path

import pytest

from hephaestus_dag.artifacts import Store
from hephaestus_dag.costs.standing import Standing, standings
from hephaestus_dag.identity import Identity
from hephaestus_dag.manifests import Report

INPUTS = {"ore": (), "coal": (), "steel": ("ore", "coal"), "sword": ("steel",)}


class Smithy:
    """Four artifacts, one from the other, with values and code that can change."""

    def __init__(self, store: Path) -> None:
        self.store = Store(store)
        self.values = {"ore": {"mine": "north"}, "coal": {}, "steel": {"heat": 900}, "sword": {"length": 80}}
        self.code = dict.fromkeys(INPUTS, "1")

    def identity(self, key: str) -> Identity:
        if key not in self.values:
            raise FileNotFoundError(f"{key} is not here")
        inputs = {name: self.identity(name).fingerprint for name in INPUTS[key]}
        return Identity(key=key, code=self.code[key], values=self.values[key], inputs=inputs)

    def build(self, *keys: str) -> None:
        for key in keys or INPUTS:
            self.store.build(self.identity(key), lambda workspace: self.write(workspace.folder))

    def write(self, folder: Path) -> Report:
        (folder / "made").write_text("made")
        return Report(headline="made")

    def stand(self, missing: dict[str, str] | None = None) -> dict[str, Standing]:
        return standings(self.store.root, INPUTS, self.identity, missing or {}, bool(missing))


@pytest.fixture
def smithy(tmp_path: Path) -> Smithy:
    return Smithy(tmp_path)


def actions(found: dict[str, Standing]) -> list[str]:
    return [found[key].action for key in INPUTS]


def test_everything_is_built_at_first_and_then_reused(smithy: Smithy) -> None:
    assert actions(smithy.stand()) == ["build"] * 4
    smithy.build()
    assert actions(smithy.stand()) == ["reuse"] * 4


def test_a_changed_field_is_named_where_it_changed_and_by_all_that_follow(smithy: Smithy) -> None:
    smithy.build()
    smithy.values["coal"] = {"kind": "brown"}
    smithy.values["steel"] = {"heat": 950}
    found = smithy.stand()
    assert actions(found) == ["reuse", "rebuild", "rebuild", "rebuild"]
    assert (found["coal"].reasons, found["coal"].causes) == (("kind: absent → brown",), {})
    assert (found["steel"].reasons, found["steel"].causes) == (("heat: 900 → 950",), {"coal": ("kind: absent → brown",)})
    assert (found["sword"].reasons, found["sword"].causes) == (
        (),
        {"steel": ("heat: 900 → 950",), "coal": ("kind: absent → brown",)},
    )


def test_the_cause_is_found_also_where_the_input_was_built_meanwhile(smithy: Smithy) -> None:
    smithy.build()
    smithy.code["ore"] = "2"
    smithy.build("ore", "steel")
    found = smithy.stand()
    assert actions(found) == ["reuse", "reuse", "reuse", "rebuild"]
    assert found["sword"].causes == {"ore": ("code changed",)}


def test_the_artifact_that_differs_least_is_compared_with(smithy: Smithy) -> None:
    smithy.build("ore")
    smithy.values["ore"] = {"mine": "south", "depth": 3}
    smithy.build("ore")
    smithy.values["ore"] = {"mine": "east"}
    assert smithy.stand()["ore"].reasons == ("mine: north → east",)


def test_damage_is_seen_without_reading_the_files(smithy: Smithy) -> None:
    smithy.build()
    made, steel, sword = (smithy.store.path(smithy.identity(key)) for key in ("coal", "steel", "sword"))
    (made / "made").write_text("mad")
    (steel / "manifest.json").write_text((steel / "manifest.json").read_text().replace("900", "901"))
    (sword / "made").write_text("MADE")  # as long as before: only `verify` sees it
    found = smithy.stand()
    assert actions(found) == ["reuse", "rebuild", "rebuild", "reuse"]
    assert f"{made / 'made'} was changed after it was written" in found["coal"].reasons
    assert "manifest.json was changed" in found["steel"].reasons[0]


def test_what_reads_a_missing_input_and_what_follows_cannot_be_known(smithy: Smithy) -> None:
    del smithy.values["ore"]
    with pytest.raises(FileNotFoundError):
        smithy.stand()
    found = smithy.stand(missing={"ore": "the mine is not here"})
    assert actions(found) == ["unknown", "build", "unknown", "unknown"]
    assert found["ore"].reasons == ("the mine is not here",)
    assert found["sword"].reasons == ("what steel will be is not known",)
