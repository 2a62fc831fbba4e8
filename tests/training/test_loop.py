import fcntl
import json
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.loop import train
from hephaestus_dag.training.metrics import read_metrics
from hephaestus_dag.training.output import CLOCK
from tests.training.conftest import LENGTH, SHAPE, Corpus

MakeJob = Callable[..., TrainingJob]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def weights(job: TrainingJob) -> dict[str, torch.Tensor]:
    return load_file(job.output / "model" / "model.safetensors")


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: line[key] for key in line if key not in CLOCK} for line in lines]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_loss_falls_and_the_output_is_complete(make_job: MakeJob) -> None:
    job = make_job()
    summary = train(job)
    assert summary == json.loads((job.output / "summary.json").read_text())
    assert summary["steps"] == 12
    for domain in ("agent", "text"):
        assert summary["heldout"][domain]["loss"] < 0.7 * summary["heldout_before"][domain]["loss"]
    assert summary["mix"] == {"agent": 24 * LENGTH, "text": 24 * LENGTH}
    assert (summary["skipped_steps"], summary["rewinds"], summary["rewound_steps"]) == (0, 0, 0)
    lines = read_metrics(job.output / "metrics.jsonl")
    assert not any(line.keys() & set(CLOCK) for line in lines)
    assert [line["step"] for line in lines if "heldout" in line] == [0, 6, 12]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))
    assert lines[-2]["tokens"] == 48 * LENGTH
    assert (job.output / "loss.png").stat().st_size < 100_000


def test_time_is_told_apart_from_the_output(make_job: MakeJob) -> None:
    job = make_job()
    summary = train(job)
    timing = json.loads(job.timing.read_text())
    steps = [line for line in read_metrics(job.metrics) if "loss" in line]
    assert all(set(CLOCK) <= line.keys() for line in steps)
    assert timing["tokens_per_second"] == median(line["tokens_per_second"] for line in steps)
    expected = timing["tokens_per_second"] * summary["flops_per_token"] / timing["peak_flops"]
    assert timing["mfu"] == pytest.approx(expected, abs=2e-4)
    assert 0 < timing["mfu"] < 1
    assert "threads" in timing["peak_from"]
    assert (timing["world_size"], timing["device"], timing["attempts"]) == (1, "cpu", 1)
    assert timing["seconds"] > sum(line["seconds"] for line in steps)
    shutil.rmtree(job.work / "checkpoints")
    train(job)  # All of the first attempt is lost work now, and counted.
    again = json.loads(job.timing.read_text())
    assert again["attempts"] == 2
    assert again["seconds"] > 2 * sum(line["seconds"] for line in steps)


def test_the_loss_in_the_metrics_is_the_cross_entropy_without_the_z_term(make_job: MakeJob) -> None:
    plain, squeezed = make_job(name="plain"), make_job(name="squeezed", z_loss=0.1)
    for job in (plain, squeezed):
        train(job)
    first, second = ([line["loss"] for line in read_metrics(job.metrics) if "loss" in line] for job in (plain, squeezed))
    assert first[0] == second[0]
    assert first[1:] != second[1:]


def test_heldout_loss_is_that_of_the_exported_model(make_job: MakeJob, corpus: Corpus) -> None:
    job = make_job()
    summary = train(job)
    model = AutoModelForCausalLM.from_pretrained(job.output / "model").eval()
    tokens = np.fromfile(corpus.store / "streams" / "text.heldout.bin", "<u2").astype(np.int64)[: 256 + 1]
    windows = torch.from_numpy(np.lib.stride_tricks.sliding_window_view(tokens, LENGTH + 1)[::LENGTH].copy())
    with torch.no_grad():
        nats = F.cross_entropy(model(windows[:, :-1]).logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="sum").item()
    text = bytes(_spell(tokens[1:])).decode(errors="replace")
    assert summary["heldout"]["text"]["loss"] == pytest.approx(nats / 256, rel=1e-5)
    assert summary["heldout"]["text"]["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-5)


def _spell(tokens: np.ndarray) -> list[int]:
    """The bytes of the test tokenizer's entries; special tokens spell nothing."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    byte_of = {chr(b): b for b in visible} | {chr(256 + index): b for index, b in enumerate(hidden)}
    return [byte_of[letters[token]] for token in tokens if token < 256]


def test_the_first_loss_of_masked_data_is_the_mean_over_masked_targets(make_job: MakeJob, corpus: Corpus) -> None:
    mixture = corpus.mixture("instruction", 8, instruction=1.0)
    source = make_job(name="source")
    train(source)
    job = make_job(name="masked", model=source.output / "model", mixture=mixture, micro_batch_sequences=1)
    train(job)
    model = AutoModelForCausalLM.from_pretrained(source.output / "model").eval()
    batch = MixtureLoader(mixture, [corpus.store]).batch(0, 4)
    assert batch.mask is not None
    tokens, mask = torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask).bool()
    with torch.no_grad():
        expected = F.cross_entropy(model(tokens[:, :-1]).logits[mask], tokens[:, 1:][mask]).item()
    assert read_metrics(job.metrics)[1]["loss"] == pytest.approx(expected, rel=1e-5)


def test_gradient_accumulation_changes_nothing_but_rounding(make_job: MakeJob) -> None:
    losses = []
    for micro in (4, 1):
        job = make_job(name=f"micro{micro}", micro_batch_sequences=micro)
        train(job)
        losses.append([line["loss"] for line in read_metrics(job.metrics) if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("damage", [None, "checkpoint"])
def test_resuming_gives_the_same_weights_to_the_bit(
    make_job: MakeJob, damage: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job()
    train(job)
    whole, lines = weights(job), read_metrics(job.metrics)
    shutil.rmtree(job.output)
    newest = job.work / "checkpoints" / "step-00000012"
    if damage:
        path = next((newest / "state").iterdir())
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        shutil.rmtree(newest)
        with job.metrics.open("a") as file:
            file.write('{"step": 13, "lo')
    with caplog.at_level(logging.INFO):
        train(job)
    assert "from step 8" in caplog.text
    assert ("damaged" in caplog.text) == bool(damage)
    assert same(weights(job), whole)
    assert timeless(read_metrics(job.metrics)) == timeless(lines)


def test_a_start_over_before_the_first_checkpoint_leaves_no_trace(make_job: MakeJob) -> None:
    undisturbed, restarted = make_job(name="same"), make_job(name="again", title="same")
    train(undisturbed)
    restarted.metrics.parent.mkdir(parents=True)
    first_lines = undisturbed.metrics.read_text().splitlines(keepends=True)[:3]
    restarted.metrics.write_text("".join(first_lines) + '{"step": 3, "los')
    train(restarted)
    for name in ("metrics.jsonl", "summary.json", "loss.png"):
        assert (restarted.output / name).read_bytes() == (undisturbed.output / name).read_bytes()


def test_a_finished_job_only_writes_its_output_again(make_job: MakeJob) -> None:
    job = make_job()
    first = train(job)
    whole = {path.name: path.read_bytes() for path in sorted(job.output.rglob("*")) if path.is_file()}
    shutil.rmtree(job.output)
    assert train(job) == first
    assert {path.name: path.read_bytes() for path in sorted(job.output.rglob("*")) if path.is_file()} == whole


@pytest.mark.parametrize(
    ("stage", "dtype", "offload"),
    [
        (0, "bfloat16", False),
        (2, "float32", False),
        pytest.param(1, "bfloat16", False, marks=pytest.mark.slow),
        pytest.param(3, "float32", False, marks=pytest.mark.slow),
        pytest.param(3, "bfloat16", False, marks=pytest.mark.slow),
        pytest.param(1, "float32", True, marks=pytest.mark.slow),
        pytest.param(2, "float32", True, marks=pytest.mark.slow),
        pytest.param(3, "float32", True, marks=pytest.mark.slow),
        pytest.param(2, "bfloat16", True, marks=pytest.mark.slow),
    ],
)
def test_stages_and_types_follow_the_plain_run(make_job: MakeJob, stage: int, dtype: str, offload: bool) -> None:
    plain = make_job(name="plain")
    other = make_job(name="other", zero_stage=stage, dtype=dtype, offload_optimizer=offload)
    train(plain)
    summary = train(other)
    expected = [line["loss"] for line in read_metrics(plain.metrics) if "loss" in line]
    found = [line["loss"] for line in read_metrics(other.metrics) if "loss" in line]
    assert found == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 0.03)
    assert weights(other).keys() == weights(plain).keys()
    assert summary["parameters"] == {"total": 26_912, "non_embedding": 18_592}
    whole = weights(other)
    shutil.rmtree(other.work / "checkpoints" / "step-00000012")
    train(other)
    assert same(weights(other), whole)


def test_a_loss_that_is_not_finite_stops_the_job(make_job: MakeJob) -> None:
    source = make_job(name="source")
    train(source)
    path = source.output / "model" / "model.safetensors"
    broken = load_file(path)
    broken["model.norm.weight"][0] = float("nan")
    from safetensors.torch import save_file

    save_file(broken, path, metadata={"format": "pt"})
    with pytest.raises(FloatingPointError, match="step 0: the held-out loss of agent is nan"):
        train(make_job(name="broken", model=source.output / "model"))
    broken = make_job(name="blind", model=source.output / "model", heldout={})
    with pytest.raises(FloatingPointError, match=r"step 3: 3 steps in a row made no update, and there is no checkpoint yet"):
        train(broken)
    assert [line.get("skipped") for line in read_metrics(broken.metrics)] == [None, *["the loss is nan"] * 3]
    assert not list((broken.work / "checkpoints").glob("step-*"))


def test_jobs_that_cannot_run_are_refused_before_any_work(make_job: MakeJob, corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="global batch of 100"):
        train(make_job(name="batch", global_batch_sequences=100))
    with pytest.raises(ValueError, match=r"heldout\.code"):
        train(make_job(name="heldout", heldout={"code": (corpus.store, "code.heldout")}))
    taken = make_job(name="taken")
    train(taken)
    with (taken.work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"another process is training in .*taken/work; wait"):
            train(taken)
    with pytest.raises(ValueError, match="another job"):
        train(make_job(name="taken", learning_rate=0.02))


def test_a_fresh_shape_must_not_depend_on_what_was_trained_before(make_job: MakeJob, tmp_path: Path) -> None:
    first, second = make_job(name="first"), make_job(name="second")
    train(first)
    train(make_job(name="between", model=SHAPE.model_copy(update={"layers": 1})))
    train(second)
    assert same(weights(first), weights(second))
