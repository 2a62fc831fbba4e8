"""Whether this machine has the GPUs that a recipe's steps are to run on, asked before anything runs."""

import subprocess
import sys
from collections.abc import Container
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from hephaestus_dag.artifacts import Store
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.store_location import mirror

if TYPE_CHECKING:
    from hephaestus_dag.definitions import Lineage

_COUNT = """
import ctypes
count = ctypes.c_int(0)
try:
    driver = ctypes.CDLL("libcuda.so.1")
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
except OSError:
    failed = True
print(0 if failed else count.value)
"""


@cache
def num_gpus() -> int:
    """Return how many GPUs a program sees here; ``CUDA_VISIBLE_DEVICES`` counts.

    The driver is asked in a process of its own, in a twentieth of a second: no library is loaded for it, and a process that
    has asked could not fork any more.
    """
    asked = subprocess.run([sys.executable, "-I", "-S", "-c", _COUNT], capture_output=True, text=True, check=True)
    return int(asked.stdout)


def missing_gpus(recipe: Recipe) -> str:
    """Return why this machine cannot run what a recipe puts on GPUs, with the remedy; empty where it can.

    Where others launch the training jobs (hosts, Slurm, Ray, Kubernetes), their machines have the GPUs: nothing is missing.
    """
    launcher = recipe.execution.launcher
    if not launcher.num_gpus or launcher.launched_by != "local":
        return ""
    if (here := num_gpus()) < launcher.num_gpus:
        has = f"{here} GPU{'s' * (here != 1)}" if here else "no GPU"
        fewer = f"set it (and num_processes) to {here}, or " if here else ""
        return (
            f"this machine has {has}: execution.launcher.num_gpus is {launcher.num_gpus}; run it on a machine that has them, "
            f"{fewer}set num_gpus to 0 for the CPU, or launch elsewhere: execution.launcher.kind"
        )
    if (torch := metadata.version("torch")).endswith("+cpu"):
        return f"the torch that is installed, {torch}, is built for CPUs only: install the one of the package index instead"
    return ""


def check_gpus(lineage: "Lineage", pages: Container[str], root: Path) -> None:
    """Raise ValueError when a run of some pages of the graph would come to a step that this machine has no GPU for.

    What is finished in the store needs none: data that were made elsewhere can be worked on here.
    """
    if problem := missing_gpus(lineage.recipe):
        mirror(root)
        store = Store(root)
        needing = [
            asset.key
            for asset in lineage.assets.values()
            if asset.trains and asset.page in pages and not store.path(lineage.identity(asset.key)).exists()
        ]
        if needing:
            more = f" and {len(needing) - 3} more" if len(needing) > 3 else ""
            raise ValueError(f"{problem}. {', '.join(needing[:3])}{more} need it; nothing was run")
