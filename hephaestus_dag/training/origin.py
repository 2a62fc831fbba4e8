"""What decides a job's weights, and which checkpoints it would come to: its own, and those of jobs that begin in the same way.

Jobs of different lengths with the same warm-up are one job until the shorter one's learning rate begins to fall.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from hephaestus_dag.models import folder_digest
from hephaestus_dag.training.checkpoint import Checkpoint, Checkpoints
from hephaestus_dag.training.config import ModelShape
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.metrics import read_metrics
from hephaestus_dag.training.schedule import decay_start, warmup_steps
from hephaestus_dag.whole_folder import whole_file

logger = logging.getLogger(__name__)

DECIDE_THE_DECAY = ("steps", "warmup_share", "decay_share")
"""Settings that leave the steps before the decay as they are, once the steps of the warm-up are known."""

Origin = dict[str, Any]


def origin_of(job: TrainingJob, vocab_size: int, mixture: str, num_steps: int) -> Origin:
    """Return what a job's checkpoints keep: hashes of everything that decides all steps (``job``), and those before the decay
    (``trunk``), and the number of these (``decays_from``). ``mixture`` is its fingerprint.
    """
    config = job.config.model_dump(mode="json")
    described = {
        "model": job.model.model_dump(mode="json") if isinstance(job.model, ModelShape) else folder_digest(job.model),
        "vocab_size": vocab_size,
        "mixture": mixture,
        "config": config,
    }
    trunk = {name: value for name, value in config.items() if name not in DECIDE_THE_DECAY}
    trunk["warmup_steps"] = warmup_steps(num_steps, job.config)
    return {
        "job": _digest(described),
        "trunk": _digest(described | {"config": trunk}),
        "decays_from": decay_start(num_steps, job.config),
    }


def fits(checkpoint: Checkpoint, origin: Origin) -> bool:
    """Say whether a job comes to a checkpoint: it is the job's, or that of a job which is the same up to there."""
    head = checkpoint.head
    shared = checkpoint.step <= min(head["decays_from"], origin["decays_from"])
    return head["job"] == origin["job"] or (head["trunk"] == origin["trunk"] and shared)


def share_start(job: TrainingJob, origin: Origin, checkpoints: Checkpoints) -> None:
    """Take over the newest fitting checkpoint of the job that shares the start, if there is one, and the metrics till then."""
    earlier = job.shares_start_with
    if earlier is None or checkpoints.newest():
        return
    checkpoint = Checkpoints(earlier / "checkpoints").newest(lambda found: fits(found, origin))
    if checkpoint is None:
        logger.warning("%s: %s has no checkpoint that this job would come to; it begins anew", job.title, earlier)
        return
    lines = read_metrics(earlier / job.metrics.name)
    with whole_file(job.metrics) as fresh:
        fresh.write_text("".join(json.dumps(line) + "\n" for line in lines if line["step"] <= checkpoint.step))
    checkpoints.adopt(checkpoint)


def _digest(described: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
