"""Where training jobs run: a launcher takes a plan and follows it to its end."""

from abc import ABC, abstractmethod

import dagster as dg
from pydantic import Field

from hephaestus_dag.training.hosts import REMOTE_SHELL, run_on_hosts
from hephaestus_dag.training.launch import LaunchPlan, OnMetrics, Say, run_local


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
        run_on_hosts(plan, on_metrics, warn, remote_shell=self.remote_shell)
