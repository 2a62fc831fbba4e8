"""How far a training job is, in words: for the log of a run, and as a bar in a terminal."""

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.job import TrainingJob

SECONDS_BETWEEN_LINES = 10.0
STEPS_FOR_SPEED = 50

Say = Callable[[str], None]


class Progress:
    """What the metrics of a job say so far; take every line of them, in order."""

    def __init__(self, job: TrainingJob) -> None:
        head = json.loads((job.mixture / "mixture.json").read_text())
        self.num_steps: int = job.config.num_steps(head["num_sequences"])
        self.sequence_length: int = head["sequence_length"]
        self.step = 0
        self._last: dict[str, Any] = {}
        self._seconds: deque[float] = deque(maxlen=STEPS_FOR_SPEED)
        self._mixes: list[tuple[int, dict[str, int]]] = []
        self._shown: Counter[str] = Counter()

    def take(self, metrics: dict[str, Any]) -> None:
        """Take one line; steps that a restarted job does again take the place of what they were before."""
        self.step = metrics["step"]
        if "mix" not in metrics:
            return
        while self._mixes and self._mixes[-1][0] >= self.step:
            self._shown.subtract(self._mixes.pop()[1])
        self._mixes.append((self.step, metrics["mix"]))
        self._shown.update(metrics["mix"])
        self._seconds.append(metrics["seconds"])
        if metrics.get("loss") is not None:
            self._last = metrics

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens shown so far, by component of the mixture."""
        return {name: count * self.sequence_length for name, count in sorted(self._shown.items())}

    @property
    def figures(self) -> str:
        """Loss, learning rate, speed, MFU and the time left."""
        if not self._last:
            return "starting"
        found = [
            f"loss {self._last['loss']:.3f}",
            f"lr {self._last['lr']:.2g}",
            f"{self._last['tokens_per_second']:,.0f} tokens/s",
        ]
        if self._last.get("mfu") is not None:
            found.append(f"MFU {self._last['mfu']:.1%}")
        left = (self.num_steps - self.step) * sum(self._seconds) / len(self._seconds)
        return ", ".join([*found, f"{duration(left)} left"])

    @property
    def line(self) -> str:
        """Everything in a line."""
        shown = ", ".join(f"{name} {_amount(count)}" for name, count in self.tokens.items())
        return f"step {self.step:,} of {self.num_steps:,}, {self.figures}" + (f"; tokens so far: {shown}" if shown else "")


class ProgressLog:
    """Turns metrics into log lines: held-out losses and whatever went wrong at once, the rest now and then."""

    def __init__(self, job: TrainingJob, log: Say, warn: Say) -> None:
        self.title, self.log, self.warn = job.title, log, warn
        self.progress = Progress(job)
        self._last = time.monotonic()

    def note(self, metrics: dict[str, Any]) -> None:
        """Take one line of the metrics."""
        self.progress.take(metrics)
        if found := trouble(metrics):
            self.warn(f"{self.title}: {found}")
        elif "heldout" in metrics:
            self.log(f"{self.title}: {heldout(metrics)}")
        elif (now := time.monotonic()) - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self.log(f"{self.title}: {self.progress.line}")


def heldout(metrics: dict[str, Any]) -> str:
    """Return the held-out losses of a line of metrics."""
    scores = ", ".join(f"{domain} {score['loss']:.3f}" for domain, score in metrics["heldout"].items())
    return f"step {metrics['step']:,}, held-out loss: {scores}"


def trouble(metrics: dict[str, Any]) -> str | None:
    """Return what a line of metrics says that went wrong, or None."""
    step = f"step {metrics['step']:,}"
    if "skipped" in metrics:
        return f"{step} was skipped: {metrics['skipped']}"
    if "rewound_to" in metrics:
        return f"{step}: back to the weights of step {metrics['rewound_to']:,}, and on with the data"
    if "checkpoint_failed" in metrics:
        return f"{step}: the checkpoint could not be written ({metrics['checkpoint_failed']}); the one before it stays"
    return None


@contextmanager
def showing(job: TrainingJob) -> Iterator[None]:
    """Show on standard error how far a job is that runs meanwhile in this process: a bar on a terminal, else lines."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    follower, ended = MetricsFollower(job.metrics), threading.Event()
    watch = _bar if console.is_terminal else _lines

    def follow() -> None:
        with watch(job, console) as note:
            while True:
                last = ended.wait(0.2)
                for metrics in follower.new_lines():
                    note(metrics)
                if last:
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _lines(job: TrainingJob, console: Console) -> Iterator[Callable[[dict[str, Any]], None]]:
    def say(text: str) -> None:
        console.print(text, markup=False)

    log = ProgressLog(job, say, say)
    yield log.note
    say(f"{job.title}: {log.progress.line}")


@contextmanager
def _bar(job: TrainingJob, console: Console) -> Iterator[Callable[[dict[str, Any]], None]]:
    progress = Progress(job)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Bars(*columns, console=console) as bars:
        task = bars.add_task(job.title, total=progress.num_steps, figures="starting")

        def note(metrics: dict[str, Any]) -> None:
            progress.take(metrics)
            bars.update(task, completed=progress.step, figures=progress.figures)
            if found := trouble(metrics):
                console.print(found, style="yellow", markup=False)
            elif "heldout" in metrics:
                console.print(heldout(metrics), markup=False)

        yield note


def _amount(count: int) -> str:
    """Return a number with three digits: ``1.24M``."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def duration(seconds: float) -> str:
    """Return a time in words: ``43 s``, ``4 min 22 s``, ``3 h 05 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
