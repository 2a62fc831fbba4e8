"""``hephaestus verify``: every file against its manifest."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hephaestus_dag.cli.options import example, with_json, with_store

if TYPE_CHECKING:
    from hephaestus_dag.upkeep.verify import Verification


@click.command(epilog=example("hephaestus verify", "hephaestus verify seed_corpus"))
@click.argument("artifact", required=False)
@with_store
@with_json
@click.pass_context
def command(context: click.Context, artifact: str | None, store: Path, as_json: bool) -> None:
    """Check every file of ARTIFACT (a key, key@fingerprint or path; all of the store without it) against its manifest.

    What is missing, was added or changed is named with its remedy, and the exit status is 1. A run checks what it reads by
    itself and builds again what is damaged; this command says so beforehand, and for everything.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from hephaestus_dag.store_contents import find_artifacts
    from hephaestus_dag.upkeep.verify import verify

    folders = find_artifacts(store, artifact) if artifact else None
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("verify")
        found = verify(store, folders, lambda done, total: bars.update(task, completed=done, total=total))
    if as_json:
        click.echo(json.dumps({**asdict(found), "sound": not found.damages}, indent=2, ensure_ascii=False, default=str))
    else:
        _show(found)
    context.exit(1 if found.damages else 0)


def _show(found: "Verification") -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    for damage in found.damages:
        console.print(f"[red]damaged[/red]  {escape(str(damage.path))} {escape(damage.problem)}")
        console.print(f"         remedy: {escape(damage.remedy)}")
    for left in found.unfinished:
        state = "[cyan]running[/cyan]" if left.running else "[yellow]unfinished[/yellow]"
        console.print(f"{state}  {escape(str(left.path))}: {left.what}, {decimal(left.num_bytes)}")
    idle = [left for left in found.unfinished if not left.running]
    if any(left.path.name.startswith(".aside-") for left in idle):
        console.print("         `hephaestus rebuild KEY` puts what a rebuild put aside back, or something new in its place")
    if any(not left.path.name.startswith(".aside-") for left in idle):
        console.print(
            "         the next run of these assets resumes or removes them; `hephaestus prune` removes what no recipe needs"
        )
    if found.damages:
        console.print(
            "         what an older recipe or older code made cannot be rebuilt: delete its folder, or `hephaestus prune`"
        )
    speed = f"{decimal(found.num_bytes)} in {found.seconds:.1f} s, {found.num_bytes / max(found.seconds, 1e-9) / 1e9:.2f} GB/s"
    damaged = len({damage.artifact for damage in found.damages})
    verdict = f"[red]{damaged} of them damaged[/red]" if damaged else "[green]all as they were written[/green]"
    console.print(f"artifacts: {found.artifacts:,}, files: {found.files:,} ({speed}): {verdict}")
