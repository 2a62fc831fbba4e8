"""A job that is interrupted goes on with another number of processes, at every ZeRO stage."""

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.metrics import read_metrics
from tests.training.conftest import Corpus

MakeJob = Callable[..., TrainingJob]


def run(job: TrainingJob, processes: int, largest_file_of_first: int = resource.RLIM_INFINITY) -> None:
    path = job.work / "job.json"
    job.write(path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    placed = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_of_first, resource.RLIM_INFINITY))

    started = [
        subprocess.Popen(
            [sys.executable, "-m", "hephaestus_dag.training.worker", str(path)],
            env={**os.environ, **shared, **placed, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            preexec_fn=None if rank else limit,
        )
        for rank in range(processes)
    ]
    assert [process.wait() for process in started] == [0] * processes


def losses(job: TrainingJob) -> list[float]:
    return [line["loss"] for line in read_metrics(job.metrics) if "loss" in line]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "placement",
    [
        {"zero_stage": 0},
        {"zero_stage": 2, "offload_optimizer": True},
        {"zero_stage": 2, "dtype": "bfloat16"},
        {"zero_stage": 3, "offload_optimizer": True},
    ],
    ids=lambda placement: "-".join(map(str, placement.values())),
)
def test_any_number_of_processes_takes_up_a_checkpoint(make_job: MakeJob, placement: dict[str, Any]) -> None:
    found = {}
    for first in (1, 2):
        job = make_job(name=f"first{first}", checkpoint_every=4, **placement)
        run(job, first)
        found[first] = losses(job)
        shutil.rmtree(job.work / "checkpoints" / "step-00000012")
        run(job, 3 - first)
        found[f"{first} resumed"] = losses(job)
    for course in found.values():
        assert course == pytest.approx(found[1], rel=1e-2 if "dtype" in placement else 1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_processes_agree_on_skips_rewinds_and_failed_checkpoints(make_job: MakeJob, corpus: Corpus, stage: int) -> None:
    bad = [28, 34, 35, 36]
    mixture = corpus.poisoned(f"poisoned-for-{stage}", 40, 2, bad)
    heldout = {"agent": (corpus.store, "agent.heldout")}
    settings = {"global_batch_sequences": 2, "micro_batch_sequences": 1, "checkpoint_every": 10, "guard": {"window": 16}}
    job = make_job(mixture=mixture, heldout=heldout, zero_stage=stage, evaluate_every=0, **settings)
    run(job, 2)
    lines = read_metrics(job.output / "metrics.jsonl")
    assert [line["step"] for line in lines if "skipped" in line] == bad
    assert [line for line in lines if "rewound_to" in line] == [{"step": 36, "rewound_to": 30}]

    refused = make_job(name="refused", mixture=mixture, heldout=heldout, zero_stage=stage, evaluate_every=0, **settings)
    shutil.copytree(job.work, refused.work)
    shutil.rmtree(refused.work / "checkpoints" / "step-00000040")
    run(refused, 2, largest_file_of_first=300_000)
    assert read_metrics(refused.metrics)[-1] == {"step": 40, "checkpoint_failed": "File too large"}
    model = "model/model.safetensors"
    assert (refused.output / model).read_bytes() == (job.output / model).read_bytes()
