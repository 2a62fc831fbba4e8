"""A job in the terminal, one line per asset.

Dagster's own event stream goes to a file under ``logs/``; the report, and where the models lie, are printed at the end.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TimeRemainingColumn

from hephaestus_dag import events
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import load_recipe
from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.processes import end_group
from hephaestus_dag.training.progress import duration
from hephaestus_dag.variants import Variants

COMMAND = (sys.executable, "-m", "dagster", "job", "execute", "-m", "hephaestus_dag.definitions")
SHOWN_REASONS = 6
STOPPED = 130
"""Exit status after an interrupt, as shells count it."""


def run(recipe_name: str, store: Path, arguments: Sequence[str], command: Sequence[str] = COMMAND) -> int:
    """Run a job of a recipe, show its events, print the report; return the job's exit status, or ``STOPPED``.

    ``arguments`` are those of ``dagster job execute``, such as ``-j hephaestus``. Raises RecipeError before anything runs.
    """
    console = Console(highlight=False, soft_wrap=True)
    recipe = load_recipe(recipe_name)
    logs = Path("logs")
    logs.mkdir(exist_ok=True)
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    log, event_file = logs / f"{stamp}.log", logs / f"{stamp}.events.jsonl"
    console.print(f"recipe [bold]{recipe.name}[/bold]: {recipe.description}\nDagster's log: {log}\n")
    started = time.monotonic()
    follower = MetricsFollower(event_file)
    event_file.touch()
    with log.open("wb") as output:
        names = {"HEPHAESTUS_RECIPE": recipe_name, "HEPHAESTUS_STORE": str(store), events.VARIABLE: str(event_file.absolute())}
        environment = {**os.environ, **names}
        process = subprocess.Popen(
            [*command, *arguments], stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        with interrupts() as asked:
            try:
                status = _watch(console, process, follower, asked)
            finally:
                if process.poll() is None:  # also when the terminal was closed: no job without its terminal
                    end_group(process, patience=20)
    elapsed = duration(time.monotonic() - started)
    if status == STOPPED:
        console.print(f"the job was stopped after {elapsed}; what is finished is kept")
        return status
    if status != 0:
        console.print(f"\n[red]the job failed after {elapsed}[/red]; the last lines of {log}:")
        console.print(escape("\n".join(log.read_text(errors="replace").splitlines()[-15:])))
        return status
    made = _paths(event_file)
    _print_report(console, made)
    _print_models(console, made, recipe)
    console.print(f"\nthe job took {elapsed}")
    return 0


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Collect the signals that ask for an end; one that is ignored, as below nohup, stays ignored.

    They are noted and never raised: an exception in the middle of a line being drawn could leave the terminal's lock taken,
    and a second one would leave half a job behind.
    """
    asked: list[int] = []
    heard = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(console: Console, process: subprocess.Popen[bytes], follower: MetricsFollower, asked: list[int]) -> int:
    """Show events until the job ends, and return its exit status; ``STOPPED`` when an interrupt came first."""
    columns = (SpinnerColumn(), "{task.description}", BarColumn(24), TimeRemainingColumn(), "{task.fields[note]}")
    running: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as bars:
        while True:
            ended = process.poll() is not None
            for event in follower.new_lines():
                _show(bars, event, running)
            if ended:
                return process.returncode
            if asked:
                break
            time.sleep(0.2)
    console.print("\nstopping ...")
    return STOPPED


def _show(bars: Progress, event: dict, running: dict[str, TaskID]) -> None:
    """Print a line for an asset that starts or ends, and for each warning; between the two it has a bar."""
    console, asset = bars.console, event["asset"]
    clock = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    if event["event"] == "start":
        running[asset] = bars.add_task(asset, total=None, note="")
        console.print(f"[dim]{clock}[/dim]  {asset} ...")
    elif event["event"] == "progress":
        done, total = event["done"], event["total"]
        note = event.get("note", f"{done:,}/{total:,}")
        if asset in running:
            bars.update(running[asset], completed=done, total=total, note=escape(note))
    elif event["event"] == "warning":
        console.print(f"          [yellow]{escape(event['text'])}[/yellow]")
    else:
        if asset in running:
            bars.remove_task(running.pop(asset))
        failed = event["event"] == "failed"
        mark = "[red]failed[/red]" if failed else "[cyan]reused[/cyan]" if event["reused"] else "[green]done[/green]  "
        console.print(
            f"[dim]{clock}[/dim]  [bold]{asset}[/bold]  {mark}  {_seconds(event['seconds']):>9}  {escape(event['headline'])}"
        )
        changes = [] if failed or event["reused"] else [reason for reason in event["reasons"] if reason != "first build"]
        if changes:
            more = f"; and {len(changes) - SHOWN_REASONS} more" if len(changes) > SHOWN_REASONS else ""
            console.print(f"          [dim]rebuilt because {escape('; '.join(changes[:SHOWN_REASONS]))}{more}[/dim]")
        for check in [] if failed else event["failed_checks"]:
            console.print(f"          [yellow]check failed: {check}[/yellow]")


def _paths(event_file: Path) -> dict[str, Path]:
    """Return where the artifacts of a run lie, by asset, built or reused."""
    ended = (event for line in event_file.read_text().splitlines() if (event := json.loads(line))["event"] == "end")
    return {event["asset"]: Path(event["path"]) for event in ended}


def _print_report(console: Console, made: Mapping[str, Path]) -> None:
    if folder := made.get("benchmark_report"):
        sections = (folder / "report.md").read_text().split("\n## ")
        details = next((i for i, section in enumerate(sections) if "by category" in section), len(sections))
        console.print()
        console.print(escape("\n## ".join(sections[:details])))
        console.print(escape(f"\nevery category, and what the columns mean: {folder / 'report.html'}"))


def _print_models(console: Console, made: Mapping[str, Path], recipe: Recipe) -> None:
    variants = Variants(recipe)
    models = {name: made[key] for name in recipe.variants if (key := variants.model(name)) in made}
    if models:
        console.print("\nmodels, as folders for AutoModelForCausalLM.from_pretrained:")
    for name, path in models.items():
        console.print(escape(f"  {name}: {path / 'model'}"))


def _seconds(seconds: float) -> str:
    """Return the time of an asset, which may be a tenth of a second."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
