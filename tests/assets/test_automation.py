"""The sensor that notices new web shards, and the schedule, as Dagster evaluates them."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from hephaestus_dag import definitions
from hephaestus_dag.recipe_file import load_recipe, recipe_path


class Web:
    """A recipe whose web corpus is a folder of JSON lines, and the sensor that watches it."""

    def __init__(self, place: Path) -> None:
        self.pages, self.recipe = place / "pages", place / "recipe.yaml"
        self.source = {"name": "web", "kind": "records", "location": str(self.pages), "domain": "agent", "license": "MIT"}
        self.cursor: str | None = None
        self.write("first")
        self.save()

    def write(self, name: str, text: str = "a page") -> None:
        self.pages.mkdir(exist_ok=True)
        (self.pages / f"{name}.jsonl").write_text(json.dumps({"text": text}))

    def save(self, **more: object) -> None:
        sources = [{**self.source, **more}]
        self.recipe.write_text(yaml.safe_dump({"extends": "laptop", "web_retrieval": {"web_corpus": sources}}))

    def tick(self, instance: dg.DagsterInstance | None = None) -> dg.SensorResult | dg.SkipReason:
        """Evaluate the sensor as the daemon does, with the cursor of the tick before."""
        sensor = definitions.defs.resolve_sensor_def("new_web_shards")
        with dg.build_sensor_context(cursor=self.cursor, instance=instance) as context:
            found = sensor(context)
        assert isinstance(found, dg.SensorResult | dg.SkipReason)
        if isinstance(found, dg.SensorResult):
            self.cursor = found.cursor
        return found

    def key(self) -> str:
        """Return the key of the run that a tick asks for."""
        found = self.tick()
        assert isinstance(found, dg.SensorResult), found
        (request,) = found.run_requests or []
        assert request.run_key
        return request.run_key

    def reason(self) -> str:
        """Return why a tick asks for nothing."""
        found = self.tick()
        assert isinstance(found, dg.SkipReason), found
        return found.skip_message or ""


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    web = Web(tmp_path)
    monkeypatch.setenv("HEPHAESTUS_RECIPE", str(web.recipe))
    return web


def test_a_new_file_asks_for_one_run_and_nothing_new_for_none(web: Web) -> None:
    first = web.key()
    assert web.reason() == "the web sources hold what they held at the last look"
    web.write("second")
    second = web.key()
    assert second != first
    web.reason()
    web.write("first", "another text")
    assert web.key() not in (first, second)
    (web.pages / "second.jsonl").unlink()
    web.write("first")
    assert web.key() == first  # Dagster knows the key and starts no second run of the same state


def test_the_recipe_is_read_again_at_every_look(web: Web) -> None:
    web.key()
    web.save(license="Apache-2.0")
    web.key()
    web.save(license="Apache-2.0", weight=3)  # concerns the mixture, not what is retrieved
    web.reason()


def test_a_folder_that_is_gone_is_said_and_comes_back_unnoticed(web: Web) -> None:
    web.key()
    shutil.move(web.pages, web.pages.with_name("unmounted"))
    assert "pages holds no files; correct location or exclude" in web.reason()
    shutil.move(web.pages.with_name("unmounted"), web.pages)
    assert web.reason() == "the web sources hold what they held at the last look"


def test_a_recipe_that_is_being_edited_is_said(web: Web) -> None:
    whole = web.recipe.read_text()
    web.recipe.write_text(whole + "executionn: {}\n")
    assert "unknown field; did you mean execution?" in web.reason()
    web.recipe.write_text(whole)
    web.key()


def test_sensor_and_schedule_run_retrieval_and_wait_to_be_switched_on() -> None:
    loaded = definitions.definitions(load_recipe("laptop"))
    sensor, schedule = loaded.resolve_sensor_def("new_web_shards"), loaded.resolve_schedule_def("weekly_retrieval")
    assert sensor.minimum_interval_seconds == load_recipe("laptop").execution.web_sensor_seconds == 300
    assert schedule.cron_schedule == yaml.safe_load(recipe_path("laptop").read_text())["execution"]["weekly_retrieval"]
    for each in (sensor, schedule):
        assert each.default_status.value == "STOPPED"
        assert each.job_name == "retrieval"
    groups = loaded.resolve_asset_graph()
    ran = loaded.resolve_job_def("retrieval").asset_layer.executable_asset_keys
    assert {groups.get(key).group_name for key in ran} == {"web_retrieval", "quality"}
