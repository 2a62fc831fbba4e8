from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hephaestus_dag.training.config import LauncherConfig, ModelShape, Placement, TrainingConfig
from hephaestus_dag.training.job import TrainingJob


def config(**given: Any) -> TrainingConfig:
    return TrainingConfig(**{"global_batch_sequences": 8, "micro_batch_sequences": 4, "learning_rate": 1e-3, **given})


def test_a_job_survives_json(make_job: Callable[..., TrainingJob], tmp_path: Path) -> None:
    for model in (make_job().model, tmp_path):
        job = make_job(model=model)
        job.write(tmp_path / "job.json")
        assert TrainingJob.read(tmp_path / "job.json") == job
        assert type(TrainingJob.read(tmp_path / "job.json").model) is type(model)


def test_micro_batches_cover_the_global_batch() -> None:
    assert config().micro_batches(1) == (4, 2)
    assert config().micro_batches(2) == (4, 1)
    assert config().micro_batches(8) == (1, 1)
    with pytest.raises(ValueError, match="multiple of 12"):
        config().micro_batches(3)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"warmup_share": 0.9}, "warmup_share"), ({"betas": (0.9, 1.0)}, "betas"), ({"zero_stage": 4}, "zero_stage")],
)
def test_impossible_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**given)


def test_impossible_shapes_and_placements_are_refused() -> None:
    shape = {"hidden_size": 32, "layers": 1, "heads": 4, "kv_heads": 2, "intermediate_size": 8, "max_position_embeddings": 8}
    with pytest.raises(ValidationError, match="kv_heads"):
        ModelShape(**{**shape, "kv_heads": 3})
    with pytest.raises(ValidationError, match="hidden_size"):
        ModelShape(**{**shape, "hidden_size": 36})
    with pytest.raises(ValidationError, match="num_gpus"):
        LauncherConfig(num_processes=2, num_gpus=1)


@pytest.mark.parametrize(
    ("sequences", "processes", "hosts"),
    [(256, 128, 16), (128, 128, 16), (100, 5, 1), (64, 64, 8), (24, 24, 3), (16, 16, 2), (12, 6, 1), (7, 7, 1), (1, 1, 1)],
)
def test_a_step_of_few_sequences_takes_few_processes_on_whole_hosts(sequences: int, processes: int, hosts: int) -> None:
    names = tuple(f"node{number}" for number in range(16))
    placed = LauncherConfig(num_processes=128, num_gpus=128, hosts=names).for_batch(sequences)
    assert (placed.num_processes, placed.num_gpus, placed.hosts) == (processes, processes, names[:hosts])
    assert LauncherConfig.model_validate(placed.model_dump()) == placed
    assert config(global_batch_sequences=sequences, micro_batch_sequences=1).micro_batches(processes)


@pytest.mark.parametrize("nodes", [1, 2, 16])
def test_unnamed_nodes_are_shared_like_hosts(nodes: int) -> None:
    placed = Placement(num_processes=8 * nodes, nodes=nodes).for_batch(8)
    assert (placed.num_processes, placed.num_nodes) == (8, 1)
    assert Placement(num_processes=8 * nodes, nodes=nodes).for_batch(10**6).num_nodes == nodes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "slurm"}, "say how many threads"),
        ({"kind": "ray", "threads": 1, "hosts": ("a",)}, "hosts are for kind hosts, not ray"),
        ({"kind": "hosts"}, "kind hosts needs hosts"),
        ({"num_processes": 2, "nodes": 2}, "set kind to slurm, ray or kubernetes"),
        ({"kind": "kubernetes", "threads": 1}, "needs the section kubernetes, with image and claim"),
        ({"kind": "slurm", "threads": 1, "num_processes": 3, "nodes": 2}, "must be a multiple of the 2 nodes"),
        ({"kind": "slurm", "threads": 1, "slurm": {"options": ["exclusive"]}}, "'exclusive' is no option of sbatch"),
        ({"kind": "slurm", "threads": 1, "slurm": {"time_limit": "soon"}}, "time_limit"),
        ({"kubernetes": {"image": "i", "claim": "c", "mount_path": "store"}}, "'store' must be an absolute path"),
        ({"kubernetes": {"image": "i", "claim": "c", "pod": {"containers": []}}}, "containers: the launcher sets these"),
    ],
)
def test_launchers_that_cannot_work_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LauncherConfig.model_validate(given)
