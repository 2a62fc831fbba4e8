"""Whether this machine has what it takes to hand a recipe's work to other machines, asked before anything runs."""

import shutil
from collections.abc import Container
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hephaestus_dag.artifacts import Store
from hephaestus_dag.recipe import ExecutionConfig
from hephaestus_dag.store_location import mirror

if TYPE_CHECKING:
    from hephaestus_dag.definitions import Lineage

LAUNCHING = ("scaling_law", "training")
"""Groups whose training jobs go to the launcher; everything else goes to the compute engine."""


def missing_launcher(execution: ExecutionConfig) -> str:
    """Return why training jobs cannot be handed over from here, with the remedy; empty where they can."""
    launcher, missing = execution.launcher, ""
    match launcher.launched_by:
        case "slurm" if not shutil.which(program := "ssh" if launcher.slurm.login else "sbatch"):
            missing = f"needs {program}, which is not on this machine's PATH: run where it is"
            missing += "" if launcher.slurm.login else ", or name a login node as execution.launcher.slurm.login"
        case "ray" if not find_spec("ray"):
            missing = "needs Ray, which is not installed: pip install 'hephaestus-dag[ray]'"
        case "kubernetes" if not find_spec("kubernetes"):
            missing = "needs the Kubernetes client, which is not installed: pip install 'hephaestus-dag[kubernetes]'"
    return missing and f"execution.launcher.kind {launcher.launched_by} {missing}"


def missing_engine(execution: ExecutionConfig) -> str:
    """Return why data steps cannot run from here, with the remedy; empty where they can."""
    if execution.compute.engine == "ray" and not find_spec("ray"):
        ray = "Ray, which is not installed: pip install 'hephaestus-dag[ray]', or set it to local"
        return f"execution.compute.engine ray needs {ray}"
    return ""


def check_programs(lineage: "Lineage", pages: Container[str], root: Path) -> None:
    """Raise ValueError when a run of some pages of the graph would come to a step that cannot be handed over from here.

    What is finished in the store needs nothing.
    """
    problems = missing_engine(lineage.recipe.execution), missing_launcher(lineage.recipe.execution)
    if not any(problems):
        return
    mirror(root)
    store = Store(root)
    for asset in lineage.assets.values():
        problem = problems[asset.trains and asset.group in LAUNCHING]
        if problem and asset.page in pages and not store.path(lineage.identity(asset.key)).exists():
            raise ValueError(f"{problem}. {asset.key} needs it; nothing was run")
