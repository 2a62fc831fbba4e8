"""Costs of what runs on GPUs for long: proxy runs, the backbone and the stages."""

from collections.abc import Iterator
from dataclasses import dataclass

from hephaestus_dag.costs.amount import Amount, at_most
from hephaestus_dag.costs.architecture import Architecture, find_architecture
from hephaestus_dag.costs.benchmarks import num_answers
from hephaestus_dag.costs.book import Book, shape_or_reason, unknown_shape
from hephaestus_dag.costs.mixtures import packed_sequences
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scaling.sweep import Cell, plan_starts, plan_sweep, steps_once
from hephaestus_dag.training.config import TrainingConfig
from hephaestus_dag.variants import Variants

STATE_BYTES = 12
CHECKPOINTS = 3
PROXIES = ("proxy_backbones/", "proxy_runs/")
ASSUMPTIONS = [
    f"a checkpoint: {STATE_BYTES} bytes a parameter (float32 weight and two moments); two are kept while a third is written",
    "training: 6 N + 12 L d T FLOP per token, N without the input embedding",
    "token budgets of a proxy are branches of one run: the steps that they share are counted once",
    "what gradient checkpointing computes again is not counted as FLOP, so it lowers the utilisation that can be reached",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A training job as the recipe describes it."""

    key: str
    name: str
    """Of the model, for messages."""
    model: Architecture | None
    config: TrainingConfig
    sequences: Amount
    sequence_length: int
    branches: int = 1
    """Ends that it has, each after an evaluation, with checkpoints of its own."""
    answers: int = 0
    """Reference answers, one sequence each, that are held out beside the domains."""

    @property
    def steps(self) -> Amount:
        """Optimiser steps: sequences / global batch."""
        sequences = self.sequences
        if sequences.value is None:
            return sequences
        return Amount(float(sequences.value // self.config.global_batch_sequences), sequences.kind)

    @property
    def tokens(self) -> Amount:
        """Tokens that the steps take."""
        return self.steps * (self.config.global_batch_sequences * self.sequence_length)

    @property
    def training(self) -> Amount:
        """FLOP of the steps."""
        return self.tokens * self._per_token(training=True)

    @property
    def evaluation(self) -> Amount:
        """FLOP of the evaluations: before the first step, every ``evaluate_every``, after the last of each branch."""
        steps = self.steps
        if steps.value is None:
            return steps
        every = self.config.evaluate_every
        times = self.branches + -(-steps.value // every) if every else 1 + self.branches
        tokens = at_most(3 * self.config.evaluate_tokens + self.answers * self.sequence_length)
        return Amount(times, steps.kind) * tokens * self._per_token(training=False)

    @property
    def weights(self) -> Amount:
        """Bytes of the exported model: bfloat16 where ZeRO trains in it, else float32."""
        half = self.config.dtype == "bfloat16" and self.config.zero_stage
        return shape_or_reason(self.model, self.name) * (2 if half else 4)

    @property
    def checkpoints(self) -> Amount:
        """Bytes of the checkpoints while the job runs; where a branch leaves the run, one stays and one is copied from it."""
        return shape_or_reason(self.model, self.name) * (STATE_BYTES * (CHECKPOINTS * self.branches + 2 * (self.branches - 1)))

    def _per_token(self, training: bool) -> Amount:
        if self.model is None:
            return unknown_shape(self.name)
        length = self.sequence_length
        return Amount(self.model.training_flops(length) if training else self.model.forward_flops(length))


def backbone_architecture(recipe: Recipe, vocabulary: int | None) -> tuple[str, Architecture | None]:
    """Return name and shape of the backbone."""
    config = recipe.training.backbone
    if config.model:
        return config.model, find_architecture(config.model)
    assert config.shape
    return "the backbone", Architecture.of_shape(config.shape, vocabulary) if vocabulary else None


def training_jobs(book: Book, variants: Variants) -> list[Job]:
    """Return all training jobs of a recipe: the cells of the sweep, the backbone where it is pre-trained, the stages."""
    recipe, section = book.recipe, book.recipe.mixture
    length = section.sequence_length
    jobs = [*_proxy_jobs(book)]
    name, model = backbone_architecture(recipe, book.vocabulary)
    backbone = recipe.training.backbone
    if backbone.training:
        tokens = Amount(float(backbone.tokens // length))
        config = backbone.training
        jobs.append(Job(key="backbone", name=name, model=model, config=config, sequences=tokens, sequence_length=length))
    stages: dict[int, tuple[Amount, int]] = {
        1: (Amount(float(section.stage1_tokens // length)), length),
        2: (Amount(float(section.stage2_tokens // length)), length),
        3: (packed_sequences(book), section.instruction.sequence_length),
    }
    for checkpoint in variants.checkpoints:
        sequences, tokens_each = stages[checkpoint.stage]
        config = recipe.section(f"training.stage{checkpoint.stage}")
        if config.steps:  # a mixture that does not last for them stops the job
            sequences = Amount(float(config.steps * config.global_batch_sequences))
        jobs.append(
            Job(key=checkpoint.key, name=name, model=model, config=config, sequences=sequences, sequence_length=tokens_each)
        )
    return jobs


def _proxy_jobs(book: Book) -> Iterator[Job]:
    """Yield the jobs of the sweep: where proxies are pre-trained, a job for each rung, then one for each cell."""
    recipe, length = book.recipe, book.recipe.mixture.sequence_length
    sweep = recipe.scaling_law.sweep

    def job(key: str, cell: Cell) -> Job:
        branches = cell.branches(recipe.training.proxy, length)
        return Job(
            key=f"{key}/{cell.name}",
            name=cell.rung.name,
            model=Architecture.of_shape(cell.rung, book.vocabulary) if book.vocabulary else None,
            config=branches[-1],
            sequences=Amount(float(steps_once(branches) * cell.global_batch_sequences)),
            sequence_length=length,
            branches=len(branches),
            answers=num_answers(recipe, sweep.benchmark_items) if sweep.benchmark_items else 0,
        )

    yield from (job("proxy_backbones", cell) for cell in plan_starts(sweep))
    yield from (job("proxy_runs", cell) for cell in plan_sweep(sweep))


def job_costs(book: Book, variants: Variants) -> list[Job]:
    """Enter the assets of the groups scaling_law and training; return the training jobs."""
    jobs = training_jobs(book, variants)
    for job in jobs:
        if job.key.startswith(PROXIES):
            _enter(book, job, "scaling_law")
    if book.recipe.scaling_law.sweep.benchmark_items:
        book.add("proxy_answers", "scaling_law", disk=at_most(1e6), note="reference answers, tokenised")
    book.add("proxy_runs", "scaling_law", disk=at_most(1e6), note="a table of the runs")
    book.add("fitted_power_law", "scaling_law", disk=at_most(5e6), note="on the CPU")
    if not any(job.key == "backbone" for job in jobs):
        name, model = backbone_architecture(book.recipe, book.vocabulary)
        book.add("backbone", "training", disk=shape_or_reason(model, name) * 2, note="copied as published, bfloat16")
    for job in jobs:
        if not job.key.startswith(PROXIES):
            _enter(book, job, "training")
    return jobs


def _enter(book: Book, job: Job, group: str) -> None:
    steps, placement = job.steps, book.recipe.execution.launcher.for_batch(job.config.global_batch_sequences)
    note = f"{steps.kind}{steps.value:,.0f} steps" if steps.value is not None else ""
    book.add(
        job.key,
        group,
        tokens=job.tokens,
        inference=job.evaluation,
        training=job.training,
        disk=job.weights,
        scratch=job.checkpoints,
        dtype=job.config.dtype,
        processes=placement.num_processes,
        note=note,
    )
