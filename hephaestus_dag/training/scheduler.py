"""What a scheduler is to a training job: somewhere that it is given to, asked after and cancelled.

The packages dagster-slurm, dagster-ray and dagster-k8s keep a job's id in one Dagster run and wait inside it. Here the id
belongs to the artifact's work folder, whichever run or command comes next, so the schedulers' own clients are used.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hephaestus_dag.training.launch_plan import LaunchPlan


@dataclass(frozen=True, slots=True)
class JobState:
    """What a scheduler says of a job."""

    phase: Literal["pending", "running", "succeeded", "failed", "cancelled", "gone"]
    words: str = ""
    """Why it waits, or how it ended: ``ran into its time limit``."""
    lost: str = ""
    """Which machine was lost, and how that shows, where it is known; the processes on the others die of what follows."""

    @property
    def over(self) -> bool:
        """Whether nothing of it runs or will run."""
        return self.phase not in ("pending", "running")


class SchedulerUnreachableError(OSError):
    """A scheduler gave no answer; the message says what its client said."""


class Scheduler(Protocol):
    """Somewhere that jobs are given to. Its methods raise SchedulerUnreachableError when it gives no answer."""

    @property
    def name(self) -> str:
        """Its name, for messages."""
        ...

    @property
    def poll_seconds(self) -> float:
        """Seconds between two questions about a job."""
        ...

    @property
    def where(self) -> str:
        """Which settings say where it is, for messages."""
        ...

    @property
    def of_a_job(self) -> Any:
        """What of its settings a job depends on: with others, a job that runs is another one."""
        ...

    def submit(self, plan: LaunchPlan, name: str) -> str:
        """Hand a plan over as a job of a name of its own; return the job's id. Raises TrainingFailedError when refused."""
        ...

    def find(self, name: str) -> str | None:
        """Return the id of the job of a name, also when it has ended, or None when there is none."""
        ...

    def state(self, job: str) -> JobState:
        """Say how a job is."""
        ...

    def cancel(self, job: str) -> None:
        """Begin to end a job, unless it is over; `state` says when it is."""
        ...

    def log(self, plan: LaunchPlan, job: str) -> str:
        """Return what the job's processes have printed so far."""
        ...


def torchrun(plan: LaunchPlan, *rendezvous: str) -> tuple[str, ...]:
    """Return what Python runs on each node: an agent that ends all of the node's processes when one of them ends badly."""
    return (
        "-m", "torch.distributed.run", "--nnodes", str(plan.num_nodes), *rendezvous,
        "--nproc-per-node", str(plan.num_processes // plan.num_nodes), "--max-restarts", "0", "--no-python", *plan.argv,
    )  # fmt: skip
