"""Bad batches are passed over, a streak of them goes back to a checkpoint, and interruptions change nothing of it."""

import json
import math
import os
import signal
from collections.abc import Callable
from statistics import fmean, pstdev
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from hephaestus_dag.training.config import GuardConfig
from hephaestus_dag.training.guard import Guard
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.loop import train
from hephaestus_dag.training.metrics import MetricsFile, read_metrics
from tests.training.conftest import Corpus

MakeJob = Callable[..., TrainingJob]
NUMBERS = st.one_of(st.floats(0, 20), st.floats(1, 1.1), st.sampled_from([math.nan, math.inf]))


@given(st.lists(NUMBERS, max_size=60), st.integers(8, 20), st.floats(0.5, 6))
def test_the_rule_over_accepted_losses_survives_a_checkpoint_at_any_step(
    losses: list[float], window: int, sigmas: float
) -> None:
    config = GuardConfig(window=window, sigmas=sigmas)
    guard, accepted = Guard(config), []
    for loss in losses:
        recent = accepted[-window:]
        judged = len(recent) >= window / 2
        expected = not math.isfinite(loss) or (judged and loss > fmean(recent) + sigmas * pstdev(recent))
        reason = guard.objection(loss)
        assert (reason is not None) == expected
        guard.note(loss, reason)
        if not expected:
            accepted.append(loss)
            guard = Guard(config, json.loads(json.dumps(guard.state)))
    assert guard.skipped == len(losses) - len(accepted)


def test_without_sigmas_only_losses_that_are_not_finite_are_refused() -> None:
    guard = Guard(GuardConfig(sigmas=None, window=8))
    for loss in [1.0] * 20:
        guard.note(loss, guard.objection(loss))
    assert guard.objection(1e9) is None
    assert guard.objection(math.inf) == "the loss is inf"


def test_after_a_rewind_the_losses_of_the_checkpoint_are_the_recent_ones() -> None:
    guard = Guard(GuardConfig(window=8, skips_before_rewind=2))
    for loss in (5.0, 5.1, 5.2, 5.3):
        guard.note(loss, None)
    saved = guard.state
    for loss in (1.0, 1.1, 1.0, 1.1, 1.0, 1.1, 1.0, 1.1):
        guard.note(loss, None)
    for _ in range(2):
        assert not guard.wants_rewind
        guard.note(5.3, guard.objection(5.3))
    assert guard.wants_rewind
    guard.rewound(8, saved)
    assert not guard.wants_rewind
    assert guard.objection(5.3) is None
    assert guard.state == {**saved, "skipped": 2, "rewinds": 1, "rewound_steps": 8}


@pytest.fixture
def poisoned_job(make_job: MakeJob, corpus: Corpus) -> Callable[..., TrainingJob]:
    """40 steps of two sequences, a checkpoint each nine; the batches of the steps ``bad`` are noise."""
    torch.set_num_threads(1)

    def make(name: str, bad: range | list[int], guard: dict[str, Any] | None = None, **given: Any) -> TrainingJob:
        mixture = corpus.folder / "-".join(["poisoned", *map(str, bad)])
        if not mixture.exists():
            corpus.poisoned(mixture.name, 40, 2, bad)
        settings = {"window": 16, **(guard or {})}
        return make_job(
            name=name,
            title="poisoned",
            mixture=mixture,
            heldout={"agent": (corpus.store, "agent.heldout")},
            **{"global_batch_sequences": 2, "checkpoint_every": 9, "evaluate_every": 0, "guard": settings, **given},
        )

    return make


def test_a_bad_batch_makes_no_update_and_does_not_spoil_the_mean(poisoned_job: Callable[..., TrainingJob]) -> None:
    job = poisoned_job("run", [30, 36])
    summary = train(job)
    steps = [line for line in read_metrics(job.output / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in steps if "skipped" in line] == [30, 36]
    assert "more than 6 deviations" in steps[29]["skipped"]
    assert steps[29]["mix"] == {"agent": 0, "noise": 2}
    assert steps[29]["loss"] > 2 * steps[28]["loss"]
    assert steps[30]["loss"] == pytest.approx(steps[28]["loss"], rel=0.3)
    assert (summary["skipped_steps"], summary["rewinds"], summary["rewound_steps"]) == (2, 0, 0)
    assert summary["loss"] < 1.5 * steps[28]["loss"]


def test_a_streak_goes_back_to_the_checkpoint_and_on_with_the_data(poisoned_job: Callable[..., TrainingJob]) -> None:
    job = poisoned_job("run", [26, 27, 30, 31, 32])
    summary = train(job)
    lines = read_metrics(job.output / "metrics.jsonl")
    assert [line for line in lines if "rewound_to" in line] == [{"step": 32, "rewound_to": 28}]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 41))
    assert sorted(path.name for path in (job.work / "checkpoints").iterdir()) == ["step-00000036", "step-00000040"]
    assert (summary["skipped_steps"], summary["rewinds"], summary["rewound_steps"]) == (5, 1, 1)
    assert summary["heldout"]["agent"]["loss"] < 0.5 * summary["heldout_before"]["agent"]["loss"]


@pytest.mark.parametrize("stage", [0, 2, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_interruptions_change_nothing_of_skips_and_rewinds(
    poisoned_job: Callable[..., TrainingJob], stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [5, 26, 27, 30, 31, 32]
    whole, job = (poisoned_job(name, bad, zero_stage=stage, guard={"window": 8}) for name in ("whole", "interrupted"))
    train(whole)
    for at in (20, 27, 31, 34):
        with pytest.raises(KeyboardInterrupt):
            interrupted_at(job, at, monkeypatch)
        assert at <= read_metrics(job.metrics)[-1]["step"] < 40
    train(job)
    for name in ("metrics.jsonl", "summary.json", "loss.png", "model/model.safetensors"):
        assert (job.output / name).read_bytes() == (whole.output / name).read_bytes(), name
    assert json.loads(job.timing.read_text())["attempts"] == 5
    assert json.loads(job.timing.read_text())["seconds"] > sum(line.get("seconds", 0) for line in read_metrics(job.metrics))


def interrupted_at(job: TrainingJob, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the metrics have a step, and interrupt the process there."""
    write = MetricsFile.write

    def write_and_interrupt(self: MetricsFile, values: dict[str, Any]) -> None:
        write(self, values)
        if values["step"] == step and "loss" in values:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "write", write_and_interrupt)
        train(job)


def test_too_many_rewinds_or_none_possible_end_the_run(poisoned_job: Callable[..., TrainingJob]) -> None:
    job = poisoned_job("often", range(30, 41), guard={"max_rewinds": 1})
    with pytest.raises(FloatingPointError, match=r"step 35: 3 steps in a row .* gone back to a checkpoint 1 times; lower"):
        train(job)
    assert sorted(path.name for path in (job.work / "checkpoints").iterdir()) == ["step-00000018", "step-00000027"]
    assert not job.output.exists()
    with pytest.raises(FloatingPointError, match="there is no checkpoint yet"):
        train(poisoned_job("never", range(30, 41), checkpoint_every=100))


def test_a_diverging_run_never_saves_weights_that_are_not_finite(poisoned_job: Callable[..., TrainingJob]) -> None:
    job = poisoned_job("run", [30], learning_rate=1e38, warmup_share=0.0, checkpoint_every=1)
    with pytest.raises(FloatingPointError, match=r"not finite|no update"):
        train(job)
    for path in (job.work / "checkpoints").rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(path).values())
