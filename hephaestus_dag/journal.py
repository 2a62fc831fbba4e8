"""Answers of a language model, appended to a JSON-lines file as soon as they are there.

A run that was stopped goes on where it was, and a larger one asks only about what is new. Errors are not kept, so they are
asked about again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar


class Answer(Protocol):
    """A dataclass of JSON values; one whose status is ``error`` is no answer."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def status(self) -> str:
        """How the question ended."""
        ...


AnswerT = TypeVar("AnswerT", bound=Answer)


def answer_with_journal(
    names: Mapping[str, str],
    ask: Callable[[Sequence[str]], Sequence[AnswerT]],
    answer_type: type[AnswerT],
    journal: Path,
    *,
    field: str,
    who: Mapping[str, str | int],
    chunk: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, AnswerT]:
    """Return key → answer, asking only about the keys that the journal lacks, ``chunk`` between two writes.

    ``names`` says what each key is called in the journal, under ``field``; ``who`` says who answered and how, and only rows
    that say the same are taken over. ``ask`` gets keys and returns their answers in order.
    """
    kept = {row[field]: answer_type(**{f.name: row[f.name] for f in fields(answer_type)}) for row in _rows(journal, who)}
    answers = {key: kept[name] for key, name in names.items() if name in kept}
    journal.parent.mkdir(parents=True, exist_ok=True)
    _end_torn_line(journal)
    keys = list(names)
    for start in range(0, len(keys), chunk):
        missing = [key for key in keys[start : start + chunk] if key not in answers]
        new = dict(zip(missing, ask(missing), strict=True)) if missing else {}
        lines = [json.dumps({field: names[k], **who, **asdict(a)}) + "\n" for k, a in new.items() if a.status != "error"]
        with journal.open("a", encoding="utf-8") as file:
            file.write("".join(lines))
        answers |= new
        if progress:
            progress(len(answers), len(keys))
    return answers


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Return a short hash of who answers."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _rows(journal: Path, who: Mapping[str, str | int]) -> Iterator[dict[str, Any]]:
    """Yield what these answered. A line torn by a stop is passed over."""
    if not journal.is_file():
        return
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if {key: row.get(key) for key in who} == who:
            yield row


def _end_torn_line(journal: Path) -> None:
    """End the last line of a journal, so that what is appended starts a new one."""
    if journal.is_file() and not journal.read_bytes().endswith(b"\n"):
        with journal.open("a", encoding="utf-8") as file:
            file.write("\n")
