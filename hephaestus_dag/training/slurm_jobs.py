"""Training jobs on Slurm: one batch job, whose nodes each run a torchrun, through Slurm's own commands.

dagster-slurm packs the environment, ships it over ssh and follows a job inside one Dagster run; the nodes here see the same
folders, so sbatch, squeue, sacct and scancel are all that is needed.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hephaestus_dag.training.attempts import TrainingFailedError
from hephaestus_dag.training.cluster_config import SlurmConfig
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.scheduler import JobState, SchedulerUnreachableError, torchrun
from hephaestus_dag.training.sharing import SHARED, look, said_by

PENDING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "SUSPENDED"}
RUNNING = {"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING", "STOPPED"}
ENDS = {
    "TIMEOUT": "ran into its time limit",
    "NODE_FAIL": "lost a node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "was preempted",
    "DEADLINE": "would have missed its deadline",
    "BOOT_FAIL": "ended as a node did not boot",
}
PORTS = 1_000
"""Jobs that share a node meet at different ports: this many, from the plan's on, by the job's number."""


class SlurmError(RuntimeError):
    """A command of Slurm failed; the message is what it said."""


@dataclass(frozen=True)
class Slurm:
    """A `scheduler.Scheduler`."""

    config: SlurmConfig
    name = "Slurm"
    where = "execution.launcher.slurm.login, or this machine's slurm.conf"

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
        _log(plan).unlink(missing_ok=True)
        try:
            self._look_from_login(plan, name)
            return self._run("sbatch", "--parsable", stdin=batch_script(plan, name, self.config)).strip().split(";")[0]
        except SlurmError as error:
            raise TrainingFailedError(f"{plan.title}: Slurm refused the job: {error}") from error

    def find(self, name: str) -> str | None:
        """See `scheduler.Scheduler`."""
        try:
            found = self._run("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%i").split()
        except SlurmError as error:
            raise SchedulerUnreachableError(str(error)) from error
        return found[0] if found else self._accounted(f"--name={name}", "--starttime=now-30days", "--format=JobIDRaw")

    def state(self, job: str) -> JobState:
        """See `scheduler.Scheduler`."""
        try:
            said = self._run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T|%r").strip()
        except SlurmError as error:
            if "Invalid job id" not in str(error):
                raise SchedulerUnreachableError(str(error)) from error
            said = ""
        return _state(said or self._accounted(f"--jobs={job}", "--format=State"))

    def cancel(self, job: str) -> None:
        """See `scheduler.Scheduler`."""
        try:
            self._run("scancel", job)
        except SlurmError as error:
            if "Invalid job id" not in str(error):
                raise SchedulerUnreachableError(str(error)) from error

    def log(self, plan: LaunchPlan, job: str) -> str:
        """See `scheduler.Scheduler`. The first node opens the file before anything else, or Slurm fails the job."""
        if _log(plan).exists():
            return _log(plan).read_text(errors="replace")
        try:
            first = self._run("squeue", "--noheader", "--states=FAILED", f"--jobs={job}", "--format=%B").strip()
        except SlurmError:
            return ""
        return said_by(first, plan) if first else ""

    def _look_from_login(self, plan: LaunchPlan, name: str) -> None:
        """Raise TrainingFailedError when the login node does not see the folder: then hardly a node does."""
        if self.config.login:
            try:
                self._run("sh", "-c", look(plan, name))
            except SlurmError as error:
                raise TrainingFailedError(f"{plan.title}: {error}; {SHARED}, and the login node too") from error

    def _accounted(self, *arguments: str) -> str | None:
        """Return what the accounting knows of a job that squeue has forgotten, or None, also where none is kept."""
        try:
            return self._run("sacct", "--noheader", "--allocations", "--parsable2", *arguments).strip().split("\n")[0] or None
        except SlurmError as error:
            if any(word in str(error) for word in ("accounting storage is disabled", "not found")):
                return None
            raise SchedulerUnreachableError(str(error)) from error

    def _run(self, *command: str, stdin: str = "") -> str:
        """Run a command of Slurm, here or on the login node, and return what it prints."""
        if self.config.login:
            command = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", self.config.login, shlex.join(command))
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, close_fds=False)
        except FileNotFoundError as error:
            raise TrainingFailedError(
                f"Slurm's {command[0]} is not on this machine's PATH; run on a node that has Slurm's commands, or name one "
                "that ssh reaches as execution.launcher.slurm.login"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise SchedulerUnreachableError(f"{command[0]} gave no answer for {error.timeout:.0f} seconds") from error
        said = " ".join(done.stderr.split())
        if self.config.login and done.returncode == 255:
            raise SchedulerUnreachableError(said)
        if done.returncode:
            raise SlurmError(said or f"{command[0]} ended with exit status {done.returncode}")
        return done.stdout


def batch_script(plan: LaunchPlan, name: str, config: SlurmConfig) -> str:
    """Return the script of a plan's job: the first node is where the processes of all nodes meet."""
    each = plan.num_processes // plan.num_nodes
    cpus = each * plan.threads
    options = {
        "job-name": name,
        "comment": plan.title,
        "nodes": plan.num_nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": cpus,
        "gpus-per-node": each if plan.num_gpus else None,
        "partition": config.partition,
        "account": config.account,
        "time": config.time_limit,
        "output": str(_log(plan).absolute()).replace("%", "%%"),
        "open-mode": "append",
    }
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", "MEETING", "--rdzv-id", name)
    agent = shlex.join([plan.argv[0], *torchrun(plan, *(meeting if plan.num_nodes > 1 else ("--standalone",)))])
    port = f"$(({plan.rendezvous_port} + SLURM_JOB_ID % {PORTS}))"
    on_node = f'{look(plan, name)}; cd {shlex.quote(str(plan.work.absolute()))} && exec "$@"'
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{option}={shlex.quote(str(value))}" for option, value in options.items() if value is not None),
        *(f"#SBATCH {option}" for option in config.options),
        *(f"export {key}={shlex.quote(value)}" for key, value in plan.env.items()),
        f"exec srun --mpi=none --kill-on-bad-exit=1 --cpus-per-task={cpus} sh -c {shlex.quote(on_node)} sh "
        + agent.replace("MEETING", f'"$(hostname):{port}"', 1),
    ]
    return "\n".join(lines) + "\n"


def _log(plan: LaunchPlan) -> Path:
    return plan.work / "slurm.log"


def _state(said: str | None) -> JobState:
    """Return the state that squeue (``FAILED|NonZeroExitCode``) or sacct (``CANCELLED by 0``) names."""
    if not said:
        return JobState("gone", "is no longer known to Slurm: it was cancelled, or forgotten")
    state, reason = re.match(r"(\w+)[^|]*\|?(.*)", said.splitlines()[0]).groups()  # pyright: ignore[reportOptionalMemberAccess]
    if state in PENDING:
        return JobState("pending", reason)
    if state in RUNNING:
        return JobState("running")
    if state == "COMPLETED":
        return JobState("succeeded")
    if state in ("CANCELLED", "REVOKED"):
        return JobState("cancelled", "was cancelled")
    return JobState("failed", ENDS.get(state, f"ended as {state}" + (f" ({reason})" if reason else "")))
