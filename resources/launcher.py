"""Where training jobs run: a launcher takes a plan and follows it to its end.

When this process is killed, what it started itself ends with it; jobs on hosts, Slurm, Ray and Kubernetes go on, and the next
run of the same artifact follows them.
"""

from abc import ABC, abstractmethod
from typing import Any

import dagster as dg
from pydantic import Field

from hephaestus_dag.training.attempts import OnMetrics, Say
from hephaestus_dag.training.cluster_config import KubernetesConfig, RayJobConfig, SlurmConfig
from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.kubernetes_jobs import Kubernetes
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.ray_jobs import Ray
from hephaestus_dag.training.slurm_jobs import Slurm
from hephaestus_dag.training.ssh_jobs import REMOTE_SHELL, SshHosts


class Launcher(dg.ConfigurableResource, ABC):
    """Runs launch plans somewhere."""

    @abstractmethod
    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, warn: Say) -> None:
        """Run a plan to its end, calling ``on_metrics`` with every new line of its metrics, ``warn`` about each restart.

        Whatever exception passes through, interrupts included, nothing of the job keeps running. Raises
        TrainingFailedError, whose message says which process failed and of what.
        """


class LocalLauncher(Launcher):
    """Runs plans as child processes on this machine."""

    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, warn: Say) -> None:
        """See `Launcher.run`."""
        run_local(plan, on_metrics, warn)


class TorchrunLauncher(Launcher):
    """Runs plans on their hosts: one torchrun agent on each, through ssh. The hosts see the same folders and this Python."""

    remote_shell: list[str] = Field(
        default=list(REMOTE_SHELL), description="Command that, with a host and a command line behind it, runs that line there."
    )

    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, warn: Say) -> None:
        """See `Launcher.run`."""
        run_detached(plan, SshHosts.of(plan, self.remote_shell), on_metrics, warn)


class SlurmLauncher(Launcher):
    """Runs plans as batch jobs of Slurm."""

    settings: dict[str, Any] = Field(default={}, description="As execution.launcher.slurm of a recipe.")

    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, warn: Say) -> None:
        """See `Launcher.run`."""
        run_detached(plan, Slurm(SlurmConfig.model_validate(self.settings)), on_metrics, warn)


class RayLauncher(Launcher):
    """Runs plans as jobs of a Ray cluster."""

    settings: dict[str, Any] = Field(default={}, description="As execution.launcher.ray of a recipe.")

    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, warn: Say) -> None:
        """See `Launcher.run`."""
        run_detached(plan, Ray(RayJobConfig.model_validate(self.settings)), on_metrics, warn)


class KubernetesLauncher(Launcher):
    """Runs plans as indexed Jobs of Kubernetes."""

    settings: dict[str, Any] = Field(description="As execution.launcher.kubernetes of a recipe.")

    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, warn: Say) -> None:
        """See `Launcher.run`."""
        run_detached(plan, Kubernetes(KubernetesConfig.model_validate(self.settings)), on_metrics, warn)


def launcher_of(config: LauncherConfig) -> Launcher:
    """Return the launcher that a recipe names."""
    match config.launched_by:
        case "slurm":
            return SlurmLauncher(settings=config.slurm.model_dump(mode="json", exclude_none=True))
        case "ray":
            return RayLauncher(settings=config.ray.model_dump(mode="json", exclude_none=True))
        case "kubernetes":
            assert config.kubernetes  # as the recipe's validation demands
            return KubernetesLauncher(settings=config.kubernetes.model_dump(mode="json", exclude_none=True))
        case "hosts":
            return TorchrunLauncher()
        case "local":
            return LocalLauncher()
