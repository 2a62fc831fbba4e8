"""What is said of a failed step, and where it is sent."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest

from assets.artifact import Build, Lineage, artifact
from assets.page import to_dagster
from hephaestus_dag import definitions
from hephaestus_dag.artifacts import Report
from hephaestus_dag.failures import VARIABLE, failure_message, send
from hephaestus_dag.recipe_file import load_recipe
from resources.compute import LocalPool
from resources.database import DatabaseServer
from resources.launcher import LocalLauncher
from resources.recipe import RecipeChoice
from resources.store import ArtifactStore
from resources.trainer import DeepSpeedTrainer


@artifact(group="smithy", description="Breaks.")
def anvil(build: Build) -> Report:
    try:
        raise OSError("cracked by frost")
    except OSError as error:
        raise ValueError("the anvil is cracked\nin two places") from error


class Failed:
    """A run of one asset that failed, and the sensor that looks at it."""

    def __init__(self, store: str, **tags: str) -> None:
        asset = to_dagster(Lineage(load_recipe("laptop"), [anvil]), anvil, None)
        job = dg.define_asset_job("smithy", selection=[asset], tags=tags)
        resources = {
            "recipe": RecipeChoice(),
            "store": ArtifactStore(root=store),
            "compute": LocalPool(num_workers=1),
            "database": DatabaseServer(),
            "trainer": DeepSpeedTrainer(launcher=LocalLauncher()),
        }
        made = dg.Definitions(assets=[asset], jobs=[job], resources=resources)
        self.instance = dg.DagsterInstance.ephemeral()
        self.result = made.resolve_job_def("smithy").execute_in_process(instance=self.instance, raise_on_error=False)

    @property
    def log(self) -> list[str]:
        return [entry.user_message for entry in self.instance.all_logs(self.result.run_id) if not entry.is_dagster_event]

    def look(self) -> object:
        (event,) = [event for event in self.result.all_events if event.event_type_value == "PIPELINE_FAILURE"]
        sensor = definitions.defs.resolve_sensor_def("failed_runs")
        run = self.instance.get_run_by_id(self.result.run_id)
        assert run
        context = dg.build_run_status_sensor_context("failed_runs", event, self.instance, run).for_run_failure()
        return sensor(context)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Texts that a chat service was sent; the environment names it."""
    texts: list[str] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Chat)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{server.server_port}/hook")
    try:
        yield texts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_log_of_a_failed_run_says_what_and_what_next(tmp_path: Path) -> None:
    failed = Failed(str(tmp_path))
    assert not failed.result.success
    (said,) = [line for line in failed.log if "next:" in line]
    assert said.splitlines()[0] == "build_anvil failed: ValueError: the anvil is cracked"
    assert f"run {failed.result.run_id} in the UI" in said
    assert "what is finished is kept" in said


def test_a_failed_run_is_sent_to_who_wants_to_know(tmp_path: Path, received: list[str]) -> None:
    failed = Failed(str(tmp_path))
    failed.look()
    (text,) = received
    assert text.startswith("smithy: build_anvil failed: ValueError: the anvil is cracked\nlog: run ")


def test_a_run_that_is_tried_again_is_not_told_of_yet(tmp_path: Path, received: list[str]) -> None:
    failed = Failed(str(tmp_path), **{"dagster/will_retry": "true"})
    found = failed.look()
    assert isinstance(found, dg.SkipReason)
    assert received == []


def test_nobody_is_told_where_no_address_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Failed(str(tmp_path)).look() is None


@pytest.mark.parametrize("address", ["chat.example/hook", "http://chat.example:x/hook", "http://"])
def test_a_wrong_address_is_told_in_words(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(VARIABLE, address)
    with pytest.raises(OSError, match=r"HEPHAESTUS_ALERT_URL is no web address|no host"):
        send("hello")


def test_the_output_of_the_steps_is_named_where_dagster_keeps_it(tmp_path: Path) -> None:
    storage = tmp_path
    (storage / "r1").mkdir()
    assert f"output of its steps in {storage / 'r1'}" in failure_message("a", "b", "r1", str(storage))
    assert "output" not in failure_message("a", "b", "r2", str(storage))
    assert failure_message("a", " \n", "r2", str(storage)).startswith("a failed: no reason was given\n")
