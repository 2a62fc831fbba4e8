"""The DeepSpeed trainer as a Dagster resource: a training job in, its summary out, its progress in the run's log."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from hephaestus_dag.training.attempts import OnMetrics
from hephaestus_dag.training.config import Placement
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch_plan import plan_launch
from hephaestus_dag.training.progress import ProgressLog
from resources.launcher import Launcher


class DeepSpeedTrainer(dg.ConfigurableResource):
    """Trains models with DeepSpeed, in processes that a launcher starts."""

    launcher: dg.ResourceDependency[Launcher]
    num_processes: int = Field(default=1, ge=1, description="Processes that share a job by data parallelism, on all machines.")
    num_gpus: int = Field(default=0, ge=0, description="GPUs of a job: 0 trains on the CPU, otherwise one for each process.")
    threads: int = Field(default=0, ge=0, description="CPU threads of each process; 0: the cores divided among the processes.")
    nodes: int = Field(default=1, ge=1, description="Machines that share a job, where hosts are not named.")
    hosts: list[str] = Field(default=[], description="Machines that share a job and that ssh reaches; empty: none is named.")
    rendezvous_port: int = Field(default=29_400, description="Port of the first machine where the processes meet.")
    restarts: int = Field(default=1, ge=0, description="Times that a job is started again after a process died.")

    def train(
        self,
        job: TrainingJob,
        log: Callable[[str], None],
        on_metrics: OnMetrics | None = None,
        threads: int | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Run a job to its end and return its summary.json joined with its timing; `threads` overrides the resource's.

        Every ten seconds a line goes to ``log``; skipped steps, rewinds, failed checkpoints and restarts go to ``warn``
        (``log`` without it) at once; ``on_metrics`` gets every line of the metrics. Raises TrainingFailedError when the job
        fails, TrainingDivergedError of these when training diverged, ValueError when it cannot be placed.
        """

        def note(job: TrainingJob, metrics: dict[str, Any]) -> None:
            if on_metrics:
                on_metrics(metrics)

        self.train_in_turn([job], log, note, threads, warn)
        return {**json.loads((job.output / "summary.json").read_text()), **json.loads(job.timing.read_text())}

    def train_in_turn(
        self,
        jobs: Sequence[TrainingJob],
        log: Callable[[str], None],
        on_metrics: Callable[[TrainingJob, dict[str, Any]], None],
        threads: int | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """Run jobs of one global batch one after the other, in the processes of one launch; see `train`."""
        placement = Placement(
            num_processes=self.num_processes,
            num_gpus=self.num_gpus,
            threads=self.threads if threads is None else threads,
            nodes=self.nodes,
            hosts=tuple(self.hosts),
            rendezvous_port=self.rendezvous_port,
            restarts=self.restarts,
        )
        logs = [ProgressLog(job, log, warn or log) for job in jobs]

        def note(metrics: dict[str, Any]) -> None:
            number = metrics.get("job", 0)
            logs[number].note(metrics)
            on_metrics(jobs[number], metrics)

        self.launcher.run(plan_launch(jobs[0], placement, *jobs[1:]), note, warn or log)
