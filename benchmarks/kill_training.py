"""Disturb a training job in every way at hand, and compare what it made with an undisturbed run.

    .venv/bin/python benchmarks/kill_training.py                         # all cases, about 15 minutes on one core
    .venv/bin/python benchmarks/kill_training.py kills --kills 200
    .venv/bin/python benchmarks/kill_training.py damage disk ranks worlds

kills    SIGKILL at random instants: while it starts, between steps, and inside a save (once a staging folder is there). After
         each, the newest whole checkpoint must be at most one save interval behind, and the job must go on from it.
damage   each file of the newest checkpoint with one bit flipped, or cut in half: the one before must be taken, and the log
         must say so.
disk     a limit on the size of files stands for a full disk: first where only a checkpoint does not fit, then where nothing
         can be written any more.
ranks    one of two processes gets SIGKILL, twice: seconds until the launcher tells, a restart, then a clear failure.
worlds   the job goes on with 1, 2, and 1 processes: hashes of the tokens that the model is given, by step.

Every disturbed job is run to its end and must have the reference's weights, bit for bit (in `worlds`: its tokens). The table
says what was found; the exit status is 1 when anything differs. Linux only: it finds processes in /proc and sets limits.
"""

import argparse
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny_job import BATCH, TinyJobs, digest, newest_step, pause, process_of, steps_of, until, weights

from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.training.attempts import TrainingFailedError, TrainingStoppedError
from hephaestus_dag.training.checkpoint import Checkpoints
from hephaestus_dag.training.config import LauncherConfig
from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import plan_launch
from hephaestus_dag.training.metrics import read_metrics

STEPS, EVERY = 60, 6
NO_RESTARTS = LauncherConfig(threads=1, restarts=0)  # pyright: ignore[reportCallIssue]
PAIR = LauncherConfig(num_processes=2, threads=1, restarts=1)  # pyright: ignore[reportCallIssue]
MANNERS = ("starting", "between steps", "saving")


class Bench:
    """The jobs, the undisturbed run, and the table."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.jobs = TinyJobs(folder, STEPS, EVERY)
        self.random = random.Random(seed)
        self.wrong = 0
        reference = self.jobs.job("undisturbed")
        began, first = time.monotonic(), []
        run_local(plan_launch(reference, NO_RESTARTS), lambda _: first.append(time.monotonic()))
        self.startup = first[0] - began
        self.interval = (first[-1] - first[0]) / STEPS * EVERY
        self.reference = weights(reference)
        self.row("undisturbed", f"{STEPS} steps, a checkpoint each {EVERY}; first metrics after {self.startup:.1f} s", True)

    def row(self, case: str, found: str, right: bool) -> None:
        """Print a line of the table."""
        self.wrong += not right
        print(f"{'ok   ' if right else 'WRONG'}  {case:<38} {found}", flush=True)

    def finish(self, case: str, job: TrainingJob, found: str, right: bool = True) -> None:
        """Run a job to its end, and compare it with the undisturbed run."""
        run_local(plan_launch(job, NO_RESTARTS), lambda _: None)
        same = weights(job) == self.reference and steps_of(job) == list(range(1, STEPS + 1))
        self.row(case, f"{found}; final weights {'bit-identical' if same else 'DIFFER'}", right and same)

    def start(self, job: TrainingJob) -> subprocess.Popen[bytes]:
        """Start a job's one process."""
        plan = plan_launch(job, NO_RESTARTS)
        with (job.work / "worker.log").open("ab") as log:
            return subprocess.Popen(plan.argv, env={**os.environ, **plan.env}, cwd=plan.work, stdout=log, stderr=log)

    def interrupted(self, name: str, step: int) -> TrainingJob:
        """Return a job that was killed once it had come past a step."""
        job = self.jobs.job(name)
        with self.start(job) as process:
            until(process, lambda: max([0, *steps_of(job)]) >= step)
            process.kill()
        return job


def kills(bench: Bench, count: int) -> None:
    """Kill a job again and again; when it comes to its end meanwhile, take a new one."""
    lost: dict[str, list[int]] = {manner: [] for manner in MANNERS}
    inside = resumed_wrongly = jobs = done = 0
    job = bench.jobs.job(f"killed {jobs}")
    while done < count:
        manner = MANNERS[done % len(MANNERS)]
        before = newest_step(job)
        with bench.start(job) as process:
            first = wait_for(bench, job, process, manner, before)
            process.kill()
        if process.returncode != -signal.SIGKILL:
            bench.finish(f"killed job {jobs}", job, f"ended with {process.returncode}", process.returncode == 0)
            jobs += 1
            job = bench.jobs.job(f"killed {jobs}")
            continue
        done += 1
        resumed_wrongly += first not in (None, before + 1)
        inside += any(job.work.glob("checkpoints/.staging-*"))
        lost[manner].append(max([0, *steps_of(job)]) - newest_step(job))
    bench.finish(f"killed job {jobs}", job, "run to its end")
    for manner, steps in lost.items():
        if steps:
            right = max(steps) <= EVERY
            bench.row(f"killed while {manner}", f"{len(steps)} times; steps lost: {max(steps)} at most of {EVERY}", right)
    bench.row(
        "kills", f"{done}, {inside} of them left a half-written checkpoint; {resumed_wrongly} wrong starts", not resumed_wrongly
    )


def wait_for(bench: Bench, job: TrainingJob, process: subprocess.Popen[bytes], manner: str, before: int) -> int | None:
    """Wait for the instant of a kill, or for the end; return the first step that the process made, if it came that far."""
    choose = bench.random
    if manner == "starting":
        pause(process, choose.uniform(0, bench.startup))
        return None
    follower, steps = MetricsFollower(job.metrics), []

    def first_step() -> bool:
        steps.extend(line["step"] for line in follower.new_lines() if "loss" in line and line["step"] > before)
        return bool(steps)

    until(process, first_step)
    if manner == "saving":
        step = steps[0] - 1 + EVERY * choose.randint(1, 3) if steps else 0
        until(process, lambda: (job.work / "checkpoints" / f".staging-{step:08d}").exists())
        pause(process, choose.uniform(0, 0.02))
    else:
        pause(process, choose.uniform(0, 3 * bench.interval))
    return steps[0] if steps else None


def damage(bench: Bench) -> None:
    """Damage each file of the newest checkpoint in turn."""
    job = bench.interrupted("damaged", 3 * EVERY)
    shelf = Checkpoints(job.work / "checkpoints")
    newest, step = checkpoint_folder(shelf), newest_step(job)
    files = sorted(path for path in newest.rglob("*") if path.is_file())
    for path in files:
        content = path.read_bytes()
        position, bit = bench.random.randrange(len(content)), 1 << bench.random.randrange(8)
        flipped = content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :]
        for manner, damaged in (("one bit flipped", flipped), ("cut in half", content[: len(content) // 2])):
            path.write_bytes(damaged)
            with logged() as lines:
                found = newest_step(job)
            told = any(newest.name in line and "going back" in line for line in lines)
            bench.row(
                f"{path.relative_to(newest)} {manner}", f"step {found} in place of {step}", found == step - EVERY and told
            )
        path.write_bytes(content)
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    bench.finish("the job with a damaged checkpoint", job, f"{largest.name} one byte short")
    bench.row("the log says so", job_log(job).splitlines()[0], "going back to the checkpoint before it" in job_log(job))


def disk(bench: Bench) -> None:
    """Let writes fail from a point in the middle of a run, and then again let them pass."""
    job = bench.jobs.job("disk full for checkpoints")
    with bench.start(job) as process:
        until(process, lambda: newest_step(job) >= EVERY)
        limits = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, limits[1]))
        until(process, lambda: any("checkpoint_failed" in line for line in read_metrics(job.metrics)))
        kept, still_running = newest_step(job), process.poll() is None
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)
    failed = [line["step"] for line in read_metrics(job.metrics) if "checkpoint_failed" in line]
    found = f"step {kept} kept, training went on; checkpoints that failed: {failed}"
    bench.finish(job.title, job, found, still_running and bool(kept) and process.returncode == 0)

    job = bench.jobs.job("disk full for everything")
    with bench.start(job) as process:
        until(process, lambda: newest_step(job) >= EVERY)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    kept = newest_step(job)
    bench.finish(
        job.title, job, f"stopped with exit status {process.returncode}, step {kept} kept", process.returncode == 1 and kept > 0
    )


def ranks(bench: Bench) -> None:
    """Kill one of two processes, and once more after the restart."""
    calm = bench.jobs.job("two undisturbed processes")
    run_local(plan_launch(calm, PAIR), lambda _: None)
    job = bench.jobs.job("one of two processes killed")
    killed: list[float] = []
    noticed: list[float] = []
    resumed: list[int] = []

    def kill_rank_1(metrics: dict[str, Any]) -> None:
        if "loss" in metrics and len(killed) == len(noticed):
            if len(resumed) == len(killed):
                resumed.append(metrics["step"])
            if metrics["step"] > resumed[-1] + EVERY:
                os.kill(process_of(job, rank="1"), signal.SIGKILL)
                killed.append(time.monotonic())

    message = "nothing"
    try:
        run_local(plan_launch(job, PAIR), kill_rank_1, lambda _: noticed.append(time.monotonic()))
    except TrainingFailedError as error:
        message = str(error).partition(";")[0]
        noticed.append(time.monotonic())
    seconds = [after - before for before, after in zip(killed, noticed, strict=False)]
    bench.row("death of rank 1 noticed", " s, ".join(f"{each:.1f}" for each in seconds) + " s", max(seconds, default=99) <= 30)
    bench.row(
        "restarted once", f"from step {resumed[1] - 1 if len(resumed) > 1 else None}", len(resumed) == 2 and resumed[1] > EVERY
    )
    bench.row("then told", message, "after 1 restart: rank 1 died of SIGKILL" in message)
    run_local(plan_launch(job, PAIR), lambda _: None)
    same = weights(job) == weights(calm)
    bench.row(job.title, f"final weights {'bit-identical' if same else 'DIFFER'}", same)


def worlds(bench: Bench) -> None:
    """Go on with other numbers of processes, and compare the tokens of each step with the mixture's."""
    job = bench.jobs.job("1, 2 and 1 processes")
    loader = MixtureLoader(job.mixture, job.stores)
    expected = {step: [digest(row) for row in loader.batch(step * BATCH - BATCH, BATCH).tokens] for step in range(1, STEPS + 1)}
    found: dict[int, list[str]] = {}
    parts = []
    for attempt, (size, end) in enumerate([(1, STEPS // 3), (2, 2 * STEPS // 3), (1, STEPS)]):
        before, shown = newest_step(job), job.work / f"shown-{attempt}"
        plan = plan_launch(job, LauncherConfig(num_processes=size, threads=1, restarts=0))  # pyright: ignore[reportCallIssue]
        shown.mkdir()
        plan = replace(plan, argv=(plan.argv[0], __file__, "--worker", plan.argv[-1]), env={**plan.env, "SHOWN": str(shown)})
        with suppress(TrainingStoppedError):
            run_local(plan, lambda _: None, stop=lambda end=end: end < STEPS and max([0, *steps_of(job)]) >= end)
        per_rank = [(shown / f"rank-{rank}").read_text().split() for rank in range(size)]
        made = min(map(len, per_rank)) // (BATCH // size)
        for step in range(made):
            rows = slice(step * BATCH // size, (step + 1) * BATCH // size)
            found[before + step + 1] = [row for rank in per_rank for row in rank[rows]]
        parts.append(f"{size}: {before + 1} to {before + made}")
    same = found == expected
    bench.row(job.title, f"steps with {'; '.join(parts)}; tokens of all steps {'the same' if same else 'DIFFER'}", same)


def worker(job: str) -> int:
    """Train as the worker does, and write down a hash of each sequence that the model is shown to learn from."""
    import torch

    from hephaestus_dag.training import worker
    from hephaestus_dag.training.loss import WeightedLoss

    forward = WeightedLoss.forward
    with Path(os.environ["SHOWN"], f"rank-{os.environ.get('RANK', '0')}").open("w", buffering=1) as file:

        def noting(self: Any, tokens: torch.Tensor, *rest: Any) -> Any:
            if torch.is_grad_enabled():
                file.writelines(f"{digest(row)}\n" for row in tokens.numpy())
            return forward(self, tokens, *rest)

        WeightedLoss.forward = noting  # pyright: ignore[reportAttributeAccessIssue]
        return worker.main([job])


def checkpoint_folder(shelf: Checkpoints) -> Path:
    found = shelf.newest()
    assert found
    return found.folder


def job_log(job: TrainingJob) -> str:
    return (job.work / "worker.log").read_text()


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect what the library warns about."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    log = logging.getLogger("hephaestus_dag")
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cases: dict[str, Callable[[Bench], None]] = {
        "kills": lambda bench: kills(bench, options.kills),
        "damage": damage,
        "disk": disk,
        "ranks": ranks,
        "worlds": worlds,
    }
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(cases)}; all when none is named")
    parser.add_argument("--kills", type=int, default=50, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the instants")
    parser.add_argument("--worker", metavar="JOB", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker)
    if unknown := set(options.cases) - cases.keys():
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    scratch = Path(tempfile.mkdtemp(prefix="kill-training-"))
    try:
        bench = Bench(scratch, options.seed)
        for name in options.cases or cases:
            cases[name](bench)
    finally:
        shutil.rmtree(scratch)
    print("everything as it should be" if not bench.wrong else f"{bench.wrong} lines are WRONG")
    return 1 if bench.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
