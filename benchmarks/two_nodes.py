"""Train on two machines, and on one with two processes: the same weights. Then lose the second machine in several ways.

    sudo .venv/bin/python benchmarks/two_nodes.py                        # all cases, about six minutes on two cores
    sudo .venv/bin/python benchmarks/two_nodes.py same killed --steps 6

The machines are two network namespaces of this one, joined by a link and reached by ssh, each with a process. The model has
10 million parameters.

same     one machine with two processes, two machines with one each: the weights must be the same, bit for bit.
killed   every process of the second machine gets SIGKILL, its sshd included: seconds until the launcher says so.
cut      the link goes down, so that nothing dies and nothing arrives: the same, and what is left there ends by itself.
frozen   the process that trains on the second machine is stopped (SIGSTOP): the launcher must name it and end nothing.
alone    the launching process gets SIGKILL, in the middle, and in another job between its start of the first machine's
         processes and of the second's: the next one must follow the same job, and nothing may start twice.

After each case the job goes on from its checkpoint, and must come to the weights of `same`. Linux, as root.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from network import TwoMachines, missing
from tiny_job import LENGTH, TinyJobs, newest_step, process_of, steps_of, until, weights

from hephaestus_dag.training.attempts import TrainingFailedError
from hephaestus_dag.training.config import LauncherConfig, ModelShape
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.launch import run_local
from hephaestus_dag.training.launch_plan import LaunchPlan, plan_launch
from hephaestus_dag.training.metrics import read_metrics
from hephaestus_dag.training.ssh_jobs import REMOTE_SHELL, SshHosts

LIMIT = 30.0
"""Seconds in which a lost machine must be reported."""
TEN_MILLION = ModelShape(
    hidden_size=320,
    layers=8,
    heads=5,
    kv_heads=5,
    intermediate_size=864,
    max_position_embeddings=LENGTH,
    tie_embeddings=True,
    rope_theta=10_000.0,
)


class Bench:
    """The machines, the jobs, and the table."""

    def __init__(self, folder: Path, machines: TwoMachines, steps: int) -> None:
        self.machines, self.every = machines, max(1, steps // 4)
        self.jobs = TinyJobs(folder, steps, self.every)
        self.remote_shell = (*machines.ssh, *REMOTE_SHELL[1:])
        self.wrong = 0
        self.reference = ""

    def row(self, case: str, found: str, right: bool) -> None:
        """Print a line of the table."""
        self.wrong += not right
        print(f"{'ok   ' if right else 'WRONG'}  {case:<38} {found}", flush=True)

    def job(self, name: str) -> TrainingJob:
        return self.jobs.job(name).model_copy(update={"model": TEN_MILLION})

    def on_two(self, job: TrainingJob, on_metrics: Callable[[dict[str, Any]], None], warn: Callable[[str], None]) -> None:
        """Run a job on both machines, without a restart."""
        plan = self.plan(job)
        run_detached(plan, SshHosts.of(plan, self.remote_shell), on_metrics, warn)

    def plan(self, job: TrainingJob) -> LaunchPlan:
        where = LauncherConfig(num_processes=2, threads=1, hosts=self.machines.hosts, restarts=0)  # pyright: ignore[reportCallIssue]
        return plan_launch(job, where)

    def launcher(self, job: TrainingJob, before: str = "") -> subprocess.Popen[bytes]:
        """Run a job on both machines from a process of its own, which does something ``before``."""
        plan = self.plan(job)
        code = f"""
import os, signal
from pathlib import Path, PosixPath
from hephaestus_dag.training.detached import run_detached
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.ssh_jobs import SshHosts
{before}
plan = {plan!r}
run_detached(plan, SshHosts.of(plan, {self.remote_shell!r}), lambda metrics: None, print)
"""
        return subprocess.Popen([sys.executable, "-c", code])

    def finish(self, case: str, job: TrainingJob) -> None:
        """Run a job to its end on both machines, and compare it with the one that nothing happened to."""
        came = newest_step(job)
        self.on_two(job, lambda _: None, lambda _: None)
        same = weights(job) == self.reference
        self.row(f"{case}: resumed", f"from step {came}; weights {'bit-identical' if same else 'DIFFER'}", same and came > 0)

    def disturbed(self, case: str, disturb: Callable[[TrainingJob], None]) -> TrainingJob:
        """Disturb a job after its first checkpoint, and say when and how the launcher told."""
        job, done, message = self.job(case), threading.Event(), "nothing"
        began = [0.0]

        def once(metrics: dict[str, Any]) -> None:
            if metrics["step"] > self.every and not done.is_set():
                done.set()
                began[0] = time.monotonic()
                disturb(job)

        try:
            self.on_two(job, once, lambda _: None)
        except TrainingFailedError as error:
            message = str(error).partition(";")[0]
        seconds = time.monotonic() - began[0]
        self.row(f"{case}: told", f"after {seconds:.1f} s: {message}", seconds <= LIMIT and self.machines.hosts[1] in message)
        return job


def same(bench: Bench) -> None:
    """Train on one machine and on two."""
    one, two = bench.job("one machine"), bench.job("two machines")
    here = LauncherConfig(num_processes=2, threads=1, restarts=0)  # pyright: ignore[reportCallIssue]
    began = time.monotonic()
    run_local(plan_launch(one, here), lambda _: None)
    bench.reference, alone = weights(one), time.monotonic() - began
    bench.on_two(two, lambda _: None, lambda _: None)
    equal = weights(two) == bench.reference
    seconds = f"{alone:.0f} s and {time.monotonic() - began - alone:.0f} s"
    bench.row("one machine, two machines", f"{seconds}; weights {'bit-identical' if equal else 'DIFFER'}", equal)


def killed(bench: Bench) -> None:
    """Kill the second machine."""
    bench.finish("killed", bench.disturbed("killed", lambda _: bench.machines.lose_second()))


def cut(bench: Bench) -> None:
    """Cut the link, and mend it once the launcher has told."""
    machines = bench.machines
    job = bench.disturbed("cut", lambda _: machines.link("down"))
    left = len(training_on(machines))
    machines.link("up")
    began = time.monotonic()
    while training_on(machines) and time.monotonic() - began < 60:
        time.sleep(0.1)
    seconds = time.monotonic() - began
    bench.row("cut: left on the lost machine", f"{left} processes when it was told, 0 after {seconds:.1f} s more", seconds < 60)
    bench.finish("cut", job)


def training_on(machines: TwoMachines) -> list[int]:
    """Return the processes of a job that run on the second machine."""
    return machines.running(machines.names[1], b"hephaestus_dag.training")


def frozen(bench: Bench) -> None:
    """Stop the process that trains on the second machine for as long as the launcher takes to tell, and let it go on."""
    job = bench.job("frozen")
    stopped: list[tuple[int, float]] = []
    told: list[tuple[str, float]] = []

    def stop(metrics: dict[str, Any]) -> None:
        if metrics["step"] > bench.every and not stopped:
            pid = next(pid for pid in training_on(bench.machines) if pid in (process_of(job, "0"), process_of(job, "1")))
            os.kill(pid, signal.SIGSTOP)
            stopped.append((pid, time.monotonic()))

    def warn(message: str) -> None:
        told.append((message, time.monotonic()))
        os.kill(stopped[0][0], signal.SIGCONT)

    bench.on_two(job, stop, warn)
    seconds = told[0][1] - stopped[0][1] if told else 999
    bench.row("frozen: told", f"after {seconds:.1f} s: {told[0][0] if told else 'nothing'}", seconds <= LIMIT)
    equal = weights(job) == bench.reference
    bench.row("frozen: went on", f"weights {'bit-identical' if equal else 'DIFFER'}", equal)


KILL_BETWEEN = """
connect = SshHosts._connect
def once(*given):
    connect(*given)
    os.kill(os.getpid(), signal.SIGKILL)
SshHosts._connect = once
"""


def alone(bench: Bench) -> None:
    """Kill the launching process, in the middle of the training, and between two of the machines that it starts."""
    middle, early = bench.job("alone"), bench.job("alone early")
    with bench.launcher(middle) as launcher:
        until(launcher, lambda: middle.metrics.exists() and steps_of(middle)[bench.every :])
        launcher.kill()
    workers, step = {process_of(middle, rank) for rank in "01"}, steps_of(middle)[-1]
    limit = time.monotonic() + 60
    while steps_of(middle)[-1] == step and time.monotonic() < limit:
        time.sleep(0.05)
    went_on = steps_of(middle)[-1] > step
    bench.row("alone: killed", f"at step {step}; training {'goes on' if went_on else 'STOPS'} without a launcher", went_on)
    follow(bench, "alone", middle, workers)
    with bench.launcher(early, KILL_BETWEEN) as launcher:
        launcher.wait()
    follow(bench, "alone early", early, set())


def follow(bench: Bench, case: str, job: TrainingJob, workers: set[int]) -> None:
    """Launch a job again whose launcher was killed: it must be the same job, if given with the same processes."""
    name = json.loads(bench.plan(job).launched.read_text())["name"]
    told: list[str] = []
    seen: list[dict[str, Any]] = []
    found: set[int] = set()

    def look(metrics: dict[str, Any]) -> None:
        seen.append(metrics)
        if workers and not found:
            found.update(process_of(job, rank) for rank in "01")

    bench.on_two(job, look, told.append)
    jobs = [path.name for path in (job.work / "hosts").iterdir()]
    followed = len(told) == 1 and "is followed again" in told[0] and jobs == [name]
    whole = seen == read_metrics(job.metrics) and steps_of(job) == list(range(1, bench.jobs.steps + 1))
    bench.row(f"{case}: next launcher", "follows the same job" if followed else f"DOES NOT FOLLOW: {told}", followed)
    if workers:
        bench.row(f"{case}: processes", "the same" if found == workers else "OTHERS", found == workers)
    bench.row(f"{case}: metrics", "each step once" if whole else "NOT WHOLE", whole)
    equal = weights(job) == bench.reference
    bench.row(f"{case}: ended", f"weights {'bit-identical' if equal else 'DIFFER'}", equal)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cases: dict[str, Callable[[Bench], None]] = {"same": same, "killed": killed, "cut": cut, "frozen": frozen, "alone": alone}
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(cases)}, after `same`; all when none is named")
    parser.add_argument("--steps", type=int, default=20, help="steps of the job; a checkpoint after each quarter")
    options = parser.parse_args()
    if unknown := set(options.cases) - cases.keys():
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if reason := missing():
        parser.error(reason)
    scratch = Path(tempfile.mkdtemp(prefix="two-nodes-"))
    try:
        with TwoMachines(scratch) as machines:
            bench = Bench(scratch, machines, options.steps)
            same(bench)
            for name in options.cases or cases:
                if name != "same":
                    cases[name](bench)
    finally:
        shutil.rmtree(scratch)
    print("everything as it should be" if not bench.wrong else f"{bench.wrong} lines are WRONG")
    return 1 if bench.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
