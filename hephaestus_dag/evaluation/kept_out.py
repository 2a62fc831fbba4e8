"""Benchmarks that training data must not hold although this project does not run them: MMLU, AgentBench, and any file of items.

A benchmark is named in the recipe with the place of its files and the fields to keep out. A multiple-choice question that is
too short to be found alone is indexed with its choices, as they follow it plainly and under letters.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from hephaestus_dag.evaluation.benchmark_files import BenchmarkFiles, Record

_FEWEST_WORDS = 13
"""Words from which a question is found without its choices."""


class KeptOutConfig(BenchmarkFiles):
    """A benchmark that is kept out of the training data."""

    texts: tuple[str, ...] = Field(min_length=1, description="Fields to keep out, dots lead inside: `evaluation.example.code`")
    choices: tuple[str, ...] = Field(default=(), description="Fields with the choices that follow a question, in order")
    id: str = Field(default="", description="Field with an item's id; empty: file and number")
    drop: dict[str, str] = Field(default={}, description="Records to leave out: field and value, such as repeated header rows")

    def identity(self) -> dict[str, Any]:
        """Return what the items *are*: the fields that are read, and the records. Raises like `paths`."""
        return {**super().identity(), **self.model_dump(mode="json", exclude={"location", "files"})}


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
    for place, record in config.records():
        if any(_text(record, field) == value for field, value in config.drop.items()):
            continue
        name = f"{config.name}/{_text(record, config.id) if config.id else place}"
        texts = {field: text for field in config.texts if (text := _text(record, field))}
        choices = [text for field in config.choices for text in _flat(_at(record, field))]
        unseen -= {*texts, *(field for field in config.choices if _flat(_at(record, field)))}
        yield from ((name, text) for text in texts.values())
        if choices and texts:
            yield from ((name, text) for text in with_choices(next(iter(texts.values())), choices))
    if unseen:
        raise ValueError(f"benchmark {config.name}: no record has the field {sorted(unseen)[0]!r}; correct texts or choices")


def with_choices(question: str, choices: list[str]) -> list[str]:
    """Return a question that is too short to be found alone, with its choices under letters and plainly."""
    if len(question.split()) >= _FEWEST_WORDS:
        return []
    lettered = "\n".join(f"{chr(ord('A') + at)}. {choice}" for at, choice in enumerate(choices))
    return [f"{question}\n{lettered}", "\n".join([question, *choices])]


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
