"""What a worker of the compute resource does. It imports nothing heavy: every worker of a step pays for that again."""

import os
import pickle
import traceback
from functools import lru_cache, partial
from typing import Any


class Job:
    """A function, and what sets it up, as bytes; called with an item, it makes the setup's value at the first one."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._run: Any = None

    def __call__(self, item: Any) -> Any:
        """Return what the function makes of an item."""
        if self._run is None:
            function, setup = pickle.loads(self.content)
            self._run = partial(function, setup()) if setup else function
        return self._run(item)


@lru_cache(maxsize=1)
def job_of(content: bytes) -> Job:
    """Return a job that this process holds until it gets another: Ray brings its bytes with every task."""
    return Job(content)


_job: Job


def begin(content: bytes, device: str) -> None:
    """Note what this process is for; errors of the setup come with the first item, from where they reach the caller."""
    global _job
    _job = Job(content)
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device


def work(item: Any) -> Any:
    """Return what this process's job makes of an item."""
    return _job(item)


class RemoteTracebackError(Exception):
    """Where in a worker an error was raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Sealed:
    """A job whose items and results are bytes; a result is a value, or an error that the caller raises."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        """Return the result for ``row["item"]``."""
        try:
            found = pickle.dumps((True, job_of(self.content)(pickle.loads(row["item"])), ""))
        except Exception as error:  # whatever it is, it is the caller's to raise
            found = sealed_error(error)
        return {"result": found}


def sealed_error(error: Exception) -> bytes:
    """Return an error as bytes, in words alone where it cannot be pickled."""
    where = traceback.format_exc()
    try:
        content = pickle.dumps((False, error, where))
        pickle.loads(content)
    except Exception:  # pickling runs the error's own code, which may raise anything
        content = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}"), where))
    return content


def opened(content: bytes) -> Any:
    """Return the value in a sealed result, or raise its error."""
    good, value, where = pickle.loads(content)
    if good:
        return value
    raise value from RemoteTracebackError(where)
