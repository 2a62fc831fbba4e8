"""Terminating a run in the Dagster UI: its training job leaves no process behind, whatever started it."""

import json
import os
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

from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.metrics import read_metrics
from tests.training.test_hosts import STAND_IN
from tests.training.test_launch import gone

ROOT = Path(__file__).parents[2]
GRAPH = """
from pathlib import Path

import dagster as dg

from hephaestus_dag.training.job import TrainingJob
from resources.launcher import LocalLauncher, TorchrunLauncher
from resources.trainer import DeepSpeedTrainer

FOLDER = Path({folder!r})


def training(name):
    @dg.op(name=name + "_op", required_resource_keys={{name}})
    def train(context):
        getattr(context.resources, name).train(TrainingJob.read(FOLDER / f"{{name}}.json"), context.log.info)

    @dg.job(name=name)
    def made():
        train()

    return made


hosts = TorchrunLauncher(remote_shell={shell!r})
defs = dg.Definitions(
    jobs=[training(name) for name in ("alone", "pair", "hosts")],
    resources={{
        "alone": DeepSpeedTrainer(launcher=LocalLauncher(), threads=1),
        "pair": DeepSpeedTrainer(launcher=LocalLauncher(), num_processes=2, threads=1),
        "hosts": DeepSpeedTrainer(
            launcher=hosts, num_processes=2, threads=1, hosts=["localhost", "elsewhere"], rendezvous_port={port}
        ),
    }},
)
"""
LAUNCH = """mutation($job: String!) { launchRun(executionParams: {mode: "default", selector: {
  repositoryName: "__repository__", repositoryLocationName: "graph", jobName: $job}}) {
  __typename ... on LaunchRunSuccess { run { runId } } } }"""
TERMINATE = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Server:
    """A `dagster dev` over three jobs that train for ever."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        (folder / "home").mkdir()
        (folder / "graph.py").write_text(GRAPH.format(folder=str(folder), shell=list(STAND_IN), port=free_port()))
        workspace = f"load_from: [{{python_file: {{relative_path: {folder}/graph.py, location_name: graph}}}}]"
        (folder / "workspace.yaml").write_text(workspace)
        environment = {**os.environ, "DAGSTER_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(self.port)]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def ask(self, query: str, **variables: str) -> Any:
        content = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/graphql", content, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return next(iter(found["data"].values()))

    def until(self, what: Callable[[], Any], seconds: float = 120) -> Any:
        last = time.monotonic() + seconds
        while time.monotonic() < last:
            try:
                if found := what():
                    return found
            except OSError:  # the server is not there yet
                pass
            time.sleep(0.5)
        raise AssertionError(f"nothing in {seconds} s; the end of the log:\n{(self.folder / 'log').read_text()[-5_000:]}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()


def processes_about(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [int(path.parent.name)] if str(folder) in path.read_text() else []
        except OSError:  # it has ended
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_terminating_a_run_leaves_no_process(server: Server, make_job: Callable[..., TrainingJob], corpus: Any) -> None:
    endless = corpus.mixture("endless", 100_000, agent=0.5, text=0.5)
    for name, processes in (("alone", 1), ("pair", 2), ("hosts", 7)):  # two workers, agents, holders, and the stand-in
        job = make_job(name=name, mixture=endless)
        job.write(server.folder / f"{name}.json")
        run = server.until(lambda name=name: server.ask(LAUNCH, job=name).get("run"))["runId"]
        server.until(lambda job=job: len(read_metrics(job.metrics)) > 2)
        pids = processes_about(job.work)
        assert len(pids) >= processes
        server.ask(TERMINATE, run=run)
        server.until(lambda run=run: server.ask(STATUS, run=run)["status"] == "CANCELED")
        assert gone(pids, seconds=5), name
        assert processes_about(job.work) == []
