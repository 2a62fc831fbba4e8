"""Which job of a scheduler runs a plan: a file in the plan's work folder, and a lock for whoever follows the job."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Self

from hephaestus_dag.training.attempts import TrainingFailedError
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.scheduler import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A job that was submitted, or was about to be, and was not yet seen to its end."""

    scheduler: str
    identity: str
    """Hash of what was submitted: another job or placement is no reason to go on with this one."""
    name: str
    """Written before the scheduler is asked, and so known whenever the launching process is killed."""
    attempt: int
    log_start: int
    """Bytes of the log that belong to earlier attempts."""
    id: str = ""
    """What the scheduler calls it, once that is known."""

    @classmethod
    def read(cls, plan: LaunchPlan) -> Self | None:
        """Return the job that was submitted from a plan's work folder."""
        return cls(**json.loads(plan.launched.read_text())) if plan.launched.exists() else None

    def write(self, plan: LaunchPlan) -> None:
        """Take the place of what stood there."""
        staged = plan.launched.with_suffix(".new")
        with staged.open("w") as file:
            file.write(json.dumps(asdict(self)))
            file.flush()
            os.fsync(file.fileno())
        staged.replace(plan.launched)


def identity_of(plan: LaunchPlan, scheduler: Scheduler) -> str:
    """Return a hash of the jobs of a plan, of its placement and of the settings that a job of the scheduler depends on."""
    jobs = [path.read_text() for work in (plan.work, *plan.later) if (path := work / "job.json").exists()]
    placed = plan.argv, plan.num_processes, plan.num_nodes, plan.num_gpus, plan.threads
    return hashlib.sha256(repr((scheduler.name, scheduler.of_a_job, placed, jobs)).encode()).hexdigest()


@contextmanager
def alone(plan: LaunchPlan, seconds: float = 60.0) -> Iterator[None]:
    """Hold the work folder against other followers of its job.

    The programs that this process starts inherit the lock: that of one which was killed while it submitted is free once its
    submission has come to an end. Raises TrainingFailedError when it stays taken for so many ``seconds``.
    """
    limit = time.monotonic() + seconds
    with (plan.work / "launcher.lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > limit:
                    raise TrainingFailedError(f"{plan.title}: another process follows the job of {plan.work}") from error
                time.sleep(0.1)
        yield
