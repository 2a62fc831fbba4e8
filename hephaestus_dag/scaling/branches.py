"""Training the branches of a cell, and what is kept of them: ``branches.json``, a row for each token budget.

A branch that diverged has a status that says so and no losses; the others go on.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.training.attempts import TrainingDivergedError
from hephaestus_dag.training.config import TrainingConfig
from hephaestus_dag.training.job import TrainingJob

TABLE = "branches.json"

Rows = list[dict[str, Any]]


def branch_jobs(first: Mapping[str, Any], branches: Sequence[TrainingConfig], work: Path) -> list[TrainingJob]:
    """Return the training jobs of a cell, shortest first; each takes its start from the one before.

    ``first`` are the fields of a job that all have in common. Their outputs stay in the work folder.
    """
    jobs: list[TrainingJob] = []
    for config in branches:
        folder = work / str(config.steps)
        earlier = jobs[-1].work if jobs else None
        jobs.append(TrainingJob(**first, config=config, work=folder, output=folder / "output", shares_start_with=earlier))
    return jobs


def run_branches(jobs: Sequence[TrainingJob], run: Callable[[Sequence[TrainingJob]], None]) -> dict[Path, str]:
    """Run the jobs that have no output yet, in the processes of one launch; return by work folder why a job diverged.

    ``run`` runs jobs one after the other and raises at the first that fails. Only divergence is caught.
    """
    diverged: dict[Path, str] = {}
    while waiting := [job for job in jobs if not _finished(job) and job.work not in diverged]:
        try:
            run(waiting)
        except TrainingDivergedError as error:
            failed = next(job for job in waiting if not _finished(job))
            diverged[failed.work] = str(error).partition("FloatingPointError: ")[2]
    return diverged


def _finished(job: TrainingJob) -> bool:
    return (job.output / "summary.json").is_file()  # The last file of an output folder to appear.


def keep_branches(jobs: Sequence[TrainingJob], diverged: Mapping[Path, str], folder: Path) -> Rows:
    """Move what stays of a cell's branches into its folder, and return their rows.

    These are metrics and summary of each branch, in a folder named after its tokens, and the model of the longest one that
    did not diverge.
    """
    rows = [_row(job, diverged.get(job.work)) for job in jobs]
    for job, row in zip(jobs, rows, strict=True):
        if job.work not in diverged:
            for name in ("metrics.jsonl", "summary.json"):
                (folder / str(row["tokens"])).mkdir(exist_ok=True)
                shutil.copyfile(job.output / name, folder / str(row["tokens"]) / name)
    if finished := [job for job in jobs if job.work not in diverged]:
        shutil.copytree(finished[-1].output / "model", folder / "model")
        shutil.copyfile(finished[-1].output / "loss.png", folder / "loss.png")
    (folder / TABLE).write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def _row(job: TrainingJob, diverged: str | None) -> dict[str, Any]:
    """Return what a branch consumed, in exact shares, and its held-out losses in bits per byte."""
    loader = MixtureLoader(job.mixture, job.stores)
    sequences = (job.config.steps or 0) * job.config.global_batch_sequences
    row: dict[str, Any] = {
        "tokens": sequences * loader.sequence_length,
        "steps": job.config.steps,
        "shares": {name: count / sequences for name, count in loader.mix(0, sequences).items()},
    }
    if diverged is not None:
        return row | {"status": f"diverged: {diverged}", "losses": {}}
    heldout = json.loads((job.output / "summary.json").read_text())["heldout"]
    losses = {name: score["bits_per_byte"] for name, score in heldout.items()}
    if spoilt := [name for name, loss in losses.items() if not math.isfinite(loss)]:
        return row | {"status": f"diverged: the held-out loss of {spoilt[0]} is {losses[spoilt[0]]}", "losses": {}}
    return row | {"status": "ok", "losses": losses}
