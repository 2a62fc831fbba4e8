"""``hephaestus prune``: what no current recipe reaches."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hephaestus_dag.cli.options import example, with_json, with_store

if TYPE_CHECKING:
    from hephaestus_dag.upkeep.prune import Unreached


@click.command(epilog=example("hephaestus prune laptop smollm2", "hephaestus prune laptop smollm2 --yes"))
@click.argument("recipes", nargs=-1)
@click.option("--yes", is_flag=True, help="Remove what is listed; without it nothing is removed.")
@click.option("--cache", is_flag=True, help="Also the cache: converted models, environments, answers, parsed web shards.")
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Keep artifacts written since, and all that they were made from: a run may be about to read them.",
)
@with_store
@with_json
def command(recipes: tuple[str, ...], yes: bool, cache: bool, older_than: float, store: Path, as_json: bool) -> None:
    """List what none of RECIPES reaches with today's code, largest first; with --yes remove it.

    RECIPES are packaged names or paths; without any, the recipe of $HEPHAESTUS_RECIPE (laptop). An artifact is reached when a
    recipe would build it, names its path, or one that is reached was made from it. When the identities of a recipe cannot be
    known, since an input is missing, or a build runs that the recipes do not account for, nothing is removed. What is not known
    to be of a store stays.
    """
    from hephaestus_dag.console import STOPPED, interrupts
    from hephaestus_dag.manifests import ArtifactError
    from hephaestus_dag.recipe_file import load_recipe
    from hephaestus_dag.upkeep.identities import identities
    from hephaestus_dag.upkeep.prune import reach, remove_unreached, unreached

    names = recipes or (os.environ.get("HEPHAESTUS_RECIPE", "laptop"),)
    loaded = [load_recipe(name) for name in names]
    lineages = [identities(recipe) for recipe in loaded]
    reached = reach(store, loaded, [lineage.identity(key) for lineage in lineages for key in lineage.assets])
    found = unreached(reached, cache, older_than)
    gone: list[Unreached] = []
    try:
        with interrupts() as asked:  # what is being removed is removed wholly
            for each in remove_unreached(reached, found) if yes else ():
                gone.append(each)
                if asked:
                    break
    except OSError as error:
        raise ArtifactError(f"{error.filename} cannot be removed: {error.strerror}") from error
    if as_json:
        listed = [
            {"path": str(e.path), "what": e.what, "bytes": e.num_bytes, "age_seconds": round(e.age), "fresh": e.fresh}
            for e in found
        ]
        removed = [str(each.path) for each in gone]
        click.echo(
            json.dumps({"recipes": names, "reached": reached.num_artifacts, "unreached": listed, "removed": removed}, indent=2)
        )
    else:
        _show(store, names, reached.num_artifacts, found, gone if yes else None, bool(asked))
    if asked:
        click.echo("stopped", err=True)
        raise SystemExit(STOPPED)


def _show(
    store: Path, names: Sequence[str], num_reached: int, found: list["Unreached"], gone: list["Unreached"] | None, stopped: bool
) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape

    from hephaestus_dag.bucket_store import BucketStore

    console = Console(highlight=False, soft_wrap=True)
    listed = [each for each in found if each.what != "lock"]
    for each in listed:
        what = f"  ({each.what})" if each.what != "artifact" else ""
        mark = "*" if each.fresh else " "
        path = escape(str(each.path.relative_to(store)))
        console.print(f"{decimal(each.num_bytes):>10}  {_age(each.age):>10} {mark} {path}{what}")
    locks = len(found) - len(listed)
    if listed:
        console.print()
    bucket = BucketStore.of(store)
    console.print(f"in {bucket.bucket.url if bucket else store}, reached by {', '.join(names)}: artifacts: {num_reached}")
    total = decimal(sum(each.num_bytes for each in found))
    console.print(f"not reached: {len(listed)}, {total}" + (f", and {locks} locks that nobody holds" if locks else ""))
    if gone is not None:
        kept = len(found) - len(gone)
        why = "the rest is as it was" if stopped else "new or in use"
        console.print(f"removed {decimal(sum(each.num_bytes for each in gone))}" + (f"; kept {kept}, {why}" if kept else ""))
    elif found:
        can_go = not all(each.fresh for each in found)
        console.print("nothing was removed" + (": add --yes to remove what is not new" if can_go else ""))
    if bucket:
        console.print("what other machines build or read at this moment is not known here: prune when none does")
    if found and not num_reached:
        console.print("nothing here was made by today's code: after an update all of it counts as not reached, models included")
    if any(each.fresh for each in found):
        console.print(
            "* stays: new, or something new was made from it: a run may be about to read it; --older-than 0 when none runs"
        )


def _age(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
