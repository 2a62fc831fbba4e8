"""Two versions of an artifact, file by file, down to the first value that differs."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

_CLOCK = re.compile(r"seconds|(^|_| )time($|_| )|per_second|\bMFU|_hours|hours$|flop.*_s$", re.IGNORECASE)
_ABSENT = object()
_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class FileDifference:
    """A file that is not the same in both versions."""

    file: str
    first: str
    """The first difference, in words: where, what it was and what it is now."""
    clock_only: bool
    """Whether nothing differs but columns or fields that hold what a clock said."""


def compare(before: Path, manifest: Mapping[str, Any], after: Path, manifest_after: Mapping[str, Any]) -> list[FileDifference]:
    """Return the files in which two versions of an artifact differ; none when they are the same, byte for byte."""
    old = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    new = {entry["path"]: entry["sha256"] for entry in manifest_after["files"]}
    found = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            words = "only in the rebuilt artifact" if name in new else "only in the stored artifact"
            found.append(FileDifference(file=name, first=words, clock_only=False))
        elif old[name] != new[name]:
            first, clock_only = _first_difference(before / name, after / name)
            found.append(FileDifference(file=name, first=first, clock_only=clock_only))
    return found


def _first_difference(before: Path, after: Path) -> tuple[str, bool]:
    """Return the first difference between two files, one that no clock explains where there is any."""
    kinds = {".parquet": _in_tables, ".json": _in_json, ".jsonl": _in_lines}
    first = ""
    try:
        for name, words in kinds.get(before.suffix, _in_bytes)(before, after):
            if not _CLOCK.search(name):
                return words, False
            first = first or words
    except (ValueError, OSError) as error:  # the stored file is damaged
        return f"cannot be compared: {error}", False
    return (first, True) if first else (next(words for _, words in _in_bytes(before, after)), False)


Differences = Iterator[tuple[str, str]]
"""Name of the column or field, and the difference in words."""


def _in_tables(before: Path, after: Path) -> Differences:
    import pyarrow.parquet as pq

    old, new = pq.ParquetFile(before), pq.ParquetFile(after)
    if old.schema_arrow != new.schema_arrow:
        yield "", f"columns: {_short(str(old.schema_arrow))} → {_short(str(new.schema_arrow))}"
        return
    if old.metadata.num_rows != new.metadata.num_rows:
        yield "", f"rows: {old.metadata.num_rows:,} → {new.metadata.num_rows:,}"
    for name in old.schema_arrow.names:
        columns = (file.read(columns=[name]).column(0) for file in (old, new))
        if difference := next(_in_values(*(column.to_pylist() for column in columns)), None):
            row, was, now = difference
            yield name, f"column {name}, row {row[1:-1]}: {was} → {now}"


def _in_json(before: Path, after: Path) -> Differences:
    for path, was, now in _in_values(json.loads(before.read_text()), json.loads(after.read_text())):
        yield path, f"{path}: {was} → {now}"


def _in_lines(before: Path, after: Path) -> Differences:
    with before.open() as old, after.open() as new:
        for number, (one, two) in enumerate(zip_longest(old, new), 1):
            if one is None or two is None:
                yield "", f"line {number} is only in the {'rebuilt' if one is None else 'stored'} artifact"
                return
            for path, was, now in _in_values(json.loads(one), json.loads(two)):
                yield path, f"line {number}, {path}: {was} → {now}"


def _in_bytes(before: Path, after: Path) -> Differences:
    with before.open("rb") as old, after.open("rb") as new:
        offset = 0
        while True:
            one, two = old.read(1 << 20), new.read(1 << 20)
            if one != two:
                at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
                sizes = f"{before.stat().st_size:,} and {after.stat().st_size:,} bytes"
                yield "", f"byte {offset + at:,} ({sizes})"
                return
            if not one:
                yield "", "the stored file was changed after it was written"
                return
            offset += len(one)


def _in_values(was: Any, now: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield where two values differ, with both in short."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in {**was, **now}:
            yield from _in_values(was.get(key, _ABSENT), now.get(key, _ABSENT), f"{path}.{key}" if path else str(key))
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for number, (one, two) in enumerate(zip(was, now, strict=True)):
            yield from _in_values(one, two, f"{path}[{number}]")
    elif repr(was) != repr(now):  # two NaN are the same here
        yield path, _short(was), _short(now)


def _short(value: Any) -> str:
    text = "absent" if value is _ABSENT else value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
