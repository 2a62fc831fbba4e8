"""``hephaestus plan``: what a run of a recipe would do and take, before anything runs; afterwards planned against actual."""

import json
from contextlib import nullcontext
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hephaestus_dag.cli.options import example, with_json, with_recipe, with_store

if TYPE_CHECKING:
    from rich.console import Console

    from hephaestus_dag.costs.estimate import Estimate
    from hephaestus_dag.costs.standing import Standing

CPU = "cpu"
GPU = "A100-40GB"
CPU_SHARE, GPU_SHARE = 0.5, 0.35
"""Of the peak: training of small models on a core reaches 0.6 to 0.7, and what else there is less; on GPUs a common figure."""


@click.command(
    epilog=example(
        "hephaestus plan laptop",
        "hephaestus plan paper --device A100-40GB --mfu 0.35",
        "hephaestus plan laptop --device cpu --gflops 100 --actual",
    )
)
@with_recipe
@click.option(
    "--device",
    "--gpu",
    help=f"A GPU such as H200, or {CPU}: a core of this machine [the recipe's: {CPU} where it names no GPUs, else {GPU}].",
)
@click.option("--gflops", type=click.FloatRange(min=0, min_open=True), help="Peak of a CPU core in GFLOP/s [measured].")
@click.option("--mfu", type=float, help=f"Share of the device's peak that is reached [{GPU_SHARE}; {CPU_SHARE} of a CPU].")
@click.option("--actual", is_flag=True, help="Set what the artifacts of the recipe took beside what was planned.")
@with_store
@with_json
def command(
    recipe: str, device: str | None, gflops: float | None, mfu: float | None, actual: bool, store: Path, as_json: bool
) -> None:
    """Say what a run of RECIPE would reuse, build and take, without running it.

    An asset takes as long as its last build from the same values; where there was none, or a device is named, its FLOP tell.
    Of every artifact in the store the manifest and the sizes of its files are checked; `hephaestus verify` checks the bytes.
    Inputs that are missing here are listed, each with its line in the recipe; a recipe with invalid values is refused.
    """
    if gflops is not None and not isfinite(gflops):
        raise click.BadParameter(f"{gflops} is no number of GFLOP/s", param_hint="'--gflops'")
    if not store.is_dir():
        click.echo(f"there is no store at {store} yet; --store or HEPHAESTUS_STORE names another", err=True)
    from hephaestus_dag.costs.devices import begin_measuring, find_gpu, measured, this_cpu
    from hephaestus_dag.costs.estimate import estimate
    from hephaestus_dag.recipe_file import read_recipe

    read, missing = read_recipe(recipe)
    name = device or (GPU if read.execution.launcher.num_gpus else CPU)
    on_cpu = name.lower() == CPU
    if gflops and not on_cpu:
        raise click.UsageError(f"--gflops is the peak of a CPU core: give it with --device {CPU}")
    share = mfu if mfu is not None else CPU_SHARE if on_cpu else GPU_SHARE
    try:
        chosen = this_cpu(gflops) if on_cpu else find_gpu(name)
        found = estimate(read, chosen, share, missing, None if actual else store, as_before=not (device or gflops or actual))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    formats = {cost.dtype for cost in found.unpriced} if on_cpu and not gflops else set()
    with begin_measuring(formats) if formats else nullcontext() as measuring:  # while the graph is loaded and compared
        if not actual:
            found = replace(found, standings=_standings(found, store))
        if measuring:
            found = replace(found, device=measured(found.device, measuring))
    _print_actual(found, store, as_json) if actual else _print(found, as_json)


def _standings(found: "Estimate", store: Path) -> "dict[str, Standing]":
    from hephaestus_dag.costs.standing import standings
    from hephaestus_dag.upkeep.identities import identities

    graph = identities(found.recipe, fixed=False)
    inputs = {key: graph.assets[key].inputs for key in (*found.costs, *graph.assets) if key in graph.assets}
    lacking = dict.fromkeys(found.lacking, "inputs of the recipe are missing here")
    return standings(store, inputs, graph.identity, lacking, bool(found.missing))


def _print(found: "Estimate", as_json: bool) -> None:
    from hephaestus_dag.costs.record import as_json as record
    from hephaestus_dag.costs.show import print_estimate
    from hephaestus_dag.missing_programs import missing_engine, missing_launcher
    from hephaestus_dag.training.gpus import missing_gpus

    gpus, execution = missing_gpus(found.recipe), found.recipe.execution
    programs = [problem for problem in (missing_engine(execution), missing_launcher(execution)) if problem]
    if as_json:
        click.echo(
            json.dumps({**record(found), "missing_gpus": gpus, "missing_programs": programs}, indent=2, ensure_ascii=False)
        )
    else:
        print_estimate(found, _console(), "; ".join(filter(None, (gpus, *programs))))


def _print_actual(found: "Estimate", store: Path, as_json: bool) -> None:
    from hephaestus_dag.costs.actual import compare
    from hephaestus_dag.costs.measured import measured_artifacts
    from hephaestus_dag.costs.show_actual import print_actual

    compared = compare(found, measured_artifacts(store, found.recipe, found.costs))
    if as_json:
        pairs = {
            key: {name: {**asdict(pair), "ratio": pair.ratio} for name, pair in each.items()} for key, each in compared.items()
        }
        head = {"recipe": found.recipe.name, "device": found.device.name}
        click.echo(json.dumps({**head, "assets": pairs}, indent=2, ensure_ascii=False))
    else:
        print_actual(found, compared, _console())


def _console() -> "Console":
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False)
