"""A number of slots that processes of one machine share; the kernel frees the slot of one that dies."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def slot(folder: Path, count: int) -> Iterator[int]:
    """Wait for one of ``count`` slots and hold it; gives its number. All that share them name the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for number in range(count):
            with ExitStack() as stack:
                file = stack.enter_context((folder / f"{number}.lock").open("w"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield number
                return
        time.sleep(SECONDS_BETWEEN_LOOKS)
