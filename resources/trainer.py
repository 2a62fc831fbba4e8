"""The DeepSpeed trainer as a Dagster resource: a training job in, its summary out, its progress in the run's log."""

import json
import time
from collections.abc import Callable
from typing import Any

import dagster as dg
from pydantic import Field

from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import OnMetrics, plan_launch
from resources.launcher import Launcher

SECONDS_BETWEEN_LOG_LINES = 10.0


class DeepSpeedTrainer(dg.ConfigurableResource):
    """Trains models with DeepSpeed, in processes that a launcher starts."""

    launcher: dg.ResourceDependency[Launcher]
    num_processes: int = Field(default=1, ge=1, description="Processes that share a job by data parallelism.")
    num_gpus: int = Field(default=0, ge=0, description="GPUs of a job: 0 trains on the CPU, otherwise one for each process.")
    threads: int = Field(default=0, ge=0, description="CPU threads of each process; 0: the cores divided among the processes.")

    def train(
        self, job: TrainingJob, log: Callable[[str], None], on_metrics: OnMetrics | None = None, threads: int | None = None
    ) -> dict[str, Any]:
        """Run a job to its end and return its summary.json joined with its timing; `threads` overrides the resource's.

        Every ten seconds a line goes to ``log``; ``on_metrics`` gets every line of the metrics. Raises
        TrainingFailedError when the job fails, ValueError when it cannot be placed.
        """
        placement = LauncherConfig(
            num_processes=self.num_processes, num_gpus=self.num_gpus, threads=self.threads if threads is None else threads
        )
        progress = ProgressLog(job, log)

        def note(metrics: dict[str, Any]) -> None:
            progress.note(metrics)
            if on_metrics:
                on_metrics(metrics)

        self.launcher.run(plan_launch(job, placement), note, job.work / "worker.log")
        return {**json.loads((job.output / "summary.json").read_text()), **json.loads(job.timing.read_text())}


class ProgressLog:
    """Turns metrics into a log line now and then."""

    def __init__(self, job: TrainingJob, log: Callable[[str], None]) -> None:
        self.title, self.log = job.title, log
        head = json.loads((job.mixture / "mixture.json").read_text())
        self.num_steps = head["num_sequences"] // job.config.global_batch_sequences
        self._last = time.monotonic()

    def note(self, metrics: dict[str, Any]) -> None:
        """Take one line of the metrics."""
        now = time.monotonic()
        if "heldout" in metrics:
            scores = ", ".join(f"{domain} {score['loss']:.3f}" for domain, score in metrics["heldout"].items())
            self.log(f"{self.title}: step {metrics['step']:,}, held-out loss: {scores}")
        elif now - self._last >= SECONDS_BETWEEN_LOG_LINES:
            self._last = now
            speed = metrics["tokens_per_second"]
            left = (self.num_steps - metrics["step"]) * metrics["tokens"] / metrics["step"] / speed
            self.log(
                f"{self.title}: step {metrics['step']:,} of {self.num_steps:,}, loss {metrics['loss']:.3f}, "
                f"lr {metrics['lr']:.2g}, {speed:,.0f} tokens/s, {_duration(left)} left"
            )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
