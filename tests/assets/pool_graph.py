"""Assets for runs under a daemon: two that occupy the accelerator for a while, one whose process is killed the first time."""

import os
import signal
import time
from pathlib import Path

import dagster as dg

from assets.artifact import Build, Lineage, artifact
from assets.page import to_dagster
from hephaestus_dag.artifacts import Report
from hephaestus_dag.automation import executor
from hephaestus_dag.definitions import current_recipe, definitions

SECONDS = 6.0
BEGUN = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS]


def occupy(build: Build) -> Report:
    """Note when the accelerator is taken and when it is free again: a while after both runs that want it have begun."""
    instance, last = dg.DagsterInstance.get(), time.monotonic() + 60
    with Path(os.environ["POOL_NOTES"]).open("a", buffering=1) as notes:
        notes.write(f"{build.key} takes it\n")
        while time.monotonic() < last and any(
            not instance.get_runs(dg.RunsFilter(job_name=job, statuses=BEGUN)) for job in ("run_left", "run_right")
        ):
            time.sleep(0.5)
        time.sleep(SECONDS)
        notes.write(f"{build.key} is done\n")
    return Report(headline="done")


@artifact(group="forge", trains=True)
def left(build: Build) -> Report:
    """One that wants the accelerator."""
    return occupy(build)


@artifact(group="forge", trains=True)
def right(build: Build) -> Report:
    """Another that wants it."""
    return occupy(build)


@artifact(group="forge")
def ground(build: Build) -> Report:
    """What the next one stands on."""
    return Report(headline="firm")


@artifact(group="forge", inputs=["ground"])
def falls_once(build: Build) -> Report:
    """Is killed with its process, and stands the second time."""
    fell = Path(os.environ["POOL_NOTES"]).with_name("fell")
    if not fell.exists():
        fell.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Report(headline="it stands")


recipe = current_recipe()
lineage = Lineage(recipe, [left, right, ground, falls_once])
run_here = executor(recipe.execution)
defs = dg.Definitions(
    assets=[to_dagster(lineage, asset, "gpu") for asset in lineage.assets.values()],
    resources=definitions(recipe).resources,
    jobs=[
        *(
            dg.define_asset_job(f"run_{name}", dg.AssetSelection.assets(name), executor_def=run_here)
            for name in ("left", "right")
        ),
        dg.define_asset_job("run_fall", dg.AssetSelection.assets("falls_once").upstream(), executor_def=run_here),
    ],
)
