"""Training jobs on Kubernetes: an indexed Job with one pod for each node, and a headless Service by which they meet.

The kubernetes package is imported when the cluster is first asked; it is the extra ``kubernetes``.
"""

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hephaestus_dag.training.attempts import TrainingFailedError
from hephaestus_dag.training.cluster_config import KubernetesConfig
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.scheduler import JobState, SchedulerUnreachableError, torchrun
from hephaestus_dag.training.sharing import look

MISSING = "the Kubernetes client is not installed: pip install 'hephaestus-dag[kubernetes]'"
SECONDS = 30
"""Longest wait for an answer of the API server."""
LABEL = "hephaestus-dag/job"
ALREADY_EXISTS = 409
"""Status of an answer of the API server."""


class KubernetesError(RuntimeError):
    """The API server refused something; the message is what it said."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True)
class Kubernetes:
    """A `scheduler.Scheduler`; a job's id is its name."""

    config: KubernetesConfig
    name = "Kubernetes"
    where = "KUBECONFIG and execution.launcher.kubernetes.context"

    @property
    def poll_seconds(self) -> float:
        """See `scheduler.Scheduler`."""
        return self.config.poll_seconds

    @property
    def of_a_job(self) -> dict[str, Any]:
        """See `scheduler.Scheduler`."""
        return self.config.of_a_job

    def submit(self, plan: LaunchPlan, name: str) -> str:
        """See `scheduler.Scheduler`."""
        mount, work = Path(self.config.mount_path), plan.work.absolute()
        if not work.is_relative_to(mount):
            raise TrainingFailedError(
                f"{plan.title}: {work} is not below {mount}, where the pods have the claim {self.config.claim}; "
                "mount the claim under the same path on this machine, and keep the store there"
            )
        try:
            job = self._ask("create_namespaced_job", body=job_manifest(plan, name, self.config))
            self._begin(job)
        except KubernetesError as error:
            with suppress(SchedulerUnreachableError):
                self.cancel(name)
            raise TrainingFailedError(f"{plan.title}: Kubernetes refused the job: {error}") from error
        return name

    def find(self, name: str) -> str | None:
        """See `scheduler.Scheduler`; what a launcher that was killed while it submitted left undone is done."""
        job = self._look("read_namespaced_job_status", name)
        if job and not job.metadata.deletion_timestamp:
            try:
                self._begin(job)
            except KubernetesError as error:
                raise SchedulerUnreachableError(str(error)) from error
        return name if job else None

    def state(self, job: str) -> JobState:
        """See `scheduler.Scheduler`."""
        found = self._look("read_namespaced_job_status", job)
        if not found:
            return JobState("gone", "is no longer known to Kubernetes: it was deleted")
        if found.metadata.deletion_timestamp:
            return JobState("running")
        for condition in found.status.conditions or []:
            if condition.status == "True" and condition.type == "Complete":
                return JobState("succeeded")
            if condition.status == "True" and condition.type == "Failed":
                return JobState("failed", f"failed ({condition.reason}: {condition.message})")
        if found.spec.suspend:
            return JobState("pending", "it is suspended")
        if (found.status.ready or 0) + (found.status.succeeded or 0) == found.spec.parallelism:
            return JobState("running")
        waits = {reason for pod in self._pods(job) for reason in _waits_for(pod)}
        return JobState("pending", "; ".join(sorted(waits)) or "its pods are not ready")

    def cancel(self, job: str) -> None:
        """See `scheduler.Scheduler`."""
        self._look("delete_namespaced_job", job, propagation_policy="Foreground")

    def log(self, plan: LaunchPlan, job: str) -> str:
        """See `scheduler.Scheduler`."""
        texts = []
        for pod in sorted(self._pods(job), key=lambda pod: pod.metadata.name):
            with suppress(KubernetesError):  # It has not begun.
                # The client would turn the bytes into the text "b'...'".
                found = self._ask("read_namespaced_pod_log", pod.metadata.name, _preload_content=False)
                texts.append(found.data.decode(errors="replace"))
        return "".join(texts)

    def _begin(self, job: Any) -> None:
        """Let a Job of several nodes go, once they can find each other: it is made suspended."""
        if job.spec.suspend:
            name = job.metadata.name
            try:
                self._ask("create_namespaced_service", body=service_manifest(name, job.metadata.uid))
            except KubernetesError as error:
                if error.status != ALREADY_EXISTS:
                    raise
            self._ask("patch_namespaced_job", name, body={"spec": {"suspend": False}})

    def _pods(self, job: str) -> list[Any]:
        found = self._look("list_namespaced_pod", label_selector=f"{LABEL}={job}")
        return found.items if found else []

    def _look(self, call: str, *arguments: str, **options: Any) -> Any:
        """Ask about something that may not be there: None then."""
        try:
            return self._ask(call, *arguments, **options)
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise SchedulerUnreachableError(str(error)) from error

    def _ask(self, call: str, *arguments: str, **options: Any) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return self._calls(call)(*arguments, namespace=self.config.namespace, _request_timeout=SECONDS, **options)
        except ApiException as error:
            said = f"{error.status} {error.reason}: {error.body}"
            if error.status and 400 <= error.status < 500 and error.status != 429:
                raise KubernetesError(said, error.status) from error
            raise SchedulerUnreachableError(said) from error
        except HTTPError as error:
            raise SchedulerUnreachableError(str(error)) from error

    def _calls(self, call: str) -> Callable[..., Any]:
        return next(getattr(api, call) for api in self._apis if hasattr(api, call))

    @cached_property
    def _apis(self) -> tuple[Any, Any]:
        try:
            from kubernetes import client, config
        except ImportError as error:
            raise TrainingFailedError(MISSING) from error
        try:
            api = config.new_client_from_config(os.environ.get("KUBECONFIG"), context=self.config.context)
        except config.ConfigException as no_file:
            try:
                config.load_incluster_config(settings := client.Configuration())
            except config.ConfigException:
                raise TrainingFailedError(
                    f"Kubernetes cannot be reached: {no_file}; set KUBECONFIG, or run inside the cluster"
                ) from no_file
            api = client.ApiClient(settings)
        return client.BatchV1Api(api), client.CoreV1Api(api)


def job_manifest(plan: LaunchPlan, name: str, config: KubernetesConfig) -> dict[str, Any]:
    """Return the Job of a plan: one pod for each node, all of which end with the first that ends badly."""
    each = plan.num_processes // plan.num_nodes
    resources: dict[str, Any] = {"cpu": str(each * plan.threads)}
    if plan.num_gpus:
        resources[config.gpu_resource] = str(each)
    if config.memory:
        resources["memory"] = config.memory
    container = {
        "name": "train",
        "image": config.image,
        "command": ["/bin/sh", "-c", _command(plan, name, config)],
        "env": [{"name": key, "value": value} for key, value in plan.env.items()],
        "resources": {"requests": resources, "limits": {key: value for key, value in resources.items() if key != "cpu"}},
        "volumeMounts": [{"name": "store", "mountPath": config.mount_path}, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    volumes = [
        {"name": "store", "persistentVolumeClaim": {"claimName": config.claim}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},  # NCCL's; the default of 64 MB is too small.
    ]
    pod = {
        "restartPolicy": "Never",
        "subdomain": name,
        **config.pod,
        "containers": [container],
        "volumes": [*volumes, *config.pod.get("volumes", [])],
    }
    labels = {LABEL: name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels, "annotations": {"hephaestus-dag/title": plan.title}},
        "spec": {
            "completionMode": "Indexed",
            "completions": plan.num_nodes,
            "parallelism": plan.num_nodes,
            "suspend": plan.num_nodes > 1,  # until its Service is there
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": config.keep_seconds,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def service_manifest(name: str, owner: str) -> dict[str, Any]:
    """Return the headless Service that gives the pods of a Job names; it goes when the Job, of uid ``owner``, goes."""
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": owner}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {LABEL: name}, "ownerReferences": [reference]},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {LABEL: name},
        },
    }


def _command(plan: LaunchPlan, name: str, config: KubernetesConfig) -> str:
    """Return the shell's command of a pod: pod 0 has a name that the others know beforehand."""
    there = replace(plan, argv=(config.python, *plan.argv[1:]))
    meeting = ("--node-rank", "INDEX", "--master-addr", f"{name}-0.{name}", "--master-port", str(plan.rendezvous_port))
    agent = shlex.join([config.python, *torchrun(there, *(meeting if plan.num_nodes > 1 else ("--standalone",)))])
    agent = agent.replace("INDEX", '"$JOB_COMPLETION_INDEX"', 1)
    return f"{look(plan, name)}; cd {shlex.quote(str(plan.work.absolute()))} && exec {agent}"


def _waits_for(pod: Any) -> list[str]:
    """Return why a pod has not begun: no node has room, or its image cannot be had."""
    said = [condition.message for condition in pod.status.conditions or [] if condition.status == "False"]
    for status in pod.status.container_statuses or []:
        if waiting := status.state and status.state.waiting:
            said.append(" ".join(filter(None, (waiting.reason, waiting.message))))
    return list(filter(None, said))
