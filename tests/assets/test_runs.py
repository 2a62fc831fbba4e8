"""Whole runs of Dagster as people start them: two at once, one that is killed, two that want the same accelerator."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

ROOT = Path(__file__).parents[2]
AWS = {"location": "package:botocore", "domain": "agent", "license": "Apache-2.0", "exclude": ["botocore/data/[!s]*"]}
CLICK = {"location": "package:click", "license": "BSD-3-Clause"}
SMALL = {
    "extends": "laptop",
    "name": "small",
    "seed_corpus": {
        "tool_documentation": [{"name": "aws", "kind": "botocore", "max_documents": 200, **AWS}],
        "function_calling_trajectories": [{"name": "aws_calls", "kind": "botocore_examples", **AWS}],
        "synthetic_calls": {"count": 20, "operations": 100, "seed": 0},
        "code_documents": [{"name": "code", "kind": "python_code", "domain": "code", **CLICK}],
        "text_documents": [{"name": "prose", "kind": "python_comments", "domain": "text", **CLICK}],
    },
    "evaluation": {"mmlu": {"location": None}, "kept_out": []},
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Home:
    """A home of Dagster with this repository's settings, and a store."""

    def __init__(self, place: Path) -> None:
        self.store, self.notes = place / "store", place / "notes"
        (place / "home").mkdir()
        shutil.copy(ROOT / "dagster.yaml", place / "home")
        self.instance = dg.DagsterInstance.from_config(str(place / "home"))
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "HEPHAESTUS_RECIPE"},
            "DAGSTER_HOME": str(place / "home"),
            "HEPHAESTUS_STORE": str(self.store),
            "POOL_NOTES": str(self.notes),
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start one of Dagster's commands, in a group of its own."""
        command = [sys.executable, "-m", *arguments]
        log = self.notes.with_name(f"log-{time.monotonic_ns()}").open("wb")
        both = {**self.environment, **environment}
        return subprocess.Popen(command, cwd=ROOT, env=both, stdout=log, stderr=log, start_new_session=True)

    def runs(self, job: str, number: int, seconds: float) -> Sequence[dg.DagsterRun]:
        """Wait until there are so many runs of a job and all have ended, and return them, oldest first."""
        last = time.monotonic() + seconds
        found: Sequence[dg.DagsterRun] = []
        while time.monotonic() < last:
            found = self.instance.get_runs(dg.RunsFilter(job_name=job))[::-1]
            if len(found) >= number and all(run.is_finished for run in found):
                return found
            time.sleep(0.5)
        raise AssertionError(f"{job}, after {seconds} s: {[run.status for run in found]}\n{self.log}")

    def metadata(self, run: dg.DagsterRun) -> dict[str, dict[str, Any]]:
        """Return asset -> label -> value of what a run made."""
        records = self.instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
        made = [record.asset_materialization for record in records]
        return {
            one.asset_key.to_user_string(): {label: value.value for label, value in one.metadata.items()} for one in made if one
        }

    @property
    def log(self) -> str:
        logs = sorted(self.notes.parent.glob("log-*"))
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-3_000:]}" for path in logs)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a command and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def daemon(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    process = home.start("dagster._daemon", "run", "-m", "tests.assets.pool_graph")
    try:
        yield process
    finally:
        end(process)


def test_two_runs_at_once_build_every_artifact_once(home: Home, tmp_path: Path) -> None:
    for made in (ROOT / "store/.cache").glob("bfcl"):  # a minute of pip
        shutil.copytree(made, home.store / ".cache" / made.name, symlinks=True, copy_function=os.link)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    job = ("dagster", "job", "execute", "-m", "hephaestus_dag.definitions", "-j", "seed_corpus")
    both = [home.start(*job, HEPHAESTUS_RECIPE=str(tmp_path / "small.yaml")) for _ in range(2)]
    try:
        assert [process.wait(timeout=200) for process in both] == [0, 0], home.log
    finally:
        for process in both:
            if process.poll() is None:
                end(process)
    first, second = (home.metadata(run) for run in home.runs("seed_corpus", 2, 10))
    assert first.keys() == second.keys() >= {"seed_corpus", "tool_documentation", "benchmark_items"}
    for key in first:
        assert sorted([first[key]["reused"], second[key]["reused"]]) == [False, True], key
        assert first[key]["content"] == second[key]["content"]
        assert [path.name for path in (home.store / key).iterdir()] == [first[key]["fingerprint"][:12]]


@pytest.mark.usefixtures("daemon")
def test_a_killed_step_is_tried_again_and_the_accelerator_is_held_by_one_run_at_a_time(home: Home) -> None:
    launch = ("dagster", "job", "launch", "-m", "tests.assets.pool_graph", "-j")
    launched = [home.start(*launch, name) for name in ("run_left", "run_right", "run_fall")]
    assert [process.wait(timeout=100) for process in launched] == [0, 0, 0], home.log

    try:
        failed, again = home.runs("run_fall", 2, 60)
    except (
        AssertionError
    ):  # Dagster's daemon now and then looks at a failure before the run is marked as failed, and never again
        home.notes.with_name("fell").unlink()
        home.start(*launch, "run_fall").wait(timeout=100)
        _, failed, again = home.runs("run_fall", 3, 60)
    assert (failed.status, again.status) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS), home.log
    assert again.tags["dagster/parent_run_id"] == failed.run_id
    assert (home.metadata(failed).keys(), home.metadata(again).keys()) == ({"ground"}, {"falls_once"})

    for job in ("run_left", "run_right"):
        assert [run.status for run in home.runs(job, 1, 150)] == [dg.DagsterRunStatus.SUCCESS], home.log
    lines = home.notes.read_text().splitlines()
    one, other = lines[0].split()[0], lines[2].split()[0]
    assert {one, other} == {"left", "right"}
    assert lines == [f"{one} takes it", f"{one} is done", f"{other} takes it", f"{other} is done"]
