"""Training jobs on a real Ray cluster of two nodes on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.training.attempts import TrainingFailedError, TrainingStoppedError
from hephaestus_dag.training.cluster_config import RayJobConfig
from hephaestus_dag.training.config import Placement
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import LaunchPlan, plan_launch
from hephaestus_dag.training.ray_jobs import Ray
from tests.slurm_cluster import hiding
from tests.training.test_launch import gone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
WORKER = """
import json, os, time
from hephaestus_dag.training.orphans import die_with_parent
die_with_parent()
open("metrics.jsonl", "a").write(json.dumps({"step": 1, "pid": os.getpid()}) + "\\n")
time.sleep(600)
"""
CLUSTER = """
import subprocess, sys
from pathlib import Path
from ray.cluster_utils import Cluster
head = {"num_cpus": 2, "include_dashboard": True, "dashboard_port": 0, "object_store_memory": 10**8}
cluster = Cluster(initialize_head=True, head_node_args=head)
program = Path(sys.executable).with_name("ray"), "start", "--block", "--address", cluster.address
prefix, options = sys.argv[1:], ("--num-cpus=2", "--object-store-memory=100000000")
second = subprocess.Popen([*prefix, *program, *options], stdout=subprocess.DEVNULL)
print(cluster.webui_url, flush=True)
sys.stdin.read()
second.terminate()
second.wait()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the second node does not share, where this user may mount."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def scheduler(own: Path) -> Iterator[Ray]:
    """The cluster, in a process of its own; its sockets' paths have to be short."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-c", CLUSTER, *(hiding(own) if os.geteuid() == 0 else ())]
        env = {**os.environ, "RAY_TMPDIR": folder}
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout
            ray = Ray(RayJobConfig(address=f"http://{program.stdout.readline().strip()}", poll_seconds=0.3))
            yield ray
            assert program.stdin
            program.stdin.close()


def test_a_job_outlives_its_launcher_and_is_followed_again(scheduler: Ray, make_job: Callable[..., TrainingJob]) -> None:
    job, plain = make_job(name="ray"), make_job(name="local")
    placement = Placement(num_processes=2, nodes=2, threads=1)
    plan = plan_launch(job, placement)
    code = f"""
from pathlib import PosixPath
from hephaestus_dag.training.cluster_config import RayJobConfig
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.ray_jobs import Ray
ray = Ray(RayJobConfig(**{scheduler.config.model_dump()!r}))
run_detached({plan!r}, ray, lambda metrics: print(metrics["step"], flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout
        while int(launcher.stdout.readline()) < 3:
            pass
        launcher.kill()
    given = json.loads(plan.launched.read_text())["id"]
    seen: list[dict[str, Any]] = []
    warnings: list[str] = []
    run_detached(plan, scheduler, seen.append, warnings.append)
    assert f"job {given} of Ray, submitted earlier, is followed again" in warnings[0]
    assert seen == [json.loads(line) for line in plan.metrics[0].read_text().splitlines()], "all lines, each once"
    run_local(plan_launch(plain, placement.model_copy(update={"nodes": 1})), lambda metrics: None)
    assert _weights(job) == _weights(plain)


def test_stopping_leaves_nothing(scheduler: Ray, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    plan = _plan(tmp_path, WORKER, nodes=2)
    with pytest.raises(TrainingStoppedError):
        run_detached(plan, scheduler, seen.append, stop=lambda: len(seen) == 2)
    assert gone([line["pid"] for line in seen], seconds=10)
    assert not plan.launched.exists()


def test_the_death_of_a_rank_is_named_and_met_with_a_new_job(scheduler: Ray, tmp_path: Path) -> None:
    code = (
        "import os, time; print('a word', flush=True); time.sleep(600 * (os.environ['RANK'] == '0')); os.kill(os.getpid(), 9)"
    )
    warnings: list[str] = []
    plan = _plan(tmp_path, code, restarts=1)
    with pytest.raises(TrainingFailedError, match=r"after 1 restart: rank 1 died of SIGKILL .*, job \S+ of Ray failed"):
        run_detached(plan, scheduler, lambda metrics: None, warnings.append)
    assert len(warnings) == 1
    log = plan.log.read_text()
    assert log.splitlines().count("a word") >= 2, "one of each attempt at least: rank 0 may be ended before it speaks"
    assert "torchrun ended with exit status 1" in log


def test_a_job_that_others_stop_is_not_started_again(scheduler: Ray, tmp_path: Path) -> None:
    def stop(metrics: dict[str, Any]) -> None:
        scheduler.cancel(json.loads(plan.launched.read_text())["id"])
        time.sleep(1)

    plan = _plan(tmp_path, WORKER, restarts=3, num_processes=1)
    with pytest.raises(TrainingFailedError, match=r"of Ray was stopped, not by this run"):
        run_detached(plan, scheduler, stop)


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailedError, match=r"Ray gives no answer .*127.0.0.1:9.*check execution.launcher.ray.address"):
        run_detached(_plan(tmp_path, ""), Ray(RayJobConfig(address="http://127.0.0.1:9")), lambda metrics: None)


@pytest.mark.skipif(os.geteuid() != 0, reason="a node of its own folder needs a mount, which is root's")
def test_a_node_that_does_not_see_the_folder_is_named_and_the_remedy_too(scheduler: Ray, own: Path) -> None:
    said = rf"job \S+ of Ray: \S+ does not see {own}/work; all nodes must see the store's folder"
    with pytest.raises(TrainingFailedError, match=said):
        run_detached(_plan(own / "work", WORKER, nodes=2, restarts=3), scheduler, lambda metrics: None)


def _plan(folder: Path, code: str, **fields: Any) -> LaunchPlan:
    given = {"env": {"PYTHONPATH": str(Path(__file__).parents[2])}, "num_processes": 2, **fields}
    return LaunchPlan(title="two nodes", argv=(sys.executable, "-c", code), work=folder, **given)


def _weights(job: TrainingJob) -> str:
    return hashlib.sha256((job.output / "model" / "model.safetensors").read_bytes()).hexdigest()
