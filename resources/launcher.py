"""Where training jobs run: a launcher takes a plan and follows it to its end."""

from abc import ABC, abstractmethod
from pathlib import Path

import dagster as dg

from hephaestus_dag.training.launch import LaunchPlan, OnMetrics, run_local


class Launcher(dg.ConfigurableResource, ABC):
    """Runs launch plans somewhere."""

    @abstractmethod
    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, log_path: Path) -> None:
        """Run a plan to its end, calling ``on_metrics`` with every new line of its metrics.

        Whatever exception passes through, interrupts included, nothing of the job keeps running. Raises
        TrainingFailedError with the end of the log.
        """


class LocalLauncher(Launcher):
    """Runs plans as child processes on this machine."""

    def run(self, plan: LaunchPlan, on_metrics: OnMetrics, log_path: Path) -> None:
        """See `Launcher.run`."""
        run_local(plan, on_metrics, log_path)
