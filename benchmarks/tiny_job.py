"""A small training job over Python's own reference and modules, for benchmarks that start it many times, and looks at it."""

import argparse
import hashlib
import inspect
import pydoc_data.topics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from hephaestus_dag.documents import Document, DocumentWriter, Domain
from hephaestus_dag.mixture.config import Component, MixtureConfig, TokenStoreConfig, TrainTokenizerConfig
from hephaestus_dag.mixture.plan import plan_mixture
from hephaestus_dag.mixture.tokenise import tokenise_documents
from hephaestus_dag.mixture.tokenizer import train_tokenizer
from hephaestus_dag.training.checkpoint import Checkpoints
from hephaestus_dag.training.config import ModelShape, TrainingConfig
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.metrics import read_metrics

LENGTH, BATCH, MICRO = 64, 8, 2
SHAPE = ModelShape(
    hidden_size=64,
    layers=2,
    heads=2,
    kv_heads=1,
    intermediate_size=192,
    max_position_embeddings=LENGTH,
    tie_embeddings=True,
    rope_theta=10_000.0,
)


class TinyJobs:
    """Makes jobs of one mixture in a folder."""

    def __init__(self, folder: Path, steps: int, checkpoint_every: int) -> None:
        self.folder, self.steps, self.checkpoint_every = folder, steps, checkpoint_every
        pages = _documents()
        with DocumentWriter(folder / "documents") as writer:
            writer.write(pages)
        tokenizer = TrainTokenizerConfig(vocab_size=512, sample_characters=100_000)
        train_tokenizer((page.text for page in pages), tokenizer, folder / "tokenizer")
        tokens = TokenStoreConfig(heldout_share=0.1)
        tokenise_documents([folder / "documents"], folder / "tokenizer", folder / "store", tokens)
        mixture = MixtureConfig(
            tokens=steps * BATCH * LENGTH,
            sequence_length=LENGTH,
            components=(Component(domain="code", share=0.4), Component(domain="text", share=0.6)),
            max_epochs=100,
        )
        plan_mixture(mixture, [folder / "store"], folder / "mixture")

    def job(self, name: str) -> TrainingJob:
        """Return the job with an output and a work folder of its own; all train the same weights."""
        config = TrainingConfig(
            global_batch_sequences=BATCH,
            micro_batch_sequences=MICRO,
            learning_rate=0.003,
            checkpoint_every=self.checkpoint_every,
            evaluate_tokens=512,
        )
        return TrainingJob(
            title=name,
            model=SHAPE,
            tokenizer=self.folder / "tokenizer",
            mixture=self.folder / "mixture",
            stores=(self.folder / "store",),
            heldout={domain: (self.folder / "store", f"{domain}.heldout") for domain in ("code", "text")},
            config=config,
            output=self.folder / name / "output",
            work=self.folder / name / "work",
        )


def _documents() -> list[Document]:
    functions = [item for module in (argparse, subprocess) for item in _functions(module)]
    pages = sorted(pydoc_data.topics.topics.items())
    return [_document("text", *page) for page in pages] + [_document("code", *function) for function in functions]


def _document(domain: Domain, origin: str, text: str) -> Document:
    return Document(text=text, domain=domain, kind="page", source="python", origin=origin, license="PSF-2.0")


def _functions(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name, value in sorted(vars(module).items()):
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.__name__:
            yield f"{module.__name__}.{name}", inspect.getsource(value)


def digest(tokens: Any) -> str:
    return hashlib.sha256(tokens.tobytes()).hexdigest()[:16]


def weights(job: TrainingJob) -> str:
    return hashlib.sha256((job.output / "model" / "model.safetensors").read_bytes()).hexdigest()


def steps_of(job: TrainingJob) -> list[int]:
    return [line["step"] for line in read_metrics(job.metrics) if "loss" in line]


def newest_step(job: TrainingJob) -> int:
    """Return the step of the newest whole checkpoint; 0 when there is none."""
    found = Checkpoints(job.work / "checkpoints").newest()
    return found.step if found else 0


def until(process: subprocess.Popen[bytes], true: Callable[[], Any]) -> Any:
    """Return the first true value, or None when the process ends before."""
    while process.poll() is None:
        if found := true():
            return found
        time.sleep(0.001)
    return None


def pause(process: subprocess.Popen[bytes], seconds: float) -> None:
    last = time.monotonic() + seconds
    until(process, lambda: time.monotonic() >= last)


def process_of(job: TrainingJob, rank: str) -> int:
    """Return the process that trains a job as a rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, variables = ((folder / name).read_text().split("\0") for name in ("cmdline", "environ"))
        except OSError:  # it has ended, or is somebody else's
            continue
        if str(job.work / "job.json") in command and f"RANK={rank}" in variables:
            return int(folder.name)
    raise ProcessLookupError(f"no process of rank {rank}")
