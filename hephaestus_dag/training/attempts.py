"""What every launcher does alike: hand on the metrics of a job, start it again when it died, and say why it failed."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hephaestus_dag.training import failures
from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.launch_plan import LaunchPlan

OnMetrics = Callable[[dict[str, Any]], None]
Say = Callable[[str], None]

LAST_LINES = 15
"""Of what a job printed, in the message about its failure."""


class TrainingFailedError(RuntimeError):
    """A training job failed; the message says which process did, and of what."""


class TrainingDivergedError(TrainingFailedError):
    """Training diverged, and no checkpoint helped; the message says at which step, and how."""


class TrainingStoppedError(RuntimeError):
    """A training job was stopped on request."""


def given_elsewhere(plan: LaunchPlan) -> str:
    """Say which job of a scheduler may still work in the plan's folder, and what to do about it."""
    job = json.loads(plan.launched.read_text())
    return (
        f"{plan.launched}: job {job['id'] or job['name']} was given to {job['scheduler']} and may still run there; "
        "take that launcher again, or cancel the job and delete this file"
    )


def looking(
    plan: LaunchPlan, followers: Sequence[MetricsFollower], on_metrics: OnMetrics, stop: Callable[[], bool]
) -> Callable[[], None]:
    """Return what hands new lines of the metrics on, and raises TrainingStoppedError once ``stop`` says so."""

    def look() -> None:
        for number, follower in enumerate(followers):
            for metrics in follower.new_lines():
                on_metrics({"job": number, **metrics} if plan.later else metrics)
        if stop():
            raise TrainingStoppedError(f"{plan.title} was stopped; started again, it resumes from its last checkpoint")

    return look


def run_attempts(plan: LaunchPlan, run: Callable[[int], tuple[str, str] | None], warn: Say, attempt: int = 0) -> None:
    """Run attempts, counted on from ``attempt``, until one does not return (how it died, what it had printed).

    Raises TrainingFailedError when one dies and no restart is left.
    """
    while ended := run(attempt):
        death, log = ended
        if attempt >= plan.restarts:
            after = f" after {attempt} restart{'s' * (attempt > 1)}" if attempt else ""
            end = "\n".join(log.splitlines()[-LAST_LINES:]) or "(nothing)"
            raise TrainingFailedError(f"{plan.title} failed{after}: {death}; {plan.log} ends with:\n{end}")
        attempt += 1
        warn(f"{plan.title}: {death}; restart {attempt} of {plan.restarts} from the last checkpoint")


def raise_if_lasting(plan: LaunchPlan, left: Sequence[failures.Failure]) -> None:
    """Raise TrainingFailedError when one of the failures is such that another attempt would meet it again."""
    if left and left[0].lasting:
        error = TrainingDivergedError if left[0].diverged else TrainingFailedError
        raise error(f"{plan.title} failed: {left[0].reason}")
