"""Where the items of the general benchmarks are, and how many of them are asked."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.evaluation.benchmark_files import BenchmarkFiles


class PlacedConfig(Config):
    """A benchmark whose records are in a place that the recipe names."""

    benchmark: ClassVar[str]
    location: str | None = Field(
        default=None, description="`package:<distribution>`, `hub:<data set>@<commit>`, or a folder; null: not run"
    )
    test_files: str = Field(
        default="*test*.jsonl",
        description="glob of the items' files, relative to the location; of a hub's data set: configuration/split",
    )

    @property
    def test(self) -> BenchmarkFiles | None:
        """Where the items are."""
        return self.place(self.test_files)

    def place(self, files: str | None) -> BenchmarkFiles | None:
        """Return where records are; None where no place is named."""
        return BenchmarkFiles(name=self.benchmark, location=self.location, files=files) if self.location and files else None

    def identity(self) -> dict[str, Any]:
        """Return what the items *are*, wherever they lie. Raises like `BenchmarkFiles.paths`."""
        return self.test.identity() if self.test else {}

    def problems(self) -> list[str]:
        """Return what keeps the items from being read, in words; an empty list when nothing does."""
        try:
            if self.test:
                self.test.paths()
        except (ModuleNotFoundError, OSError) as error:
            return [str(error)]
        return []

    @model_validator(mode="after")
    def _place_can_be_read(self) -> Self:
        self.place(self.test_files)
        return self


class MmluConfig(PlacedConfig):
    """MMLU by log-likelihood of the four letters, in the original prompt format, through lm-eval."""

    benchmark = "mmlu"
    dev_files: str | None = Field(
        default="*dev*.jsonl", description="glob of the few-shot examples; null: there are none, so only 0-shot can run"
    )
    num_shots: tuple[int, ...] = Field(
        default=(5, 0), min_length=1, description="examples before a question; each is one score"
    )
    num_items: int | None = Field(
        default=None, ge=1, description="questions drawn, proportionally from each subject; null: all of them"
    )
    seed: int = Field(default=0, description="seed of the draw; a larger draw with the same seed contains the smaller one")

    @field_validator("num_shots")
    @classmethod
    def _shots_exist(cls, num_shots: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(num_shots)) != len(num_shots) or not all(0 <= n <= 5 for n in num_shots):
            raise ValueError("num_shots: name each number once, between 0 and 5 (a subject has five examples)")
        return num_shots

    @property
    def dev(self) -> BenchmarkFiles | None:
        """Where the few-shot examples are."""
        return self.place(self.dev_files)

    def identity(self) -> dict[str, Any]:
        """Return what the questions and the examples are."""
        try:
            examples = self.dev.identity() if self.dev else {}
        except FileNotFoundError:
            examples = {}
        return {**super().identity(), "examples": examples}

    @model_validator(mode="after")
    def _examples_can_be_read(self) -> Self:
        self.place(self.dev_files)
        return self


class Gsm8kConfig(PlacedConfig):
    """Grade-school arithmetic: greedy replies after eight worked examples, judged by their last number, through lm-eval."""

    benchmark = "gsm8k"
    prompt: Literal["plain", "chat"] = Field(
        default="plain", description="examples as plain text, which base models continue, or as turns of a chat"
    )
    num_items: int | None = Field(default=None, ge=1, description="questions drawn; null: all of them")
    seed: int = Field(default=0, description="seed of the draw; a larger draw with the same seed contains the smaller one")
    max_new_tokens: int = Field(default=256, ge=1, description="longest reply in tokens")


class HumanEvalConfig(PlacedConfig):
    """Python functions from their docstrings: one greedy program each, run against its tests in a sandbox."""

    benchmark = "humaneval"
    prompt: Literal["plain", "chat"] = Field(
        default="plain", description="continue the function's head as plain text, or ask for it in a chat"
    )
    num_items: int | None = Field(default=None, ge=1, description="problems drawn; null: all of them")
    seed: int = Field(default=0, description="seed of the draw; a larger draw with the same seed contains the smaller one")
    max_new_tokens: int = Field(default=512, ge=1, description="longest reply in tokens")
    cpu_seconds: int = Field(default=5, ge=1, description="processor time of a program and its tests, in seconds")
    wall_seconds: float = Field(default=30.0, gt=0, description="time that a program may take by the clock, in seconds")
