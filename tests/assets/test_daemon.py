"""The schedule and the sensor under a running daemon: what they launch, what it sees, and what it costs."""

import json
import os
import pydoc_data.topics
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from hephaestus_dag.definitions import definitions
from hephaestus_dag.recipe_file import load_recipe
from tests.loopback import LoopbackHandler, LoopbackServer, running
from tests.quality.judge_server import PAGE, completion

ROOT = Path(__file__).parents[2]
SERVICES = ["botocore/data/[!s]*", "botocore/data/s[!nq]*"]
AWS = {"location": "package:botocore", "domain": "agent", "license": "Apache-2.0", "exclude": SERVICES}
GUARDED = """"$@" & cat > /dev/null; kill -9 0"""
"""A command that ends, with all that it started, when whoever holds its input is gone, however that happened."""


class JudgeHandler(LoopbackHandler):
    """Says Yes to pages about statements."""

    def do_POST(self) -> None:
        page = PAGE.search(self.request_body()["messages"][0]["content"])
        usage = {"prompt_tokens": 100, "completion_tokens": 1}
        self.reply(200, completion("Yes" if page and "statement" in page[1] else "No", usage=usage))


class Place:
    """A home of Dagster, a store, and a small recipe whose web corpus is a folder of JSON lines."""

    def __init__(self, place: Path, judge: str) -> None:
        self.place, self.pages, self.store, self.judge = place, place / "pages", place / "store", judge
        (place / "home").mkdir()
        (place / "home/dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
        self.pages.mkdir()
        self.topics = [text for _, text in sorted(pydoc_data.topics.topics.items())]
        for number in range(2):
            self.write(f"week{number}", self.topics[30 * number : 30 * number + 30])
        (place / "recipe.yaml").write_text(yaml.safe_dump(self.recipe()))
        for pattern in ("bfcl", "smollm2-135m-*"):  # minutes of pip, and of converting a model
            for made in (ROOT / "store/.cache").glob(pattern):
                shutil.copytree(made, self.store / ".cache" / made.name, symlinks=True, copy_function=os.link)
        self.instance = dg.DagsterInstance.from_config(str(place / "home"))

    def recipe(self) -> dict[str, Any]:
        web = {"name": "web", "kind": "records", "location": str(self.pages), "domain": "agent", "license": "PSF-2.0"}
        annotator = {"kind": "openai", "model": "judge", "endpoint": self.judge, "max_tokens": 256}
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
            "quality": {"annotation": {"num_samples": 100, "recheck_samples": 0, "good_above": 0.5, "annotator": annotator}},
            "evaluation": {"mmlu": {"location": None}, "kept_out": []},
            "execution": {"weekly_retrieval": "* * * * *", "web_sensor_seconds": 5},
        }

    def write(self, name: str, texts: list[str]) -> None:
        """Write a shard beside the folder and move it there whole."""
        fresh = self.place / f"{name}.jsonl"
        fresh.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        fresh.rename(self.pages / fresh.name)

    def build_seed_corpus(self) -> None:
        """Make in this process what retrieval starts from."""
        job = definitions(load_recipe(self.place / "recipe.yaml")).resolve_job_def("seed_corpus")
        here = {"store": {"config": {"root": str(self.store)}}, "compute": {"config": {"num_workers": 1}}}
        job.execute_in_process(run_config={"resources": here})

    def daemon(self, log: Any) -> subprocess.Popen[bytes]:
        """Start the daemon with sensor and schedule switched on."""
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(self.place / "home"),
            "HEPHAESTUS_RECIPE": str(self.place / "recipe.yaml"),
            "HEPHAESTUS_STORE": str(self.store),
        }
        start = (
            "dagster sensor start new_web_shards -w workspace.yaml & "
            "dagster schedule start weekly_retrieval -w workspace.yaml & "
            "exec dagster-daemon run -w workspace.yaml"
        )
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        command = ["sh", "-c", GUARDED, "sh", "sh", "-c", start]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )


class Runs:
    """What the daemon has launched, read from Dagster's home."""

    def __init__(self, place: Place) -> None:
        self.place, self.instance = place, place.instance

    def of(self, tag: str) -> list[dg.RunRecord]:
        """Return the runs that carry a tag, oldest first."""
        records = self.instance.get_run_records(dg.RunsFilter(job_name="retrieval"))[::-1]
        return [record for record in records if tag in record.dagster_run.tags]

    def finished(self, tag: str, number: int, seconds: float = 240) -> dict[str, dict[str, Any]]:
        """Wait for the ``number``-th run with a tag, insist on success, and return asset -> label -> value."""
        last = time.monotonic() + seconds
        while time.monotonic() < last:
            runs = self.of(tag)
            if len(runs) > number and runs[number].dagster_run.is_finished:
                assert runs[number].dagster_run.is_success, self.log
                return self.figures(runs[number].dagster_run.run_id)
            time.sleep(0.5)
        raise AssertionError(f"nothing in {seconds} s: {self.log}")

    def seconds(self, tag: str, number: int) -> float:
        """Return how long a run took."""
        record = self.of(tag)[number]
        assert record.start_time
        assert record.end_time
        return record.end_time - record.start_time

    def figures(self, run_id: str) -> dict[str, dict[str, Any]]:
        found = self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
        made = [record.asset_materialization for record in found]
        return {
            one.asset_key.to_user_string(): {label: value.value for label, value in one.metadata.items()} for one in made if one
        }

    @property
    def log(self) -> str:
        return f"the end of the daemon's log:\n{(self.place.place / 'log').read_text()[-5_000:]}"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A store that holds the seed corpus, under a running daemon."""
    with running(LoopbackServer(JudgeHandler)) as judge, (tmp_path / "log").open("wb") as log:
        place = Place(tmp_path, judge.endpoint)
        place.build_seed_corpus()
        process = place.daemon(log)
        try:
            yield place
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the daemon, its code server and whatever run is under way
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sensor_and_schedule_launch_runs_that_do_only_what_is_new(place: Place) -> None:
    runs = Runs(place)
    first = runs.finished("dagster/sensor_name", 0)
    assert first["web_corpus"] == first["web_corpus"] | {"shards read": 2, "shards taken over": 0}
    scheduled = len(runs.of("dagster/schedule_name"))

    nothing_new = runs.finished("dagster/schedule_name", scheduled)
    assert nothing_new.keys() == first.keys()
    assert all(asset["reused"] for asset in nothing_new.values())
    took = runs.seconds("dagster/schedule_name", scheduled)
    assert took < runs.seconds("dagster/sensor_name", 0)

    place.write("week2", place.topics[60:75])
    second = runs.finished("dagster/sensor_name", 1)  # the code location was loaded before that file was there
    assert second["web_corpus"] == second["web_corpus"] | {"shards read": 1, "shards taken over": 2}
    assert 0 < second["web_index"]["encoded"] <= 15
    assert second["web_index"]["copied"] == first["web_index"]["documents"]
    assert len(runs.of("dagster/sensor_name")) == 2
