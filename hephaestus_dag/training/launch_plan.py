"""What a training job needs to be launched, wherever that happens."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hephaestus_dag.training import failures, orphans, pulse
from hephaestus_dag.training.config import Placement
from hephaestus_dag.training.job import TrainingJob

WORKER = "hephaestus_dag.training.worker"

KEEP_MEMORY = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1"
"""Lets a process keep the memory that it frees: every step needs as much again, and on a CPU fresh pages cost real time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """What has to run. Where and how is a launcher's matter: it starts ``argv`` ``num_processes`` times.

    They are spread evenly over ``num_nodes`` machines that see the same folders. When there are several processes, RANK,
    LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are the launcher's to set, as torchrun does.
    """

    title: str
    argv: tuple[str, ...]
    """The command of one process; its first word is this Python."""
    env: Mapping[str, str]
    """Variables on top of those of the launching process."""
    work: Path
    """The folder that the processes start in, and that the files to follow are in."""
    num_processes: int = 1
    num_gpus: int = 0
    threads: int = 1
    """CPU threads of each process."""
    nodes: int = 1
    """Machines that share the job, where they are not named."""
    hosts: tuple[str, ...] = ()
    """The machines, where the recipe names them."""
    rendezvous_port: int = 29_400
    restarts: int = 0
    """Times that the job is started again after a process died."""

    later: tuple[Path, ...] = ()
    """Work folders of the jobs that the same processes run after the first one."""

    @property
    def metrics(self) -> tuple[Path, ...]:
        """The files that rank 0 appends its metrics to, one for each job."""
        return tuple(work / "metrics.jsonl" for work in (self.work, *self.later))

    @property
    def log(self) -> Path:
        """The file for what the processes print."""
        return self.work / "worker.log"

    @property
    def launched(self) -> Path:
        """The file that says which job of a scheduler runs the plan."""
        return self.work / "launched.json"

    @property
    def failures(self) -> Path:
        """The folder where a process that fails leaves the reason; emptied before each start."""
        return self.work / "failures"

    @property
    def num_nodes(self) -> int:
        """Machines that share the job."""
        return len(self.hosts) or self.nodes

    @property
    def pulses(self) -> Path:
        """The folder of the processes' signs of life; emptied before each start."""
        return self.work / "pulses"


def plan_launch(job: TrainingJob, placement: Placement, *later: TrainingJob) -> LaunchPlan:
    """Write the job into its work folder and return what to start: no more processes than a step has sequences.

    The same processes run the jobs ``later``, of the same global batch, one after the other. Raises ValueError when the
    global batch cannot be divided among the processes.
    """
    placement = placement.for_batch(job.config.global_batch_sequences)
    job.config.micro_batches(placement.num_processes)
    paths = [each.work / "job.json" for each in (job, *later)]
    for each, path in zip((job, *later), paths, strict=True):
        each.write(path)
    on_one_machine = placement.num_processes // placement.num_nodes
    threads = placement.threads or max(1, (os.cpu_count() or 1) // on_one_machine)
    root = str(Path(__file__).parents[2])
    env = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TOKENIZERS_PARALLELISM": "false",
        "DS_ACCELERATOR": "cuda" if placement.num_gpus else "cpu",
        orphans.VARIABLE: "1",
        failures.VARIABLE: str((job.work / "failures").absolute()),
        pulse.VARIABLE: str((job.work / "pulses").absolute()),
    }
    if not placement.num_gpus:
        env |= {"CUDA_VISIBLE_DEVICES": "", "GLIBC_TUNABLES": KEEP_MEMORY}
        if placement.num_nodes == 1 and not placement.hosts:
            env["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    return LaunchPlan(
        title=job.title,
        argv=(sys.executable, "-m", WORKER, *(str(path.absolute()) for path in paths)),
        env=env,
        work=job.work,
        later=tuple(each.work for each in later),
        num_processes=placement.num_processes,
        num_gpus=placement.num_gpus,
        threads=threads,
        nodes=placement.nodes,
        hosts=placement.hosts,
        rendezvous_port=placement.rendezvous_port,
        restarts=placement.restarts,
    )
