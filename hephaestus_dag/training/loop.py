"""The training loop: from a job to a model folder, resuming from the newest whole checkpoint of its work folder."""

import hashlib
import json
import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.models import folder_digest
from hephaestus_dag.training import engine as deepspeed
from hephaestus_dag.training.checkpoint import Checkpoint, Checkpoints
from hephaestus_dag.training.config import ModelShape
from hephaestus_dag.training.heldout import HeldoutSet
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.metrics import MetricsFile, read_metrics
from hephaestus_dag.training.model import TokenizerFolder, build_model, count_parameters, export_model, open_model
from hephaestus_dag.training.schedule import learning_rate

logger = logging.getLogger(__name__)


def train(job: TrainingJob) -> dict[str, Any]:
    """Run a job to its end, write its output folder, and return its summary (rank 0; nothing elsewhere).

    Every process of the job calls it. Raises ValueError or FileNotFoundError before any work when the job cannot run,
    FloatingPointError when the loss stops being finite.
    """
    device = deepspeed.start_processes()
    return _Run(job, device).to_the_end()


@dataclass(frozen=True, slots=True)
class _Place:
    """This process among the job's processes."""

    rank: int
    world_size: int
    device: torch.device


class _Run:
    """One attempt at a job."""

    def __init__(self, job: TrainingJob, device: torch.device) -> None:
        self.job, self.config = job, job.config
        self.place = _Place(dist.get_rank(), dist.get_world_size(), device)
        self.micro, _ = self.config.micro_batches(self.place.world_size)
        self.loader = MixtureLoader(job.mixture, job.stores)
        self.num_steps = self.loader.num_sequences // self.config.global_batch_sequences
        if not self.num_steps:
            raise ValueError(
                f"mixture: {self.loader.num_sequences} sequences are less than one global batch of "
                f"{self.config.global_batch_sequences}; raise its tokens or lower global_batch_sequences"
            )
        self.tokenizer = TokenizerFolder(job.tokenizer)
        self.heldout = HeldoutSet(job.heldout, self.loader.sequence_length, self.config.evaluate_tokens, self.tokenizer)
        self.checkpoints = Checkpoints(job.work / "checkpoints")
        self.step = 0

    def to_the_end(self) -> dict[str, Any]:
        started = time.perf_counter()
        if isinstance(self.job.model, ModelShape):
            model = build_model(self.job.model, self.tokenizer, self.config.seed)
        else:
            model = open_model(self.job.model, self.tokenizer)
        checkpoint = self._checkpoint()
        self.engine = deepspeed.start_engine(model, self.config, self.place.world_size)
        if checkpoint:
            deepspeed.load_state(self.engine, checkpoint.folder)
            self.step = checkpoint.step
        # Without a checkpoint nothing is kept, the evaluation at step 0 included: it is done again.
        kept_until = checkpoint.step if checkpoint else -1
        self.metrics = MetricsFile(self.job.metrics, kept_until) if self.place.rank == 0 else None
        if not checkpoint:
            self._evaluate()
        while self.step < self.num_steps:
            self._one_step()
            last = self.step == self.num_steps
            if last or (self.config.evaluate_every and self.step % self.config.evaluate_every == 0):
                self._evaluate()
            if last or self.step % self.config.checkpoint_every == 0:
                self._save()
        if self.metrics:
            self.metrics.close()
        weights = deepspeed.gathered_weights(self.engine)
        return self._write_output(model, weights, time.perf_counter() - started) if self.place.rank == 0 else {}

    def _one_step(self) -> None:
        """Show the model one global batch and update it."""
        began = time.perf_counter()
        rate = learning_rate(self.step, self.num_steps, self.config)
        total = torch.zeros((), device=self.place.device)
        for tokens, weights in self._micro_batches():
            loss = self.engine(tokens, weights)
            # The engine averages over processes, the weights already divide by the targets of all of them.
            self.engine.backward(loss * self.place.world_size, scale_wrt_gas=False)
            total += loss.detach()
            if not self.engine.is_gradient_accumulation_boundary():
                self.engine.step()
        if self.place.world_size > 1:
            dist.all_reduce(total)
        loss = total.item()
        if not math.isfinite(loss):
            raise FloatingPointError(f"step {self.step + 1}: the loss is {loss}; lower learning_rate or look at the data")
        norm = deepspeed.update(self.engine, self.config, rate)
        self.step += 1
        num_tokens = self.config.global_batch_sequences * self.loader.sequence_length
        self._note(
            tokens=self.step * num_tokens,
            loss=loss,
            lr=rate,
            grad_norm=norm,
            tokens_per_second=round(num_tokens / (time.perf_counter() - began), 1),
        )

    def _micro_batches(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return this rank's tokens and weights of the step; the weights of all ranks sum to 1."""
        size = self.config.global_batch_sequences
        start = self.step * size
        first, count = self.loader.rank_slice(start, size, self.place.rank, self.place.world_size)
        batch = self.loader.batch(first, count)
        tokens = torch.from_numpy(batch.tokens)
        if batch.mask is None:
            weights = torch.full((count, self.loader.sequence_length), 1 / (size * self.loader.sequence_length))
        else:
            whole = batch.mask if count == size else self.loader.batch(start, size).mask
            assert whole is not None
            weights = torch.from_numpy(batch.mask).float() / max(1, int(whole.sum()))
        device = self.place.device
        return [
            (tokens[at : at + self.micro].to(device), weights[at : at + self.micro].to(device))
            for at in range(0, count, self.micro)
        ]

    def _evaluate(self) -> None:
        scores = self.heldout.evaluate(self.engine, self.place.device, self.micro)
        for domain, score in scores.items():
            if not math.isfinite(score["loss"]):
                raise FloatingPointError(f"step {self.step}: the held-out loss of {domain} is {score['loss']}; check the model")
        logger.info("%s: step %d of %d, held-out %s", self.job.title, self.step, self.num_steps, scores)
        self._note(heldout=scores)

    def _note(self, **values: Any) -> None:
        if self.metrics:
            self.metrics.write({"step": self.step, **values})

    def _save(self) -> None:
        """Write a checkpoint; all ranks write, rank 0 commits."""
        deepspeed.save_state(self.engine, self.checkpoints.staging(self.step))
        if self.metrics:
            self.metrics.flush()
            self.checkpoints.commit(self.step, self.head)
        dist.barrier()

    def _checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint to resume from, the same on every rank.

        Raises ValueError when the work folder is another job's, or was written by another number of processes.
        """
        found: list[Any] = [None]
        if self.place.rank == 0:
            self.checkpoints.clear()
            self.head = {"job": self._identity(), "world_size": self.place.world_size}
            found = [self.checkpoints.newest()]
        dist.broadcast_object_list(found)
        checkpoint: Checkpoint | None = found[0]
        if checkpoint is None:
            return None
        if self.place.rank == 0 and checkpoint.head["job"] != self.head["job"]:
            raise ValueError(f"work: {self.job.work} holds checkpoints of another job; give an empty folder, or delete it")
        before = checkpoint.head["world_size"]
        if self.config.zero_stage and before != self.place.world_size:
            raise ValueError(
                f"the checkpoint of step {checkpoint.step} is divided among {before} processes (ZeRO stage "
                f"{self.config.zero_stage}), not {self.place.world_size}; resume with {before}, or delete {self.job.work}"
            )
        logger.info("resuming %s from step %d", self.job.title, checkpoint.step)
        return checkpoint

    def _identity(self) -> str:
        """Return the hash of everything that decides the weights."""
        model = self.job.model
        described = {
            "model": model.model_dump(mode="json") if isinstance(model, ModelShape) else folder_digest(model),
            "vocab_size": self.tokenizer.vocab_size,
            "mixture": self.loader.fingerprint,
            "config": self.config.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def _write_output(self, model: Any, weights: dict[str, torch.Tensor], seconds: float) -> dict[str, Any]:
        from hephaestus_dag.training.figure import draw_loss

        output: Path = self.job.output
        output.mkdir(parents=True, exist_ok=True)
        export_model(model, weights, self.tokenizer, output / "model")
        lines = read_metrics(self.job.metrics)
        speeds = [line.pop("tokens_per_second") for line in lines if "loss" in line]
        # What a clock said stays out of the output: the same job gives the same bytes.
        (output / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        steps = [line for line in lines if "loss" in line]
        scores = [line["heldout"] for line in lines if "heldout" in line]
        closing = steps[-max(1, len(steps) // 20) :]
        summary = {
            "title": self.job.title,
            "steps": self.num_steps,
            "tokens": steps[-1]["tokens"],
            "sequences": self.num_steps * self.config.global_batch_sequences,
            "sequence_length": self.loader.sequence_length,
            "mixture": self.loader.fingerprint,
            "parameters": asdict(count_parameters(model)),
            "loss": math.fsum(line["loss"] for line in closing) / len(closing),
            "heldout_before": scores[0],
            "heldout": scores[-1],
            "heldout_targets": self.heldout.targets,
            "heldout_bytes": self.heldout.bytes,
        }
        (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        timing = {"tokens_per_second": median(speeds), "seconds": round(seconds, 1), "world_size": self.place.world_size}
        self.job.timing.write_text(json.dumps(timing) + "\n")
        draw_loss(lines, self.job.title, output / "loss.png")
        return summary
