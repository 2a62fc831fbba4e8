"""The learning rate as a pure function of the step."""

import math

from hephaestus_dag.training.config import TrainingConfig


def learning_rate(step: int, num_steps: int, config: TrainingConfig) -> float:
    """Return the learning rate of update ``step`` (counted from 0) out of ``num_steps``.

    All schedules rise linearly over the warm-up. WSD (warm-up, stable, decay: arXiv 2404.06395) then stays and falls
    linearly over the last ``decay_share``; cosine falls from the end of the warm-up. Both would reach ``min_lr_share`` of
    the peak one step after the last, so that no update is spent at a rate of zero.
    """
    warmup = warmup_steps(num_steps, config)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    start = decay_start(num_steps, config)
    done = max(0.0, (step + 1 - start) / (num_steps - start + 1))
    kept = 1 - done if config.schedule == "wsd" else (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * (config.min_lr_share + (1 - config.min_lr_share) * kept)


def decay_start(num_steps: int, config: TrainingConfig) -> int:
    """Return how many updates come before the decay: up to there, longer jobs with the same warm-up have the same rates."""
    falling = {
        "constant": 0,
        "wsd": math.ceil(config.decay_share * num_steps),
        "cosine": num_steps - warmup_steps(num_steps, config),
    }[config.schedule]
    return num_steps - falling


def warmup_steps(num_steps: int, config: TrainingConfig) -> int:
    """Return the number of updates over which the rate rises."""
    return math.ceil(config.warmup_share * num_steps) if config.warmup_steps is None else config.warmup_steps
