"""``hephaestus scaling``: a scaling law fitted to somebody's own training runs, and what it predicts for larger ones."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from hephaestus_dag.cli.options import example

if TYPE_CHECKING:
    from hephaestus_dag.scaling.config import Target
    from hephaestus_dag.scaling.law import Progress
    from hephaestus_dag.scaling.runs import Run

Result = TypeVar("Result")
NO_OPTIMUM = 3
TABLE = """The table, CSV or Parquet, has one row per run: params, tokens, share_<domain> (2 to 20 of them), loss_<name> (any,
empty where not measured), and, if known, seed, cell, flops, unique_<domain> (distinct tokens there were), status (ok, or why
there are no losses). Runs of several sizes tell levels at another size; runs of one size tell the order of mixtures only."""


@click.group()
def command() -> None:
    """Fit a scaling law to a table of training runs, or predict one table's losses from another's."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of both commands."""
    count = click.IntRange(min=0)
    for option in (
        click.option("--seed", type=count, default=0, show_default=True, help="Seed of the bootstrap."),
        click.option("--draws", type=count, default=200, show_default=True, help="Bootstrap draws of each family."),
        click.option(
            "--objective",
            metavar="NAME=WEIGHT,...",
            multiple=True,
            help="Weights of the losses, rescaled to sum to 1 [all alike]; what is best depends on them.",
        ),
        click.option("--json", "out", type=click.Path(path_type=Path), metavar="OUT", help="Also write everything as JSON."),
    ):
        function = option(function)
    return function


@command.command(
    epilog=example(
        "hephaestus scaling fit runs.csv --objective agent=0.5,code=0.25,text=0.25 \\",
        "    --target-params 7e9 --target-tokens 100e9 --json law.json",
    )
)
@click.argument("runs", metavar="TABLE", type=click.Path(path_type=Path))
@click.option("--target-params", type=float, help="Non-embedding parameters of the backbone [the largest run].")
@click.option("--target-tokens", type=float, help="Tokens that the backbone will be trained on.")
@click.option("--max-interval-width", type=float, default=0.2, show_default=True, help="Widest interval acted upon.")
@click.option("--pictures", type=click.Path(path_type=Path), metavar="FOLDER", help="Also draw the law into this folder.")
@_options
@click.pass_context
def fit(
    context: click.Context,
    runs: Path,
    target_params: float | None,
    target_tokens: float | None,
    max_interval_width: float,
    pictures: Path | None,
    out: Path | None,
    objective: tuple[str, ...],
    draws: int,
    seed: int,
) -> None:
    """Fit the law to TABLE and judge whether it supports a mixture."""
    from hephaestus_dag.scaling.config import FitConfig
    from hephaestus_dag.scaling.decision import REFUSED, decide
    from hephaestus_dag.scaling.report import law_record
    from hephaestus_dag.scaling.residuals import outliers
    from hephaestus_dag.scaling.show import show_study
    from hephaestus_dag.scaling.study import study

    with _said():
        _check_outputs(out, pictures)
        console = _console()
        table = _read(runs, console)
        config = FitConfig(
            objective=_objective(objective, table),
            target=_target(target_params, target_tokens),
            bootstrap_draws=draws,
            max_interval_width=max_interval_width,
            seed=seed,
        )
        found = _with_bar("fitting", lambda progress: study(table, config, progress))
        decision = decide(found, config)
        _write(out, law_record(found, decision, table, config))
        if pictures:
            from hephaestus_dag.scaling.pictures import draw

            draw(found, pictures)
        show_study(found, decision, outliers(found.law, table), console)
    context.exit(NO_OPTIMUM if decision.status == REFUSED else 0)


@command.command(epilog=example("hephaestus scaling predict small-runs.csv large-runs.csv --json predicted.json"))
@click.argument("train", type=click.Path(path_type=Path))
@click.argument("test", type=click.Path(path_type=Path))
@_options
def predict(train: Path, test: Path, out: Path | None, objective: tuple[str, ...], draws: int, seed: int) -> None:
    """Predict the losses of the runs in TEST from those in TRAIN; losses in TEST are what the prediction is scored against."""
    from hephaestus_dag.scaling.predict import predict as predicted
    from hephaestus_dag.scaling.report import prediction_record
    from hephaestus_dag.scaling.runs import read_runs
    from hephaestus_dag.scaling.show import show_prediction

    with _said():
        _check_outputs(out)
        console = _console()
        known, asked = _read(train, console), read_runs(test, every_row=True)
        console.print(f"{test.name}: {len(asked)} rows to predict, {sum(bool(run.losses) for run in asked)} with losses")
        names = {name for run in known for name in run.losses}
        if lacking := dict.fromkeys(name for run in asked for name in run.losses if name not in names):
            click.echo(f"not predicted, as {train.name} has no such loss: {', '.join(lacking)}", err=True)
        weights = _objective(objective, known) if objective else None
        found = _with_bar("fitting", lambda progress: predicted(known, asked, weights, draws, seed, progress))
        record = prediction_record(found)
        _write(out, record)
        show_prediction(found, record, console)


for each, status in ((fit, f"0 an optimum is supported, {NO_OPTIMUM} no supported optimum,"), (predict, "0, or")):
    each.help = f"{each.help}\n\n{TABLE}\n\nExit status: {status} 2 the input cannot be used."


@contextmanager
def _said() -> Iterator[None]:
    """Say what is wrong with the input, and exit with 2."""
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        for problem in error.errors():
            where = "".join(f"{part}: " for part in problem["loc"])
            click.echo(f"error: {where}{problem['msg'].removeprefix('Value error, ')}", err=True)
    except (ValueError, OSError) as error:
        click.echo(f"error: {error}", err=True)
    else:
        return
    raise SystemExit(2)


def _objective(given: tuple[str, ...], runs: "list[Run]") -> dict[str, float]:
    names = dict.fromkeys(name for run in runs for name in run.losses)
    if not given:
        if not names:
            raise ValueError("the table has no losses: it needs columns loss_<domain>")
        return {name: 1 / len(names) for name in names}
    said = f"--objective {','.join(given)}"
    try:
        pairs = [part.split("=") for text in given for part in text.split(",") if part]
        weights = {name.strip(): float(weight) for name, weight in pairs}
    except ValueError as error:
        raise ValueError(f"{said}: give it as agent=0.5,code=0.25,text=0.25") from error
    if len(weights) < len(pairs):
        raise ValueError(f"{said}: a loss stands there twice; give each one weight")
    if any(weight < 0 for weight in weights.values()) or not sum(weights.values()) > 0:
        raise ValueError(f"{said}: weights must be >= 0 and not all 0")
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def _target(params: float | None, tokens: float | None) -> "Target | None":
    from hephaestus_dag.scaling.config import Target

    if (params is None) != (tokens is None):
        raise ValueError("give --target-params and --target-tokens together")
    return None if params is None or tokens is None else Target(params=params, tokens=tokens, unique_tokens=None)


def _with_bar(label: str, work: "Callable[[Progress], Result]") -> Result:
    """Do the work under a progress bar on standard error, where that is a terminal."""
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(label)
        return work(lambda done, total: bar.update(task, completed=done, total=total))


def _console() -> Console:
    """Return a console that is wide enough for the tables where there is no terminal."""
    return Console(markup=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)


def _read(path: Path, console: Console) -> "list[Run]":
    from hephaestus_dag.scaling.runs import read_runs
    from hephaestus_dag.scaling.show import show_runs

    runs = read_runs(path)
    show_runs(path.name, runs, len(read_runs(path, every_row=True)) - len(runs), console)
    return runs


def _check_outputs(file: Path | None, folder: Path | None = None) -> None:
    """Refuse what could not be written, before the fit."""
    if file and (not file.resolve().parent.is_dir()):
        raise ValueError(f"--json {file}: there is no folder {file.parent}; create it first")
    if file and file.exists() and not file.is_file():
        raise ValueError(f"--json {file}: not a file; give the name of the file to write")
    if folder and folder.exists() and not folder.is_dir():
        raise ValueError(f"--pictures {folder}: not a folder; give the name of a folder")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)


def _write(path: Path | None, record: object) -> None:
    from hephaestus_dag.whole_folder import whole_file

    if path:
        with whole_file(path.resolve()) as staging:  # through a link, which stays
            staging.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
