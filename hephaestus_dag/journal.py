"""Answers of a language model, in a JSON-lines file that outlives the run: each is written as soon as it is there.

A run that was stopped goes on where it was, and a later one asks only about what is new. While a journal is open it is
locked, so a second run waits and then finds the answers of the first: nothing is asked twice. A line torn by a stop is
passed over, and so is one that another version wrote in another shape.
"""

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

logger = logging.getLogger(__name__)


class Answer(Protocol):
    """A dataclass of JSON values."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


AnswerT = TypeVar("AnswerT", bound=Answer)


class Journal(Generic[AnswerT]):
    """A journal that is open for writing."""

    def __init__(self, file: FileIO, answers: dict[str, AnswerT], field: str, who: Mapping[str, str | int]) -> None:
        self.answers = answers
        self._file, self._field, self._who = file, field, who

    def append(self, name: str, answer: AnswerT) -> None:
        """Keep an answer. Raises OSError naming the file when it cannot be written, for example on a full disk."""
        line = (json.dumps({self._field: name, **self._who, **asdict(answer)}) + "\n").encode()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise OSError(error.errno, f"the answer about {name} cannot be kept: {error.strerror}", self._file.name) from None
        self.answers[name] = answer


@contextmanager
def open_journal(
    path: Path, answer_type: type[AnswerT], *, field: str, who: Mapping[str, str | int]
) -> Iterator[Journal[AnswerT]]:
    """Open a journal, after any other process that has it open. The kernel releases the lock even after a crash.

    ``field`` is what the name of a question is called in a line; ``who`` says who answers and how, and only lines that say
    the same are taken over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileIO(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another run is asking the same: waiting for its answers in %s", path.name)
            fcntl.flock(file, fcntl.LOCK_EX)
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            file.write(b"\n")  # Ends a torn line, so that what is appended starts a new one.
        yield Journal(file, _answers(content, answer_type, field, who), field, who)


def read_answers(path: Path, answer_type: type[AnswerT], *, field: str, who: Mapping[str, str | int]) -> dict[str, AnswerT]:
    """Return name → answer, as far as they are written by now, without waiting for anybody."""
    return _answers(path.read_bytes(), answer_type, field, who) if path.is_file() else {}


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Return a short hash of who answers."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _answers(content: bytes, answer_type: type[AnswerT], field: str, who: Mapping[str, str | int]) -> dict[str, AnswerT]:
    """Return what these answered; the first answer to a question counts."""
    adapter, found = TypeAdapter(answer_type), {}
    for line in content.split(b"\n"):
        try:
            answer, row = adapter.validate_json(line, strict=True), json.loads(line)
        except ValueError:
            continue
        name = row.get(field)
        if isinstance(name, str) and {key: row.get(key) for key in who} == who:
            found.setdefault(name, answer)
    return found
