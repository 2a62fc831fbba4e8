"""Settings of the schedulers that training jobs can be given to."""

import re
from pathlib import PurePosixPath
from typing import Any, ClassVar

from pydantic import Field, field_validator

from hephaestus_dag.config import Config


class SchedulerConfig(Config):
    """What the settings of all schedulers share."""

    asking: ClassVar[frozenset[str]] = frozenset({"poll_seconds"})
    """Fields that say how and where the scheduler is asked. A job that runs does not depend on them."""

    poll_seconds: float = Field(default=5.0, gt=0, description="Seconds between two questions to the scheduler about the job")

    @property
    def of_a_job(self) -> dict[str, Any]:
        """The settings that a job depends on."""
        return self.model_dump(mode="json", exclude=set(self.asking))


class SlurmConfig(SchedulerConfig):
    """How Slurm runs a training job: one batch job, with one torchrun on each node."""

    asking = SchedulerConfig.asking | {"login"}

    login: str | None = Field(
        default=None,
        description="Login node, reached by ssh, whose Slurm commands are used; it sees the store too. "
        "null: the commands of this machine",
    )
    partition: str | None = Field(default=None, description="Partition; null: the cluster's default")
    account: str | None = Field(default=None, description="Account that is charged; null: the user's default")
    time_limit: str | None = Field(
        default=None,
        description="Longest running time in minutes, as hours:minutes:seconds, or as days-hours; null: the partition's",
    )
    options: tuple[str, ...] = Field(default=(), description="More options of sbatch, such as --constraint=a100 or --exclusive")

    @field_validator("time_limit")
    @classmethod
    def _is_a_time(cls, limit: str | None) -> str | None:
        if limit and not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", limit):
            raise ValueError(f"{limit!r} is no time of Slurm; write minutes, hours:minutes:seconds, or days-hours: 2-00")
        return limit

    @field_validator("options")
    @classmethod
    def _are_options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((option for option in options if not option.startswith("-") or "\n" in option), None):
            raise ValueError(f"{wrong!r} is no option of sbatch; write one a line, such as --constraint=a100")
        return options


class RayJobConfig(SchedulerConfig):
    """How a Ray cluster runs a training job: a Ray job with one torchrun on each of several nodes."""

    asking = SchedulerConfig.asking | {"address"}

    address: str | None = Field(
        default=None,
        description="Address of the cluster's job server, such as http://head:8265; null: the variable RAY_ADDRESS, or the "
        "cluster that runs on this machine",
    )
    resources: dict[str, float] = Field(default={}, description="Further Ray resources that each node must have, by name")

    @field_validator("address")
    @classmethod
    def _is_the_dashboard(cls, address: str | None) -> str | None:
        if address is not None and not re.match(r"https?://", address):
            raise ValueError(f"{address!r} is none of a job server, which is the dashboard's: write http://head:8265")
        return address


class KubernetesConfig(SchedulerConfig):
    """How Kubernetes runs a training job: an indexed Job with one pod for each node, and a headless Service."""

    asking = SchedulerConfig.asking | {"context", "keep_seconds"}

    image: str = Field(description="Container image with this library and its Python packages")
    claim: str = Field(description="PersistentVolumeClaim (ReadWriteMany) with the store, the same that this machine sees")
    mount_path: str = Field(default="/store", description="Where the claim is mounted, in the pods and on this machine alike")
    python: str = Field(default="python", description="Python of the image")
    namespace: str = Field(default="default", description="Namespace of the job")
    context: str | None = Field(
        default=None,
        description="Context of the kubeconfig; null: its current one, or this pod's own account",
    )
    memory: str | None = Field(default=None, description="Memory that each pod gets, such as 64Gi; null: no limit")
    gpu_resource: str = Field(default="nvidia.com/gpu", description="Name under which the nodes offer GPUs")
    pod: dict[str, Any] = Field(
        default={},
        description="Further fields of the pods' spec, such as nodeSelector, tolerations or imagePullSecrets",
    )
    keep_seconds: int = Field(default=86_400, ge=0, description="Seconds that an ended job is kept, to be found again")

    @field_validator("pod")
    @classmethod
    def _leaves_the_container(cls, pod: dict[str, Any]) -> dict[str, Any]:
        if taken := {"containers", "restartPolicy", "subdomain", "hostname"} & pod.keys():
            raise ValueError(f"{', '.join(sorted(taken))}: the launcher sets these; leave them out")
        return pod

    @field_validator("mount_path")
    @classmethod
    def _is_absolute(cls, path: str) -> str:
        if not PurePosixPath(path).is_absolute():
            raise ValueError(f"{path!r} must be an absolute path")
        return path
