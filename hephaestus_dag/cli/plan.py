"""``hephaestus plan``: what a run of a recipe would do and take, before anything runs; afterwards planned against actual."""

import json
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path

import click
from rich.console import Console

from hephaestus_dag.cli.options import example, with_json, with_recipe, with_store

CPU = "cpu"
GPU = "A100-40GB"


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
@click.option("--mfu", default=0.35, show_default=True, help="Share of the device's peak that is reached.")
@click.option("--actual", is_flag=True, help="Set what the artifacts of the recipe took beside what was planned.")
@with_store
@with_json
def command(
    recipe: str, device: str | None, gflops: float | None, mfu: float, actual: bool, store: Path, as_json: bool
) -> None:
    """Say what a run of RECIPE would reuse, build and take, without running it.

    Of every artifact in the store the manifest and the sizes of its files are checked; `hephaestus verify` checks the bytes.
    Inputs that are missing here are listed, each with its line in the recipe; a recipe with invalid values is refused.
    """
    if gflops is not None and not isfinite(gflops):
        raise click.BadParameter(f"{gflops} is no number of GFLOP/s", param_hint="'--gflops'")
    if not store.is_dir():
        click.echo(f"there is no store at {store} yet; --store or HEPHAESTUS_STORE names another", err=True)
    from hephaestus_dag.costs.devices import find_gpu, this_cpu
    from hephaestus_dag.costs.estimate import estimate
    from hephaestus_dag.recipe_file import read_recipe

    read, missing = read_recipe(recipe)
    name = device or (GPU if read.execution.launcher.num_gpus else CPU)
    if gflops and name.lower() != CPU:
        raise click.UsageError(f"--gflops is the peak of a CPU core: give it with --device {CPU}")
    console = Console(soft_wrap=True, highlight=False)
    try:
        found = estimate(
            read, this_cpu(gflops) if name.lower() == CPU else find_gpu(name), mfu, missing, None if actual else store
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if actual:
        from hephaestus_dag.costs.actual import compare
        from hephaestus_dag.costs.measured import measured_artifacts
        from hephaestus_dag.costs.show_actual import print_actual

        compared = compare(found, measured_artifacts(store, read, found.costs))
        if as_json:
            pairs = {
                key: {name: {**asdict(pair), "ratio": pair.ratio} for name, pair in each.items()}
                for key, each in compared.items()
            }
            click.echo(
                json.dumps({"recipe": read.name, "device": found.device.name, "assets": pairs}, indent=2, ensure_ascii=False)
            )
        else:
            print_actual(found, compared, console)
        return

    from hephaestus_dag.costs.record import as_json as record
    from hephaestus_dag.costs.show import print_estimate
    from hephaestus_dag.costs.standing import standings
    from hephaestus_dag.definitions import lineage

    graph = lineage(read, fixed=False)
    inputs = {key: graph.assets[key].inputs for key in (*found.costs, *graph.assets) if key in graph.assets}
    lacking = dict.fromkeys(found.lacking, "inputs of the recipe are missing here")
    found = replace(found, standings=standings(store, inputs, graph.identity, lacking, bool(missing)))
    if as_json:
        click.echo(json.dumps(record(found), indent=2, ensure_ascii=False))
    else:
        print_estimate(found, console)
