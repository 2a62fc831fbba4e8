"""How far a step is, how fast, and how long it will still take: a line for the log, now and then."""

import time
from collections.abc import Callable

from hephaestus_dag.training.progress import duration

SECONDS_BETWEEN_LINES = 15.0


class Pace:
    """Turns counts into lines: the first when a part of the step has run for a while, so that its speed is known."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._part = (-1, 0)  # what the last counts were: another total, or fewer done, is another part of the step
        self._began = self._said = 0.0
        self._before = 0

    def line(self, done: int, total: int) -> str | None:
        """Take a count and return what to say: ``1,234 of 5,000 (25 %), 87/s, about 43 s left``, or None while it is too soon.

        The speed is that of this part of the step, without what an interrupted build had done before.
        """
        now, (last_total, last_done) = self._clock(), self._part
        self._part = (total, done)
        if total != last_total or done < last_done:
            self._began = self._said = now
            self._before = done
            return None
        if now - self._said < SECONDS_BETWEEN_LINES:
            return None
        self._said = now
        share = f" ({done / total:.0%})".replace("%", " %") if total else ""
        said = f"{done:,} of {total:,}{share}"
        if (speed := (done - self._before) / (now - self._began)) == 0:
            return said
        rate = f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f} a minute"
        return f"{said}, {rate}, about {duration((total - done) / speed)} left"
