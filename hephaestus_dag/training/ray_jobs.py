"""Training jobs on Ray: a Ray job, whose program (`ray_nodes`) runs a torchrun on each of several nodes.

The ray package is imported when the cluster is first asked; it is the extra ``ray``.
"""

import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hephaestus_dag.training.attempts import TrainingFailedError
from hephaestus_dag.training.cluster_config import RayJobConfig
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.scheduler import JobState, SchedulerUnreachableError, torchrun
from hephaestus_dag.training.sharing import look

MISSING = "Ray is not installed: pip install 'hephaestus-dag[ray]'"


@dataclass(frozen=True)
class Ray:
    """A `scheduler.Scheduler`; a job's id is its name."""

    config: RayJobConfig
    name = "Ray"
    where = "execution.launcher.ray.address and RAY_ADDRESS"

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
        for old in plan.work.glob("node-*.log"):
            old.unlink()
        each, task = plan.num_processes // plan.num_nodes, plan.work / "ray.json"
        bundle = {"CPU": each * plan.threads, **({"GPU": each} if plan.num_gpus else {}), **self.config.resources}
        given = {
            "nodes": plan.num_nodes,
            "bundle": bundle,
            "look": look(plan, name),
            "work": str(plan.work.absolute()),
            "env": dict(plan.env),
            "command": [plan.argv[0], *torchrun(plan, *(_MEETING if plan.num_nodes > 1 else ("--standalone",)))],
        }
        task.write_text(json.dumps(given))
        program = shlex.join([plan.argv[0], "-m", "hephaestus_dag.training.ray_nodes", str(task.absolute())])
        environment = {name: plan.env[name] for name in ("PYTHONPATH",) if name in plan.env}
        try:
            return self._client.submit_job(
                entrypoint=f"{look(plan, name)}; exec {program}",
                submission_id=name,
                runtime_env={"env_vars": environment},
                metadata={"title": plan.title},
            )
        except (RuntimeError, ValueError) as error:
            raise TrainingFailedError(f"{plan.title}: Ray refused the job: {_first_line(error)}") from error
        except OSError as error:
            raise SchedulerUnreachableError(_first_line(error)) from error

    def find(self, name: str) -> str | None:
        """See `scheduler.Scheduler`."""
        return name if self._info(name) else None

    def state(self, job: str) -> JobState:
        """See `scheduler.Scheduler`."""
        found = self._info(job)
        if not found:
            return JobState("gone", "is no longer known to Ray: it was deleted, or the cluster is a new one")
        match found.status.value:
            case "PENDING":
                return JobState("pending", found.message or "")
            case "RUNNING":
                return JobState("running")
            case "SUCCEEDED":
                return JobState("succeeded")
            case "STOPPED":
                return JobState("cancelled", "was stopped")
            case _:
                return JobState("failed", f"failed ({' '.join((found.message or 'no reason given').split())[:300]})")

    def cancel(self, job: str) -> None:
        """See `scheduler.Scheduler`."""
        if self._info(job):
            self._ask("stop_job", job)

    def log(self, plan: LaunchPlan, job: str) -> str:
        """See `scheduler.Scheduler`."""
        nodes = [path.read_text(errors="replace") for path in sorted(plan.work.glob("node-*.log"))]
        return "".join([*nodes, self._ask("get_job_logs", job)])

    def _info(self, job: str) -> Any:
        return self._ask("get_job_info", job)

    def _ask(self, call: str, job: str) -> Any:
        """Ask the cluster; None when it does not know the job."""
        try:
            return getattr(self._client, call)(job)
        except RuntimeError as error:
            if "404" in str(error):
                return None
            raise SchedulerUnreachableError(_first_line(error)) from error
        except OSError as error:
            raise SchedulerUnreachableError(_first_line(error)) from error

    @cached_property
    def _client(self) -> Any:
        try:
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise TrainingFailedError(MISSING) from error
        return JobSubmissionClient(self.config.address)


_MEETING = ("--node-rank", "NODE", "--master-addr", "ADDRESS", "--master-port", "PORT")
"""What `ray_nodes` fills in, once it knows the nodes."""


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
