"""Signs of life: every process of a training job writes down every few seconds where it is; the launcher reads who is silent.

A process that dies ends its job, and so does a host that vanishes. One that is merely stopped, or waits for ever, does
neither, and cannot be told from a slow one for certain: the launcher says what it sees, and ends nothing. What waits for
it gives up after torch's own limits: half an hour on a CPU, ten minutes on a GPU.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

VARIABLE = "HEPHAESTUS_PULSES"
"""Environment variable with the folder; without it nothing is written."""
EVERY = 4.0
"""Seconds between two signs of life."""
SILENCE = 20.0
"""Seconds without a sign after which the launcher says so."""
STANDSTILL = 5.0
"""A step that takes longer than `SILENCE`, and so many times longer than any before, is a standstill."""


def start_pulse() -> None:
    """Write from a thread, every few seconds, on which machine this process is and which line its main thread is at."""
    if folder := os.environ.get(VARIABLE):
        path = Path(folder) / f"rank-{os.environ.get('RANK', '0')}"
        threading.Thread(target=_beat, args=(path, threading.main_thread().ident), daemon=True).start()


def _beat(path: Path, main: int) -> None:
    count = 0
    while True:
        frame, count = sys._current_frames()[main], count + 1
        place = f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}, in {frame.f_code.co_name}"
        with suppress(OSError):  # Where a disk is full, or the network is away: silence says so.
            path.write_text(f"{count}\n{socket.gethostname()}\n{place}\n")
        time.sleep(EVERY)


class _Sign(NamedTuple):
    number: str
    host: str
    place: str


class Pulses:
    """Follows the processes of one attempt at a job, by their signs of life and by the metrics that it writes.

    Clocks are not compared: what is new counts from when it was seen.
    """

    def __init__(self, folder: Path, metrics: Sequence[Path]) -> None:
        self.folder, self.metrics = folder, metrics
        self._looked = time.monotonic()
        self._signs: dict[str, tuple[_Sign, float]] = {}
        self._silent: set[str] = set()
        self._size, self._moved, self._longest = _sizes(metrics), 0.0, 0.0
        self._stands = False

    def remarks(self) -> list[str]:
        """Return what there is to say since the last call: who is silent, who is back, whether the job stands still."""
        now = time.monotonic()
        if now < self._looked + EVERY / 4:
            return []
        self._looked = now
        return [*self._changes(now), *self._standstill(now)]

    def _changes(self, now: float) -> Iterator[str]:
        for path in sorted(self.folder.glob("rank-*")):
            name = path.name.replace("-", " ")
            with suppress(OSError, TypeError):  # TypeError: it is being written.
                sign = _Sign(*path.read_text().splitlines())
                if name not in self._signs or sign != self._signs[name][0]:
                    self._signs[name] = sign, now
        for name, (sign, last) in self._signs.items():
            if now - last > SILENCE and name not in self._silent:
                self._silent.add(name)
                yield f"{name} on {sign.host} has given no sign of life for {now - last:.0f} s; it was at {sign.place}"
            elif now == last and name in self._silent:
                self._silent.remove(name)
                yield f"{name} on {sign.host} is back"

    def _standstill(self, now: float) -> Iterator[str]:
        """Say once that a step takes far longer than those before it, and where each process is meanwhile."""
        if (size := _sizes(self.metrics)) != self._size:
            if self._moved:  # What comes before the first line is the start.
                self._longest = max(self._longest, now - self._moved)
            self._size, self._moved, self._stands = size, now, False
        elif self._longest and not self._stands and now - self._moved > max(SILENCE, STANDSTILL * self._longest):
            self._stands = True
            places = "; ".join(f"{name} on {sign.host} is at {sign.place}" for name, (sign, _) in self._signs.items())
            yield f"no step for {now - self._moved:.0f} s, the longest before took {self._longest:.0f} s; {places}"


def _sizes(paths: Sequence[Path]) -> list[int]:
    """Return the files' sizes; each is opened, because a network file system looks anew only then."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError), path.open("rb") as file:
            found.append(file.seek(0, os.SEEK_END))
    return found
