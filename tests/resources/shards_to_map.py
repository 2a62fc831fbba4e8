"""Functions for workers: they import nothing heavy, as every worker imports them again."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any, ClassVar


class BrokenShardError(Exception):
    pass


class TwoWordsError(Exception):
    """Cannot be made from its message alone, as pickle tries to."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def squared(number: int) -> int:
    return number * number


def slow_first(number: int) -> int:
    """The first item takes longest, so that a pool finishes it last."""
    time.sleep(0.3 if number == 0 else 0)
    return number


def process(_: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def fragile(number: int) -> int:
    if number == 2:
        raise BrokenShardError(f"shard {number} holds no text")
    return number


def wordy(number: int) -> int:
    raise TwoWordsError("too", "bad")


def deadly(number: int) -> int:
    if number == 2:
        os._exit(9)
    return number


class Noted:
    """Notes in a folder each time that an item is begun, and kills its process at an item's first time."""

    def __init__(self, folder: Path, kills: int | None = None) -> None:
        self.folder, self.kills = folder, kills

    def __call__(self, number: int) -> int:
        tries = len(list(self.folder.glob(f"{number}-*")))
        (self.folder / f"{number}-{tries}").touch()
        if number == self.kills and not tries:
            time.sleep(0.2)  # the other worker is at an item of its own meanwhile
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return number * 10


class Loaded:
    """A setup that notes each time that it is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> str:
        (self.folder / f"setup-{os.getpid()}-{time.monotonic_ns()}").touch()
        return "model"


def with_model(model: str, number: int) -> tuple[str, int, int]:
    time.sleep(0.05)
    return model, number, os.getpid()


def broken_setup() -> str:
    raise BrokenShardError("no model")


def gpu(_: str, __: int) -> str:
    time.sleep(0.1)
    return os.environ["CUDA_VISIBLE_DEVICES"]


class NotedWithModel(Noted):
    def __call__(self, _: str, number: int) -> int:  # type: ignore[override]
        return super().__call__(number)


class Begun:
    """Leaves a file for each item and process, empty until the item is done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int) -> int:
        note = self.folder / f"{number}-{os.getpid()}"
        note.touch()
        time.sleep(0.3)
        note.write_text("done")
        return number * 10


class LetterEncoder:
    """The letters of a text, counted."""

    identity: ClassVar[dict[str, Any]] = {"model": "letters"}
    dimension = 26

    def encode(self, texts: Sequence[str], progress: Any = None, query: bool = False) -> Any:
        import numpy as np

        return np.array([[text.count(letter) for letter in ascii_lowercase] for text in texts], np.float32)


def slow_with_model(model: str, number: int) -> int:
    """Take half a second."""
    time.sleep(0.5)
    return number * 10


class HeldWithModel:
    """Leaves a file for each item and process, empty until the item is done, which waits for the file ``go-on``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, model: str, number: int) -> int:
        note = self.folder / f"{number}-{os.getpid()}"
        note.touch()
        while not (self.folder / "go-on").exists():
            time.sleep(0.05)
        note.write_text("done")
        return number * 10
