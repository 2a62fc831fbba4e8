"""The schedule and the sensor in a running `dagster dev`: what they launch, what it sees, and what it costs."""

import json
import os
import pydoc_data.topics
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SERVICES = ["botocore/data/[!s]*", "botocore/data/s[!nq]*"]
AWS = {"location": "package:botocore", "domain": "agent", "license": "Apache-2.0", "exclude": SERVICES}
RUNS = """{ runsOrError(filter: {pipelineName: "retrieval"}) { ... on Runs { results {
  runId status startTime endTime tags { key value }
  assetMaterializations { assetKey { path } metadataEntries { label ... on IntMetadataEntry { intValue }
    ... on BoolMetadataEntry { boolValue } } } } } } }"""
START_SENSOR = """mutation { startSensor(sensorSelector: {repositoryName: "__repository__",
  repositoryLocationName: "hephaestus", sensorName: "new_web_shards"}) { __typename } }"""
START_SCHEDULE = """mutation { startSchedule(scheduleSelector: {repositoryName: "__repository__",
  repositoryLocationName: "hephaestus", scheduleName: "weekly_retrieval"}) { __typename } }"""


class Dev:
    """A `dagster dev` with its own home and store, over a small recipe whose web corpus is a folder of JSON lines."""

    def __init__(self, place: Path) -> None:
        self.place, self.pages = place, place / "pages"
        self.environment = {
            **os.environ,
            "DAGSTER_HOME": str(place / "home"),
            "HEPHAESTUS_RECIPE": str(place / "recipe.yaml"),
            "HEPHAESTUS_STORE": str(place / "store"),
        }
        (place / "home").mkdir()
        (place / "home/dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
        self.pages.mkdir()
        self.topics = [text for _, text in sorted(pydoc_data.topics.topics.items())]
        for number in range(2):
            self.write(f"week{number}", self.topics[30 * number : 30 * number + 30])
        (place / "recipe.yaml").write_text(yaml.safe_dump(self.recipe()))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def recipe(self) -> dict[str, Any]:
        web = {"name": "web", "kind": "records", "location": str(self.pages), "domain": "agent", "license": "PSF-2.0"}
        click = {"location": "package:click", "license": "BSD-3-Clause"}
        return {
            "extends": "laptop",
            "name": "weekly",
            "seed_corpus": {
                "tool_documentation": [{"name": "aws", "kind": "botocore", **AWS}],
                "function_calling_trajectories": [{"name": "aws_calls", "kind": "botocore_examples", **AWS}],
                "synthetic_calls": {"count": 20, "operations": 100, "seed": 0},
                "code_documents": [{"name": "code", "kind": "python_code", "domain": "code", **click}],
                "text_documents": [{"name": "prose", "kind": "python_comments", "domain": "text", **click}],
            },
            "web_retrieval": {"web_corpus": [web], "retrieval": {"num_candidates": 50, "num_queries": 20, "neighbours": 5}},
            "quality": {"annotation": {"num_samples": 100, "recheck_samples": 0, "annotator": {"max_tokens": 16}}},
            "execution": {"weekly_retrieval": "* * * * *", "web_sensor_seconds": 5},
        }

    def write(self, name: str, texts: list[str]) -> None:
        """Write a shard beside the folder and move it there whole."""
        fresh = self.place / f"{name}.jsonl"
        fresh.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        fresh.rename(self.pages / fresh.name)

    def dagster(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "dagster", *arguments]

    def ask(self, query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/graphql"
        request = urllib.request.Request(url, json.dumps({"query": query}).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def runs(self, tag: str) -> list[dict[str, Any]]:
        """Return the finished and running runs that carry a tag, oldest first."""
        found = self.ask(RUNS)["runsOrError"]["results"][::-1]
        return [run for run in found if any(each["key"] == tag for each in run["tags"])]

    def wait(self, what: Callable[[], Any], seconds: float = 240) -> Any:
        """Return the first true value of a function, asked once a second."""
        last = time.monotonic() + seconds
        while time.monotonic() < last:
            try:
                if found := what():
                    return found
            except OSError:  # the server is not there yet
                pass
            time.sleep(1)
        raise AssertionError(f"nothing in {seconds} s; the end of the log:\n{(self.place / 'log').read_text()[-5_000:]}")

    def finished(self, tag: str, number: int) -> Callable[[], dict[str, Any] | None]:
        """Return a function that finds the ``number``-th run with a tag once it has ended, and insists on success."""

        def look() -> dict[str, Any] | None:
            runs = self.runs(tag)
            if len(runs) <= number or runs[number]["status"] not in ("SUCCESS", "FAILURE", "CANCELED"):
                return None
            assert runs[number]["status"] == "SUCCESS", (self.place / "log").read_text()[-5_000:]
            return runs[number]

        return look


def figures(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the assets of a run reported: asset -> label -> value."""
    return {
        "/".join(made["assetKey"]["path"]): {
            entry["label"]: entry.get("intValue", entry.get("boolValue")) for entry in made["metadataEntries"]
        }
        for made in run["assetMaterializations"]
    }


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    """A server over a store that holds the seed corpus."""
    dev = Dev(tmp_path)
    with (tmp_path / "log").open("wb") as log:
        seed = dev.dagster("job", "execute", "-m", "hephaestus_dag.definitions", "-j", "build_seed_corpus")
        subprocess.run(seed, cwd=ROOT, env=dev.environment, stdout=log, stderr=log, check=True)
        command = dev.dagster("dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(dev.port))
        server = subprocess.Popen(command, cwd=ROOT, env=dev.environment, stdout=log, stderr=log, start_new_session=True)
        try:
            dev.wait(lambda: dev.ask("{ version }"))
            yield dev
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # servers, daemon and whatever run is under way
            server.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sensor_and_schedule_launch_runs_that_do_only_what_is_new(dev: Dev) -> None:
    dev.ask(START_SENSOR)
    first = dev.wait(dev.finished("dagster/sensor_name", 0))
    assert figures(first)["web_corpus"] == figures(first)["web_corpus"] | {"shards read": 2, "shards taken over": 0}
    assert not any(asset["reused"] for asset in figures(first).values())

    dev.ask(START_SCHEDULE)
    nothing_new = dev.wait(dev.finished("dagster/schedule_name", 0))
    assert figures(nothing_new).keys() == figures(first).keys()
    assert all(asset["reused"] for asset in figures(nothing_new).values())
    assert nothing_new["endTime"] - nothing_new["startTime"] < first["endTime"] - first["startTime"]

    dev.write("week2", dev.topics[60:75])
    second = dev.wait(dev.finished("dagster/sensor_name", 1))  # the code location was loaded before that file was there
    found = figures(second)
    assert found["web_corpus"] == found["web_corpus"] | {"shards read": 1, "shards taken over": 2}
    assert 0 < found["web_index"]["encoded"] <= 15
    assert found["web_index"]["copied"] == figures(first)["web_index"]["documents"]
    assert len(dev.runs("dagster/sensor_name")) == 2
