"""Training jobs on Kubernetes: manifests by the API's schema, and the launcher against a stand-in whose pods are processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from hephaestus_dag.training import detached
from hephaestus_dag.training.attempts import TrainingFailedError, TrainingStoppedError
from hephaestus_dag.training.cluster_config import KubernetesConfig
from hephaestus_dag.training.detached import SchedulerLostError, run_detached
from hephaestus_dag.training.kubernetes_jobs import Kubernetes, job_manifest, service_manifest
from hephaestus_dag.training.launch_plan import LaunchPlan
from tests.kubernetes_server import VERSION, Cluster, kubernetes_cluster
from tests.slurm_cluster import hiding
from tests.training.test_launch import gone

LINE = "line = {'step': int(os.environ['JOB_COMPLETION_INDEX']), 'pid': os.getpid()}; "
LINE += "open('metrics.jsonl', 'a').write(json.dumps(line) + '\\n')"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with kubernetes_cluster(tmp_path) as cluster:
        yield cluster


def settings(folder: Path, **fields: Any) -> KubernetesConfig:
    """An image whose Python runs what torchrun would run, without torchrun."""
    python = folder / "python"
    python.write_text(f"""#!/bin/sh
[ "$1" = -m ] || exec {sys.executable} "$@"
while [ "$1" != --no-python ]; do shift; done
shift
exec "$@"
""")
    python.chmod(0o755)
    given = {"image": "here", "claim": "store", "mount_path": str(folder), "python": str(python), "poll_seconds": 0.1}
    return KubernetesConfig(**{**given, **fields})


def pods_plan(folder: Path, code: str, **fields: Any) -> LaunchPlan:
    given = {"env": {}, "num_processes": 2, "nodes": 2, **fields}
    argv = (sys.executable, "-c", f"import json, os, time; {code}")
    return LaunchPlan(title="two pods", argv=argv, work=folder / "work", **given)


@pytest.mark.parametrize("gpus", [0, 16])
@pytest.mark.parametrize("nodes", [1, 2])
def test_manifests_are_what_the_api_takes(tmp_path: Path, nodes: int, gpus: int) -> None:
    config = settings(
        tmp_path,
        memory="64Gi",
        pod={
            "nodeSelector": {"gpu": "a100"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    )
    plan = pods_plan(tmp_path, "", num_processes=16, num_gpus=gpus, threads=4, nodes=nodes)
    job = job_manifest(plan, "hephaestus-1", config)
    kubernetes_validate.validate(job, VERSION, strict=True)
    kubernetes_validate.validate(service_manifest("hephaestus-1", "uid"), VERSION, strict=True)
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["backoffLimit"]) == (nodes, nodes, 0)
    pod = job["spec"]["template"]["spec"]
    asked = pod["containers"][0]["resources"]["requests"]
    assert asked == {"cpu": str(64 // nodes), "memory": "64Gi"} | ({"nvidia.com/gpu": str(16 // nodes)} if gpus else {})
    assert [volume["name"] for volume in pod["volumes"]] == ["store", "shm", "scratch"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    command = pod["containers"][0]["command"][-1]
    assert ('--node-rank "$JOB_COMPLETION_INDEX" --master-addr hephaestus-1-0.hephaestus-1' in command) == (nodes > 1)
    assert f"--nproc-per-node {16 // nodes} " in command


def test_pods_train_and_leave_a_log(tmp_path: Path, cluster: Cluster) -> None:
    seen: list[dict[str, Any]] = []
    plan = pods_plan(
        tmp_path,
        f"{LINE}; print('pod', os.environ['JOB_COMPLETION_INDEX'], os.environ['GREETING'])",
        env={"GREETING": "hello $HOME"},
    )
    run_detached(plan, Kubernetes(settings(tmp_path)), seen.append)
    assert sorted(line["step"] for line in seen) == [0, 1]
    assert plan.log.read_text() == "pod 0 hello $HOME\npod 1 hello $HOME\n"
    (service,) = cluster.services.values()
    assert service["spec"]["selector"] == cluster.jobs[cluster.ever[0]].job["spec"]["template"]["metadata"]["labels"]


def in_a_process(plan: LaunchPlan, config: KubernetesConfig) -> subprocess.Popen[str]:
    """Launch a plan from a process of its own, which prints a line for each of the metrics."""
    code = f"""
from pathlib import PosixPath
from hephaestus_dag.training.cluster_config import KubernetesConfig
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.kubernetes_jobs import Kubernetes
from hephaestus_dag.training.launch_plan import LaunchPlan
run_detached({plan!r}, Kubernetes(KubernetesConfig(**{config.model_dump()!r})), lambda metrics: print(flush=True))
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_job_outlives_its_launcher_and_is_not_given_twice(tmp_path: Path, cluster: Cluster) -> None:
    config, go = settings(tmp_path), tmp_path / "go"
    plan = pods_plan(tmp_path, f"{LINE}\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)")
    with in_a_process(plan, config) as launcher:
        assert launcher.stdout
        assert launcher.stdout.readline()
        launcher.kill()
    seen: list[dict[str, Any]] = []
    warnings: list[str] = []

    def note(metrics: dict[str, Any]) -> None:
        seen.append(metrics)
        go.touch()

    run_detached(plan, Kubernetes(config), note, warnings.append)
    assert sorted(line["step"] for line in seen) == [0, 1], "what was written before is replayed"
    assert len(cluster.ever) == 1
    assert len(warnings) == 1
    assert "submitted earlier, is followed again" in warnings[0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("last", ["create Job", "create Service", "patch Job"])
def test_what_a_launcher_killed_while_submitting_left_undone_is_done(tmp_path: Path, cluster: Cluster, last: str) -> None:
    config, seen = settings(tmp_path), list[dict[str, Any]]()
    plan = pods_plan(tmp_path, LINE)
    cluster.on_write = lambda what: launcher.kill() if what == last else None
    with in_a_process(plan, config) as launcher:
        assert launcher.wait() == -signal.SIGKILL
    cluster.on_write = lambda what: None
    assert not json.loads(plan.launched.read_text())["id"]
    run_detached(plan, Kubernetes(config), seen.append)
    assert sorted(line["step"] for line in seen) == [0, 1]
    assert len(cluster.ever) == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("last", ["create Job", "create Service", "patch Job"])
def test_an_interrupt_while_submitting_leaves_nothing(tmp_path: Path, cluster: Cluster, last: str) -> None:
    def interrupt(what: str) -> None:
        if what == last:
            cluster.on_write = lambda what: None
            launcher.send_signal(signal.SIGINT)
            time.sleep(0.5)  # It is met before the answer.

    cluster.on_write = interrupt
    with in_a_process(plan := pods_plan(tmp_path, f"{LINE}; time.sleep(600)"), settings(tmp_path)) as launcher:
        assert launcher.wait() == -signal.SIGINT
    assert (cluster.jobs, cluster.services) == ({}, {})
    assert not plan.launched.exists()


def test_what_is_refused_in_the_middle_leaves_nothing(tmp_path: Path, cluster: Cluster) -> None:
    cluster.forbidden = "Service"
    with pytest.raises(TrainingFailedError, match=r"two pods: Kubernetes refused the job: 403 .*services is forbidden"):
        run_detached(pods_plan(tmp_path, LINE), Kubernetes(settings(tmp_path)), lambda metrics: None)
    assert (cluster.jobs, len(cluster.ever)) == ({}, 1)


def test_stopping_leaves_nothing(tmp_path: Path, cluster: Cluster) -> None:
    seen: list[dict[str, Any]] = []
    plan = pods_plan(tmp_path, f"{LINE}; time.sleep(600)")
    with pytest.raises(TrainingStoppedError):
        run_detached(plan, Kubernetes(settings(tmp_path)), seen.append, stop=lambda: len(seen) == 2)
    assert (cluster.jobs, cluster.services) == ({}, {})
    assert gone([line["pid"] for line in seen], seconds=0)


def test_a_failure_is_met_with_a_new_job_and_then_said(tmp_path: Path, cluster: Cluster) -> None:
    warnings: list[str] = []
    plan = pods_plan(tmp_path, "print('no more disk'); raise SystemExit(3)", restarts=1)
    with pytest.raises(TrainingFailedError, match=r"after 1 restart: job \S+ of Kubernetes failed \(Back(.|\n)*no more disk"):
        run_detached(plan, Kubernetes(settings(tmp_path)), lambda metrics: None, warnings.append)
    assert len(cluster.ever) == 2
    assert len(warnings) == 1


def test_a_job_that_others_delete_is_not_started_again(tmp_path: Path, cluster: Cluster) -> None:
    plan = pods_plan(tmp_path, f"{LINE}; time.sleep(600)", restarts=3)
    with pytest.raises(TrainingFailedError, match="is no longer known to Kubernetes: it was deleted, not by this run"):
        run_detached(plan, Kubernetes(settings(tmp_path)), lambda metrics: cluster.delete(cluster.ever[0]) and None)
    assert len(cluster.ever) == 1


def test_an_outage_is_waited_out_or_leaves_the_job_to_be_found(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached, "PATIENCE", 0.5)
    plan = pods_plan(tmp_path, f"{LINE}; time.sleep(1.2)")
    warnings: list[str] = []

    def outage(metrics: dict[str, Any]) -> None:
        cluster.down = True

    with pytest.raises(SchedulerLostError, match="start this again to follow it"):
        run_detached(plan, Kubernetes(settings(tmp_path)), outage, warnings.append)
    assert "gives no answer (503" in warnings[0]
    assert json.loads(plan.launched.read_text())["id"] == cluster.ever[0]
    cluster.down = False
    asked_otherwise = settings(tmp_path).model_copy(update={"poll_seconds": 0.2, "keep_seconds": 60})
    run_detached(plan, Kubernetes(asked_otherwise), lambda metrics: None, warnings.append)
    assert "is followed again" in warnings[-1]
    assert len(cluster.ever) == 1


def test_a_server_that_never_answers_is_given_nothing(tmp_path: Path, cluster: Cluster) -> None:
    cluster.down = True
    plan = pods_plan(tmp_path, LINE)
    with pytest.raises(TrainingFailedError, match=r"gives no answer \(503.*nothing was submitted; check KUBECONFIG"):
        run_detached(plan, Kubernetes(settings(tmp_path)), lambda metrics: None)
    assert not plan.launched.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a pod of its own folder needs a mount, which is root's")
def test_a_pod_that_does_not_see_the_folder_is_named_and_the_remedy_too(tmp_path: Path, cluster: Cluster) -> None:
    plan = pods_plan(tmp_path, LINE, restarts=3)
    plan.work.mkdir()
    cluster.prefix = hiding(plan.work)
    said = rf"job \S+ of Kubernetes: {socket.gethostname()} does not see {plan.work}; all nodes must see the store's folder"
    with pytest.raises(TrainingFailedError, match=said):
        run_detached(plan, Kubernetes(settings(tmp_path)), lambda metrics: None)
    assert len(cluster.ever) == 1


def test_a_store_outside_the_claim_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    with pytest.raises(TrainingFailedError, match="is not below /elsewhere, where the pods have the claim store"):
        run_detached(pods_plan(tmp_path, ""), Kubernetes(settings(tmp_path, mount_path="/elsewhere")), lambda metrics: None)
    assert cluster.ever == []
