"""A training job as a JSON file: what a launcher hands to the worker."""

from pathlib import Path
from typing import Self

from pydantic import Field

from hephaestus_dag.config import Config
from hephaestus_dag.training.config import ModelShape, TrainingConfig


class TrainingJob(Config):
    """One training run, from a model and a mixture to a new model."""

    title: str = Field(..., description="Name of the run, for logs and the figure")
    model: ModelShape | Path = Field(..., description="Shape of a fresh model, or the Hugging Face folder to continue from")
    backbone: str | None = Field(
        default=None, description="Published model that all began with, for the card; null: it began with fresh weights"
    )
    tokenizer: Path = Field(..., description="Hugging Face tokenizer folder")
    mixture: Path = Field(..., description="Folder of the planned mixture")
    stores: tuple[Path, ...] = Field(..., min_length=1, description="Token stores that the mixture was planned over")
    heldout: dict[str, tuple[Path, str]] = Field(..., description="Held-out streams by domain: (token store, stream name)")
    config: TrainingConfig = Field(..., description="Optimisation")
    shares_start_with: Path | None = Field(
        default=None,
        description="Work folder of a shorter job that begins in the same way: its checkpoint before their ways part is taken",
    )
    output: Path = Field(..., description="Folder for the model, metrics, summary and figure")
    work: Path = Field(..., description="Folder for checkpoints and logs; keep it between attempts, so that they resume")

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a job. Raises pydantic's ValidationError, which names the field, when it does not fit."""
        return cls.model_validate_json(path.read_text())

    @property
    def metrics(self) -> Path:
        """The metrics file while the job runs; a copy ends up in the output folder."""
        return self.work / "metrics.jsonl"

    @property
    def timing(self) -> Path:
        """Speed and duration of the finished job: facts about the machine, and so not part of the output."""
        return self.work / "timing.json"
