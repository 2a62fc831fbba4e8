"""A training job while it runs, on the asset's page: its figures and its curve as observations, now and then."""

import base64
import time
from pathlib import Path
from typing import Any

from assets.artifact import Build
from hephaestus_dag import events
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.progress import Progress

SECONDS_BETWEEN_OBSERVATIONS = 30.0
MOST_LINES = 10_000


class LiveView:
    """Passes on the metrics of a running job: every line to the terminal's bar, twice a minute what the UI plots and shows."""

    def __init__(self, build: Build, job: TrainingJob) -> None:
        self.build, self.job = build, job
        self.progress = Progress(job)
        self._lines: list[dict[str, Any]] = []
        self._every = 1
        self._last = time.monotonic()

    def note(self, metrics: dict[str, Any]) -> None:
        """Take one line of the metrics."""
        self.progress.take(metrics)
        self._keep(metrics)
        done, total = self.progress.step, self.progress.num_steps
        events.emit("progress", self.build.key, done=done, total=total, note=self.progress.figures)
        now = time.monotonic()
        if metrics.get("loss") is not None and now - self._last >= SECONDS_BETWEEN_OBSERVATIONS:
            self._last = now
            self._observe(metrics)

    def _keep(self, metrics: dict[str, Any]) -> None:
        """Remember a line for the curve, of a long run only every so many steps; one done again takes its former place."""
        while self._lines and self._lines[-1]["step"] > metrics["step"] - ("tokens" in metrics):
            self._lines.pop()
        if self._shown(metrics):
            self._lines.append(metrics)
        if len(self._lines) > MOST_LINES:
            self._every *= 2
            self._lines = [*filter(self._shown, self._lines)]

    def _shown(self, metrics: dict[str, Any]) -> bool:
        """Whether a line is an event, or of one of the steps that are kept."""
        return "tokens" not in metrics or "skipped" in metrics or metrics["step"] % self._every == 0

    def _observe(self, metrics: dict[str, Any]) -> None:
        from hephaestus_dag.training.figure import draw_loss

        path = Path(self.build.work) / "loss.png"
        draw_loss(self._lines, self.job.title, path)
        names = {"loss": "loss", "lr": "learning rate", "tokens_per_second": "tokens per second", "mfu": "MFU"}
        figures = {title: metrics[name] for name, title in names.items() if metrics.get(name) is not None}
        picture = base64.b64encode(path.read_bytes()).decode()
        self.build.observe(
            {
                "training job": self.job.title,
                "progress": self.progress.line,
                "step": metrics["step"],
                **figures,
                **{f"{name} tokens so far": count for name, count in self.progress.tokens.items()},
            },
            {"loss so far": f"![loss so far](data:image/png;base64,{picture})"},
        )
