"""Cells: their branches, answers, failures, and how many train at once."""

import json
import math
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sweep_plans import rung, sweep_config

from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.scaling.answers import write_answers
from hephaestus_dag.scaling.branches import branch_jobs, keep_branches, run_branches
from hephaestus_dag.scaling.gather import gather_runs
from hephaestus_dag.scaling.runs import read_runs
from hephaestus_dag.scaling.slots import slot
from hephaestus_dag.scaling.sweep import Cell, plan_sweep
from hephaestus_dag.training.attempts import TrainingFailedError
from hephaestus_dag.training.config import ModelShape, TrainingConfig
from hephaestus_dag.training.job import TrainingJob
from resources.launcher import LocalLauncher
from resources.trainer import DeepSpeedTrainer
from tests.training.conftest import LENGTH, Corpus, corpus  # noqa: F401

PROXY = TrainingConfig(
    global_batch_sequences=4, micro_batch_sequences=4, learning_rate=1.0, decay_share=0.25, evaluate_tokens=256
)
Shared = dict[str, object]


def cell(**changes: object) -> Cell:
    config = sweep_config(
        budgets=[16 * LENGTH, 32 * LENGTH],
        budgets_per_parameter=None,
        batch={"reference_sequences": 4, "reference_params": 1, "exponent": 0, "maximum": 4},
        ladder=[rung("0.1M", 32), rung("0.2M", 64), rung("0.4M", 128)],
        **changes,
    )
    return plan_sweep(config)[0]


@pytest.fixture
def shared(corpus: Corpus) -> Shared:  # noqa: F811
    """What the jobs of a cell have in common."""
    mixture = corpus.folder / "cell"
    if not mixture.exists():
        corpus.mixture("cell", 32, agent=0.25, text=0.75)
    return {
        "title": "proxy_runs/x",
        "model": ModelShape(max_position_embeddings=LENGTH, **cell().rung.model_dump(exclude={"name"})),
        "tokenizer": corpus.tokenizer,
        "mixture": mixture,
        "stores": (corpus.store,),
        "heldout": {domain: (corpus.store, f"{domain}.heldout") for domain in ("agent", "text")},
    }


def launch(jobs: Sequence[TrainingJob]) -> None:
    """Run them as the asset does; every job's metrics must arrive as that job's."""
    last: dict[Path, int] = {}
    trainer = DeepSpeedTrainer(launcher=LocalLauncher(), threads=1, restarts=0)
    trainer.train_in_turn(jobs, lambda line: None, lambda job, metrics: last.update({job.work: metrics["step"]}))
    assert last == {job.work: job.config.steps for job in jobs}


@pytest.mark.slow
def test_a_cell_gives_a_row_for_each_budget(shared: Shared, tmp_path: Path) -> None:
    given = cell()
    jobs = branch_jobs(shared, given.branches(PROXY, LENGTH), tmp_path / "work")
    assert run_branches(jobs, launch) == {}
    assert run_branches(jobs, lambda waiting: pytest.fail("finished branches are not run again")) == {}
    folder = tmp_path / "out"
    folder.mkdir()
    rows = keep_branches(jobs, {}, folder)
    assert [(row["tokens"], row["steps"], row["status"]) for row in rows] == [(512, 4, "ok"), (1024, 8, "ok")]
    assert rows[0]["shares"] == {"agent": 0.25, "text": 0.75}
    assert {path.name for path in folder.iterdir()} == {"512", "1024", "model", "loss.png", "branches.json"}
    runs = gather_runs([given], [folder], [Path(str(shared["stores"][0]))], tmp_path / "runs.parquet")  # pyright: ignore[reportIndexIssue]
    found = read_runs(tmp_path / "runs.parquet")
    assert [run.cell for run in found] == [f"{given.name}-512", f"{given.name}-1024"] == [run.cell for run in runs]
    assert found[0].losses["agent"] != found[1].losses["agent"]
    assert found[0].shares == {"agent": 0.25, "code": 0.0, "text": 0.75}


@pytest.mark.slow
def test_a_cell_that_diverges_is_kept_with_its_reason_and_stops_nothing(shared: Shared, tmp_path: Path) -> None:
    wild = PROXY.model_copy(update={"clip": 1e30, "weight_decay": 0.0})
    given = cell(
        learning_rate={"reference_rate": 1e30, "reference_params": 1, "exponent": 0, "maximum": 1e30}, max_warmup_share=0
    )
    jobs = branch_jobs(shared, given.branches(wild, LENGTH), tmp_path / "work")
    diverged = run_branches(jobs, launch)
    assert set(diverged) == {job.work for job in jobs}
    folder = tmp_path / "out"
    folder.mkdir()
    rows = keep_branches(jobs, diverged, folder)
    assert all(row["status"].startswith("diverged: step ") and row["losses"] == {} for row in rows)
    (run, _) = gather_runs([given], [folder], [], tmp_path / "runs.parquet")
    assert (run.tokens, run.status) == (512, rows[0]["status"])


def test_another_failure_than_divergence_is_raised(shared: Shared, tmp_path: Path) -> None:
    jobs = branch_jobs(shared, cell().branches(PROXY, LENGTH), tmp_path / "work")

    def full_disk(waiting: Sequence[TrainingJob]) -> None:
        raise TrainingFailedError("x failed: OSError: no space left")

    with pytest.raises(TrainingFailedError, match="no space"):
        run_branches(jobs, full_disk)


def items(folder: Path, references: dict[str, str], prompt: str = "what is open?") -> Path:
    rows = [
        {
            "item_id": name,
            "category": name.split("_")[0],
            "prompt": json.dumps([{"role": "user", "content": prompt}]),
            "reference": text,
        }
        for name, text in references.items()
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    return folder


def answers_in(store: Path, tokenizer: Path, length: int) -> list[tuple[str, str]]:
    """(what stands before, what is scored) of each window, read as training reads it."""
    from transformers import AutoTokenizer

    decode = AutoTokenizer.from_pretrained(tokenizer).decode
    tokens, mask = TokenStore(store).windows("benchmark.heldout", length, 99)
    assert mask is not None
    found = []
    for row, counted in zip(tokens, mask, strict=True):
        at = np.flatnonzero(counted) + 1
        assert (np.diff(at) == 1).all()
        found.append((decode(row[: at[0]]), decode(row[at])))
    return found


def test_answers_are_scored_whole_and_given_the_end_of_their_prompts(corpus: Corpus, tmp_path: Path) -> None:  # noqa: F811
    folder = items(tmp_path / "items", {"a_1": "open(1)", "a_2": "x" * 99, "b_1": "close(two=2)", "c_1": ""})
    settings = {"domain": "benchmark", "per_category": 9, "seed": 0}
    told = write_answers(folder, corpus.tokenizer, tmp_path / "s", sequence_length=16, **settings)  # pyright: ignore[reportArgumentType]
    assert (told["answers"], told["left out, too long"], told["bytes"]) == (2, 1, len("open(1)close(two=2)"))
    assert told["categories"] == {"a": 1, "b": 1}
    assert told["with the beginning of the prompt cut off"] == 2
    assert answers_in(tmp_path / "s", corpus.tokenizer, 16) == [(" is open?", "open(1)"), ("pen?", "close(two=2)")]
    with pytest.raises(ValueError, match="no reference answer fits"):
        write_answers(folder, corpus.tokenizer, tmp_path / "t", sequence_length=4, **settings)  # pyright: ignore[reportArgumentType]


def hold(folder: Path, count: int, log: Path, seconds: float) -> None:
    with slot(folder, count), log.open("a") as file:
        file.write(f"+{time.monotonic()}\n")
        file.flush()
        time.sleep(seconds)
        file.write(f"-{time.monotonic()}\n")


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_hold_a_slot_at_once_than_there_are(count: int, tmp_path: Path) -> None:
    run = multiprocessing.get_context("fork").Process
    holders = [run(target=hold, args=(tmp_path, count, tmp_path / f"{n}.log", 0.3)) for n in range(4)]
    for holder in holders:
        holder.start()
    for holder in holders:
        holder.join()
    events = sorted(
        (float(line[1:]), 1 if line[0] == "+" else -1)
        for n in range(4)
        for line in (tmp_path / f"{n}.log").read_text().splitlines()
    )
    assert len(events) == 8
    held = np.cumsum([change for _, change in events])
    assert held.max() == count


def test_a_killed_process_frees_its_slot(tmp_path: Path) -> None:
    holder = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path, 1, tmp_path / "log", 60))
    holder.start()
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    holder.kill()
    holder.join()
    with slot(tmp_path, 1) as number:
        assert number == 0


@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_divergence(shared: Shared, tmp_path: Path, spoilt: float) -> None:
    job = branch_jobs(shared, cell().branches(PROXY, LENGTH)[:1], tmp_path / "work")[0]
    for name, text in {"loss.png": "", "metrics.jsonl": "", "model/README.md": ""}.items():
        (job.output / name).parent.mkdir(parents=True, exist_ok=True)
        (job.output / name).write_text(text)
    scores = {"agent": {"bits_per_byte": spoilt}, "text": {"bits_per_byte": 1.0}}
    (job.output / "summary.json").write_text(json.dumps({"heldout": scores}))
    (tmp_path / "out").mkdir()
    (row,) = keep_branches([job], {}, tmp_path / "out")
    assert row["status"] == f"diverged: the held-out loss of agent is {spoilt}"
    assert row["losses"] == {}
