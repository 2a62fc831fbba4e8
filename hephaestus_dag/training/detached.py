"""Running a plan as a job of a scheduler, which outlives this process and is found again by the next one."""

import logging
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from hephaestus_dag.training import failures
from hephaestus_dag.training.attempts import (
    OnMetrics,
    Say,
    TrainingFailedError,
    given_elsewhere,
    looking,
    raise_if_lasting,
    run_attempts,
)
from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.launched import Launched, alone, identity_of
from hephaestus_dag.training.processes import rank_death
from hephaestus_dag.training.pulse import Pulses
from hephaestus_dag.training.scheduler import JobState, Scheduler, SchedulerUnreachableError
from hephaestus_dag.training.sharing import SHARED, blindness

logger = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 600.0
"""Seconds that a scheduler may give no answer before its job is left to itself."""
WAITING = 60.0
"""Seconds after which a job that has not begun is spoken of."""
COLLECTING = 30.0
"""Seconds between two readings of what a running job has printed: each reads all of it."""


class SchedulerLostError(TrainingFailedError):
    """The scheduler gives no answer; the job may go on, and the next run asks for it."""


def run_detached(
    plan: LaunchPlan,
    scheduler: Scheduler,
    on_metrics: OnMetrics,
    warn: Say = logger.warning,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run a plan as a job of a scheduler to its end, calling ``on_metrics`` with each line of rank 0's metrics.

    A job of the same plan that was submitted before and not followed to its end is followed instead, and its metrics are
    replayed. A job that dies is submitted again, up to ``plan.restarts`` times, each announced through ``warn``. Whatever
    exception passes through here, the job is cancelled, and over before it goes on; when this process is killed, the job stays.

    Raises TrainingFailedError for a failure that another attempt would meet again, for a job that others cancelled, or when
    no restart is left, SchedulerLostError of these when the scheduler gives no answer and the job is left to itself;
    TrainingStoppedError after ``stop``.
    """
    plan.work.mkdir(parents=True, exist_ok=True)
    with alone(plan):
        run = _Run(plan, scheduler, warn)
        found = run.find_again()
        if not found:
            plan.log.write_bytes(b"")
        run.look = looking(plan, [MetricsFollower(path, replay=bool(found)) for path in plan.metrics], on_metrics, stop)
        known = [found] if found else []
        run_attempts(
            plan,
            lambda attempt: run.to_its_end(known.pop() if known else run.submit(attempt)),
            warn,
            found.attempt if found else 0,
        )


@dataclass
class _Run:
    plan: LaunchPlan
    scheduler: Scheduler
    warn: Say
    look: Callable[[], None] = lambda: None
    """Called all the time that a job is waited for."""

    def find_again(self) -> Launched | None:
        """Return the job that was submitted before, if it can be followed; cancel one of another plan."""
        job = Launched.read(self.plan)
        if not job:
            return None
        if job.scheduler != self.scheduler.name:
            raise TrainingFailedError(f"{self.plan.title}: {given_elsewhere(self.plan)}")
        name = job.name
        job = replace(job, id=job.id or self._answer(lambda: self.scheduler.find(name)) or "")
        if not job.id:
            return None  # The launching process was killed before the scheduler heard of it.
        state = self._state(job)
        named = f"{self._named(job)}, submitted earlier,"
        if job.identity != identity_of(self.plan, self.scheduler):
            if not state.over:
                self.warn(f"{named} is of another recipe or placement, and is cancelled")
                self._cancel(job)
            return None
        if state.phase in ("cancelled", "gone"):
            self.warn(f"{named} {state.words}; a new one resumes from its last checkpoint")
            return None
        self.warn(f"{named} is followed again")
        job.write(self.plan)
        return job

    def submit(self, attempt: int) -> Launched:
        """Give the scheduler a job, and leave none behind that is not written down."""
        name = f"hephaestus-{uuid.uuid4().hex[:12]}"
        if not attempt:
            self._greet(name)
        for folder in (self.plan.failures, self.plan.pulses):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        job = Launched(
            scheduler=self.scheduler.name,
            identity=identity_of(self.plan, self.scheduler),
            name=name,
            attempt=attempt,
            log_start=self.plan.log.stat().st_size,
        )
        job.write(self.plan)
        try:
            job = replace(job, id=self.scheduler.submit(self.plan, job.name))
        except SchedulerUnreachableError as error:
            raise self._lost(error) from error
        except TrainingFailedError:
            self.plan.launched.unlink()
            raise
        except BaseException:  # The scheduler may have it all the same.
            if found := self._answer(lambda: self.scheduler.find(job.name)):
                self._cancel(replace(job, id=found))
            self.plan.launched.unlink()
            raise
        job.write(self.plan)
        return job

    def _greet(self, name: str) -> None:
        """Ask for a job that cannot be there yet: what has never answered is a wrong setting, and nobody's job may run."""
        try:
            self.scheduler.find(name)
        except SchedulerUnreachableError as error:
            raise TrainingFailedError(
                f"{self.plan.title}: {self.scheduler.name} gives no answer ({error}), and nothing was submitted; "
                f"check {self.scheduler.where}"
            ) from error

    def to_its_end(self, job: Launched) -> tuple[str, str] | None:
        """Follow a job; return how it died and what its processes had printed, or None when it succeeded."""
        try:
            state = self._until_over(job)
        except SchedulerLostError:
            raise
        except BaseException:
            self.look = lambda: None
            self._cancel(job)
            self._collect_log(job)
            self.plan.launched.unlink()
            raise
        log = self._collect_log(job)
        left = failures.failures_in(self.plan.failures)
        self.plan.launched.unlink()
        unseen = [path for path in self.plan.metrics if not path.exists()]
        if state.phase == "succeeded":
            if unseen:
                raise TrainingFailedError(f"{self._named(job)} ended well, but {unseen[0]} is not here; {SHARED}")
            return None
        if blind := blindness(self.plan, log):
            raise TrainingFailedError(f"{self._named(job)}: {blind}; {SHARED}")
        raise_if_lasting(self.plan, left)
        if state.phase != "failed":
            raise TrainingFailedError(f"{self._named(job)} {state.words}, not by this run; started again, it resumes")
        cause = state.lost or rank_death(log) or (f"rank {left[0].rank} died of {left[0].reason}" if left else "")
        silent = f"and left no word here; {SHARED}" if unseen and not log.strip() else ""
        end = f"job {job.id} of {self.scheduler.name} {state.words}"
        last = "" if cause or not log.strip() else "having said: " + " | ".join(log.strip().splitlines()[-3:])
        return ", ".join(filter(None, (cause, end, silent, last))), log

    def _until_over(self, job: Launched) -> JobState:
        began, said, collect_at, pulses = time.monotonic(), False, 0.0, Pulses(self.plan.pulses, self.plan.metrics)
        while not (state := self._state(job)).over:
            if state.phase == "running":
                if time.monotonic() > collect_at:
                    self._collect_log(job)
                    collect_at = time.monotonic() + COLLECTING
                for remark in pulses.remarks():
                    self.warn(f"{self.plan.title}: {remark}")
            elif not said and time.monotonic() > began + WAITING:
                self.warn(f"{self._named(job)} still waits: {state.words or 'the scheduler does not say for what'}")
                said = True
            self._pause()
        self.look()
        return state

    def _cancel(self, job: Launched) -> None:
        """Cancel a job and wait until it is over."""
        self._answer(lambda: self.scheduler.cancel(job.id))
        while not self._state(job).over:
            self._pause()

    def _state(self, job: Launched) -> JobState:
        return self._answer(lambda: self.scheduler.state(job.id))

    def _answer(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer. Raises SchedulerLostError when patience ends."""
        began, said = time.monotonic(), False
        while True:
            try:
                return ask()
            except SchedulerUnreachableError as error:
                if time.monotonic() > began + PATIENCE:
                    raise self._lost(error) from error
                if not said:
                    self.warn(f"{self.plan.title}: {self.scheduler.name} gives no answer ({error}) and is asked again")
                    said = True
            self._pause()

    def _pause(self) -> None:
        """Wait for the time of the next question."""
        until = time.monotonic() + self.scheduler.poll_seconds
        while (left := until - time.monotonic()) > 0:
            self.look()
            time.sleep(min(0.1, left))

    def _collect_log(self, job: Launched) -> str:
        """Put what the job has printed behind what earlier attempts had, and return it."""
        text = ""
        with suppress(SchedulerUnreachableError):
            text = self.scheduler.log(self.plan, job.id)
        self.plan.log.touch()
        with self.plan.log.open("r+b") as file:
            file.truncate(job.log_start)
            file.seek(job.log_start)
            file.write(text.encode())
        return text

    def _lost(self, error: SchedulerUnreachableError) -> SchedulerLostError:
        said = f"{self.plan.title}: {self.scheduler.name} gives no answer ({error})"
        return SchedulerLostError(f"{said}; what it was given may run: start this again to follow it")

    def _named(self, job: Launched) -> str:
        return f"{self.plan.title}: job {job.id} of {self.scheduler.name}"
