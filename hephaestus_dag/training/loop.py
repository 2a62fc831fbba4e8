"""The training loop: from a job to a model folder, resuming from the newest whole checkpoint of its work folder."""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.training import engine as deepspeed
from hephaestus_dag.training.card import model_card
from hephaestus_dag.training.checkpoint import Checkpoint, Checkpoints, alone_in
from hephaestus_dag.training.config import ModelShape
from hephaestus_dag.training.flops import flops_per_token, peak_flops
from hephaestus_dag.training.guard import Guard
from hephaestus_dag.training.heldout import HeldoutSet
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.metrics import MetricsFile, read_metrics
from hephaestus_dag.training.model import TokenizerFolder, build_model, count_parameters, export_model, open_model
from hephaestus_dag.training.origin import fits, origin_of, share_start
from hephaestus_dag.training.output import timing, write_output
from hephaestus_dag.training.schedule import learning_rate
from hephaestus_dag.training.state import is_finite, load_state, save_state

logger = logging.getLogger(__name__)


def train(job: TrainingJob) -> dict[str, Any]:
    """Run a job to its end, write its output folder, and return its summary (rank 0; nothing elsewhere).

    Every process of the job calls it. Raises ValueError or FileNotFoundError before any work when the job cannot run,
    FloatingPointError when training diverges and no checkpoint helps, OSError when the output cannot be written.
    """
    device = deepspeed.start_processes()
    with alone_in(job.work) if dist.get_rank() == 0 else nullcontext():
        return _Run(job, device).to_the_end()


class _Run:
    """One attempt at a job."""

    def __init__(self, job: TrainingJob, device: torch.device) -> None:
        self.started = time.perf_counter()
        self.job, self.config = job, job.config
        self.rank, self.world_size, self.device = dist.get_rank(), dist.get_world_size(), device
        self.micro, _ = self.config.micro_batches(self.world_size)
        self.loader = MixtureLoader(job.mixture, job.stores)
        self.num_steps = self.config.num_steps(self.loader.num_sequences)
        self.tokenizer = TokenizerFolder(job.tokenizer)
        self.heldout = HeldoutSet(
            job.heldout,
            self.loader.sequence_length,
            self.config.evaluate_tokens,
            self.tokenizer,
            self.config.document_masking,
        )
        self.checkpoints = Checkpoints(job.work / "checkpoints", always=self.config.checkpoint_at)
        self.step = self.updates = self.last_save = 0
        """Global batches shown, updates that are in the weights, and the step at which a checkpoint was last due."""
        self.guard = Guard(self.config.guard)

    def to_the_end(self) -> dict[str, Any]:
        if isinstance(self.job.model, ModelShape):
            model = build_model(self.job.model, self.tokenizer, self.config.seed)
        else:
            model = open_model(self.job.model, self.tokenizer)
        self.flops_per_token = flops_per_token(model, self.loader.sequence_length)
        self.peak, self.peak_from = peak_flops(self.device, self.config.dtype)
        checkpoint = self._resumable()
        self.engine = deepspeed.start_engine(model, self.config, self.world_size)
        if checkpoint:
            self._take(checkpoint)
            self.guard = Guard(self.config.guard, checkpoint.head["guard"])
            self.step = self.last_save = checkpoint.step
        # Without a checkpoint nothing is kept, the evaluation at step 0 included: it is done again.
        kept_until = checkpoint.step if checkpoint else -1
        self.metrics = MetricsFile(self.job.metrics, kept_until) if self.rank == 0 else None
        if not checkpoint:
            self._evaluate()
        while self.step < self.num_steps:
            self._one_step()
            last = self.step == self.num_steps
            if self.guard.wants_rewind:
                self._rewind(f"{self.guard.streak} steps in a row made no update")
            if last or (self.config.evaluate_every and self.step % self.config.evaluate_every == 0):
                self._evaluate()
            self._save_if_due(last)
        weights = deepspeed.gathered_weights(self.engine)
        return self._write_output(model, weights) if self.metrics else {}

    def _one_step(self) -> None:
        """Show the model one global batch and update it, unless the guard objects."""
        began = time.perf_counter()
        rate = learning_rate(self.step, self.num_steps, self.config)
        totals = torch.zeros(2, device=self.device)
        for tokens, weights, positions in self._micro_batches():
            losses = self.engine(tokens, weights, positions)
            # The engine averages over processes, the weights already divide by the targets of all of them.
            self.engine.backward(losses[0] * self.world_size, scale_wrt_gas=False)
            totals += torch.stack(losses).detach()
            if not self.engine.is_gradient_accumulation_boundary():
                self.engine.step()
        if self.world_size > 1:
            dist.all_reduce(totals)
        objective, loss = totals.tolist()
        reason = self.guard.objection(loss if math.isfinite(objective) else objective)
        norm = deepspeed.update(self.engine, self.config, rate, refuse=reason is not None)
        if reason is None and not math.isfinite(norm):
            reason = f"the norm of the gradient is {norm}"
        self.guard.note(loss, reason)
        self.updates += reason is None
        self.step += 1
        if self.metrics:
            self._note_step(time.perf_counter() - began, loss, rate, norm, reason)

    def _note_step(self, seconds: float, loss: float, rate: float, norm: float, skipped: str | None) -> None:
        size = self.config.global_batch_sequences
        num_tokens = size * self.loader.sequence_length
        speed = num_tokens / seconds
        self._note(
            tokens=self.step * num_tokens,
            loss=loss if math.isfinite(loss) else None,
            lr=rate,
            grad_norm=norm if math.isfinite(norm) else None,
            mix=self.loader.mix((self.step - 1) * size, size),
            seconds=round(seconds, 6),
            tokens_per_second=round(speed, 1),
            mfu=round(speed * self.flops_per_token / self.peak / self.world_size, 4) if self.peak else None,
            **({"skipped": skipped} if skipped else {}),
        )
        if skipped:
            logger.warning("%s: step %d makes no update: %s", self.job.title, self.step, skipped)

    def _micro_batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        """Yield this rank's tokens, weights and positions of the step; the weights of all ranks sum to 1."""
        size = self.config.global_batch_sequences
        start = self.step * size
        first, count = self.loader.rank_slice(start, size, self.rank, self.world_size)
        batch = self.loader.batch(first, count, positions=self.config.document_masking)
        if batch.mask is None:
            weights = torch.full((count, self.loader.sequence_length), 1 / (size * self.loader.sequence_length))
        else:
            whole = batch.mask if count == size else self.loader.batch(start, size).mask
            assert whole is not None
            weights = torch.from_numpy(batch.mask).float() / max(1, int(whole.sum()))
        tokens, device = torch.from_numpy(batch.tokens), self.device
        positions = None if batch.positions is None else torch.from_numpy(batch.positions)
        for at in range(0, count, self.micro):
            part = slice(at, at + self.micro)
            yield tokens[part].to(device), weights[part].to(device), None if positions is None else positions[part].to(device)

    def _evaluate(self) -> None:
        """Score the held-out streams; a score that is not finite sends the run back to its checkpoint."""
        began = time.perf_counter()
        scores = self.heldout.evaluate(self.engine, self.device, self.micro)
        if spoilt := [domain for domain, score in scores.items() if not math.isfinite(score["loss"])]:
            problem = f"the held-out loss of {spoilt[0]} is {scores[spoilt[0]]['loss']}"
            if not self.step:
                raise FloatingPointError(f"step 0: {problem}; check the model")
            self._rewind(problem)
            self._evaluate()
            return
        logger.info("%s: step %d of %d, held-out %s", self.job.title, self.step, self.num_steps, scores)
        self._note(heldout=scores, seconds=round(time.perf_counter() - began, 6))

    def _note(self, **values: Any) -> None:
        if self.metrics:
            self.metrics.write({"step": self.step, **values})

    def _save_if_due(self, last: bool) -> None:
        """Write a checkpoint every so many steps and at the end; a streak of skipped steps puts it off."""
        every = self.config.checkpoint_every
        due = self.step // every > self.last_save // every or self.step in self.config.checkpoint_at
        if not last and (self.guard.streak or not due):
            return
        if not is_finite(self.engine):
            self._rewind("the weights are not finite")
            if last:
                self._evaluate()
        self.last_save = self.step
        if not self.guard.streak:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint; when a disk refuses, training goes on and the earlier ones stay."""
        refusal: list[str | None] = [None]
        try:
            files = save_state(self.engine, self.checkpoints.staging(self.step))
            if self.metrics:
                self.metrics.flush()
                head = {**self.origin, "updates": self.updates, "guard": self.guard.state}
                self.checkpoints.commit(self.step, head, files)
        except OSError as error:
            refusal = [error.strerror or str(error)]
        dist.broadcast_object_list(refusal)
        if refusal[0] and self.metrics:
            self.checkpoints.clear()
            logger.warning("%s: the checkpoint of step %d failed: %s", self.job.title, self.step, refusal[0])
            self._note(checkpoint_failed=refusal[0])

    def _rewind(self, problem: str) -> None:
        """Go back to the newest checkpoint's weights, and on with the data. Raises FloatingPointError when that cannot be."""
        checkpoint = self._newest()
        allowed = self.config.guard.max_rewinds
        if checkpoint is None or self.guard.rewinds >= allowed:
            past = f"the job has gone back to a checkpoint {allowed} times" if checkpoint else "there is no checkpoint yet"
            raise FloatingPointError(
                f"step {self.step}: {problem}, and {past}; lower learning_rate, look at the data of these steps, or "
                f"raise {'guard.max_rewinds' if checkpoint else 'guard.skips_before_rewind'} or guard.sigmas"
            )
        self.guard.rewound(self.updates - checkpoint.head["updates"], checkpoint.head["guard"])
        self._take(checkpoint)
        logger.warning("%s: step %d: %s; back to step %d", self.job.title, self.step, problem, checkpoint.step)
        self._note(rewound_to=checkpoint.step)

    def _take(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint's weights and moments."""
        self.updates = checkpoint.head["updates"]
        load_state(self.engine, checkpoint.folder, self.updates)

    def _newest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, the same on every rank."""
        found: list[Any] = [self.checkpoints.newest() if self.rank == 0 else None]
        dist.broadcast_object_list(found)
        return found[0]

    def _resumable(self) -> Checkpoint | None:
        """Return the checkpoint to resume from. Raises ValueError when the work folder is another job's."""
        self.origin = origin_of(self.job, self.tokenizer.vocab_size, self.loader.fingerprint, self.num_steps)
        if self.rank == 0:
            self.checkpoints.clear()
            share_start(self.job, self.origin, self.checkpoints)
        checkpoint = self._newest()
        if checkpoint and not fits(checkpoint, self.origin):
            raise ValueError(f"work: {self.job.work} holds checkpoints of another job; give an empty folder, or delete it")
        if checkpoint:
            logger.info("resuming %s from step %d", self.job.title, checkpoint.step)
        return checkpoint

    def _write_output(self, model: Any, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
        assert self.metrics
        self.metrics.close()
        lines = read_metrics(self.job.metrics)
        facts = {
            "title": self.job.title,
            "steps": self.num_steps,
            "sequences": self.num_steps * self.config.global_batch_sequences,
            "sequence_length": self.loader.sequence_length,
            "mixture": self.loader.fingerprint,
            "parameters": asdict(count_parameters(model)),
            "flops_per_token": self.flops_per_token,
            "skipped_steps": self.guard.skipped,
            "rewinds": self.guard.rewinds,
            "rewound_steps": self.guard.rewound_steps,
            "heldout_targets": self.heldout.targets,
            "heldout_bytes": self.heldout.bytes,
        }

        def save_model(folder: Path, summary: dict[str, Any]) -> None:
            export_model(model, weights, self.tokenizer, folder)
            mixture = json.loads((self.job.mixture / "mixture.json").read_text())
            (folder / "README.md").write_text(model_card(summary, self.config, mixture, self.job.backbone))

        summary = write_output(self.job.output, lines, facts, save_model)
        spent = {
            "peak_flops": self.peak,
            "peak_from": self.peak_from,
            "seconds": round(self.metrics.seconds + time.perf_counter() - self.started, 1),
            "world_size": self.world_size,
            "device": self.device.type,
            "attempts": self.metrics.attempts,
        }
        self.job.timing.write_text(json.dumps(timing(lines, spent)) + "\n")
        return summary
