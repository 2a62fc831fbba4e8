"""The sandboxes of AgentBench's OS task: which root file system, and how much one item may take."""

from pydantic import Field

from hephaestus_dag.config import Config
from hephaestus_dag.evaluation.benchmark_files import CheckoutPath


class OsConfig(Config):
    """A machine for each item: overlay on a root folder, without network, in namespaces of its own."""

    root: CheckoutPath | None = Field(
        default=None,
        description="root file system that `python -m hephaestus_dag.evaluation.agentbench.os_root` made; null: not run",
    )
    command_seconds: float = Field(default=60.0, gt=0, description="most seconds of one command; the item fails then")
    cpu_seconds: int = Field(default=120, ge=1, description="most seconds of processor time of one process")
    memory_mebibytes: int = Field(default=1024, ge=64, description="most MiB of memory of an item's processes together")
    disk_mebibytes: int = Field(default=256, ge=16, description="most MiB that an item's files take, which lie in memory")
    processes: int = Field(default=256, ge=8, description="most processes of an item at once")
    output_mebibytes: int = Field(default=16, ge=1, description="most MiB that one command prints; the item fails then")
