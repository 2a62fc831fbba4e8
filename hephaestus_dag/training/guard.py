"""Which steps make no update, and when a run goes back to a checkpoint.

A loss that is not finite, or far above the recent ones, is passed over (the rule of OLMo-core's SkipStepOptimizer). When
that happens several times in a row the weights themselves are suspect: the run takes those of its last checkpoint and
goes on with the data after the bad batches (PaLM, arXiv 2204.02311, section 5.1). Showing the same batches again would
fail again, since every step is deterministic.
"""

import math
from collections import deque
from collections.abc import Mapping
from statistics import fmean, pstdev
from typing import Any

from hephaestus_dag.training.config import GuardConfig


class Guard:
    """Judges the steps of a run in their order; ``state`` is what an earlier attempt saved with its checkpoint."""

    def __init__(self, config: GuardConfig, state: Mapping[str, Any] | None = None) -> None:
        state = state or {}
        self.config = config
        self.skipped: int = state.get("skipped", 0)
        """Steps without an update so far."""
        self.rewinds: int = state.get("rewinds", 0)
        self.rewound_steps: int = state.get("rewound_steps", 0)
        """Steps whose updates were lost to rewinds."""
        self.streak: int = 0
        """Steps without an update at the end of the run so far."""
        self._losses: deque[float] = deque(state.get("losses", ()), maxlen=config.window)

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; none is written during a streak."""
        return {
            "skipped": self.skipped,
            "rewinds": self.rewinds,
            "rewound_steps": self.rewound_steps,
            "losses": list(self._losses),
        }

    def objection(self, loss: float) -> str | None:
        """Return why a step with this loss must make no update, or None."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if self.config.sigmas is None or 2 * len(self._losses) < self.config.window:
            return None
        mean, deviation = fmean(self._losses), pstdev(self._losses)
        if loss <= mean + self.config.sigmas * deviation:
            return None
        return f"the loss is {loss:.4f}, more than {self.config.sigmas:g} deviations ({deviation:.4f}) above {mean:.4f}"

    def note(self, loss: float, reason: str | None) -> None:
        """Take note of a step: of its loss, or of the reason for which it made no update."""
        if reason is None:
            self._losses.append(loss)
            self.streak = 0
        else:
            self.skipped += 1
            self.streak += 1

    @property
    def wants_rewind(self) -> bool:
        """Whether too many steps in a row made no update."""
        return self.streak >= self.config.skips_before_rewind

    def rewound(self, steps: int, state: Mapping[str, Any]) -> None:
        """Take note of going back by ``steps`` to a checkpoint with that guard state, whose losses are the recent ones now."""
        self.rewinds += 1
        self.rewound_steps += steps
        self.streak = 0
        self._losses = deque(state["losses"], maxlen=self.config.window)
