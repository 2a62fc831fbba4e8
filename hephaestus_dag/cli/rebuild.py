"""``hephaestus rebuild``: an asset made once more, to compare it with what is stored or in its place."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hephaestus_dag.cli.options import example, with_json, with_recipe, with_store

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from hephaestus_dag.upkeep.rebuild import Rebuilt


@click.command(epilog=example("hephaestus rebuild --check seed_corpus", "hephaestus rebuild text_documents smollm2"))
@click.argument("asset")
@with_recipe
@click.option("--check", is_flag=True, help="Rebuild in a scratch store, compare, and leave the stored artifact as it is.")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    help="Folder for the scratch store of --check; it takes the room of one artifact.  [the system's folder for such]",
)
@with_store
@with_json
@click.pass_context
def command(
    context: click.Context, asset: str, recipe: str, check: bool, scratch: Path | None, store: Path, as_json: bool
) -> None:
    """Make ASSET of RECIPE once more from the inputs in the store, and compare its bytes with what was stored.

    Without --check the new artifact takes the place of the old one, which is put aside until then and comes back when the
    build fails. With --check the exit status is 1 when they differ in more than what a clock said. Only this asset is made;
    what was made from it is not.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TimeElapsedColumn

    from hephaestus_dag.recipe_file import load_recipe
    from hephaestus_dag.store_contents import check_store
    from hephaestus_dag.upkeep.identities import identities
    from hephaestus_dag.upkeep.rebuild import check_rebuild, rebuild

    if scratch and not check:
        raise click.UsageError("--scratch is for --check")
    check_store(store)
    lineage = identities(load_recipe(recipe))
    columns = (SpinnerColumn(), "{task.description}", BarColumn(24), TimeElapsedColumn(), "{task.fields[note]}")
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {"": bars.add_task(f"starting {asset}", total=None, note="")}

        def watch(event: dict[str, Any]) -> None:
            _note(bars, tasks, event)

        if check:
            found = check_rebuild(lineage, recipe, asset, store, scratch, watch)
        else:
            found = rebuild(lineage, recipe, asset, store, watch)
    same = found.differences is not None and all(each.clock_only for each in found.differences)
    if as_json:
        click.echo(json.dumps({**asdict(found), "same": same}, indent=2, ensure_ascii=False, default=os.fspath))
    else:
        _show(found, asset, check)
    context.exit(1 if check and not same else 0)


def _note(bars: "Progress", tasks: dict[str, "TaskID"], event: dict[str, Any]) -> None:
    """Show a bar for each asset that is at work."""
    if waiting := tasks.pop("", None):
        bars.remove_task(waiting)
    name = event["asset"]
    if event["event"] in ("end", "failed"):
        if name in tasks:
            bars.remove_task(tasks.pop(name))
        return
    if name not in tasks:
        tasks[name] = bars.add_task(name, total=None, note="")
    if event["event"] == "progress":
        note = event.get("note", f"{event['done']:,}/{event['total']:,}")
        bars.update(tasks[name], completed=event["done"], total=event["total"], note=note)


def _show(found: "Rebuilt", asset: str, check: bool) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    what = f"{found.files:,} files, {decimal(found.num_bytes)}, made in {found.seconds:.0f} s"
    if found.differences is None:
        console.print(f"{asset} was built: {what}; there was no readable one to compare it with")
        return
    for each in found.differences:
        mark = "[yellow]clock[/yellow]  " if each.clock_only else "[red]differs[/red]"
        console.print(f"{mark}  {escape(each.file)}: {escape(each.first)}")
    if not found.differences:
        verdict = "[green]identical, byte for byte[/green]"
    elif all(each.clock_only for each in found.differences):
        verdict = "[green]the same[/green] but for what a clock said"
    else:
        verdict = f"[red]{sum(not each.clock_only for each in found.differences)} files differ[/red]"
    console.print(f"{asset} ({what}): {verdict}")
    if not check and any(not each.clock_only for each in found.differences):
        console.print("what was made from the old one is still in the store; rebuild it as well if the difference matters")
