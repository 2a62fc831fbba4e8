"""Fit a scaling law to a table of training runs, or predict one table's losses from another's."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress as Bar

from hephaestus_dag.scaling.config import FitConfig, Target
from hephaestus_dag.scaling.decision import REFUSED, decide
from hephaestus_dag.scaling.law import Progress
from hephaestus_dag.scaling.predict import predict
from hephaestus_dag.scaling.report import law_record, prediction_record
from hephaestus_dag.scaling.residuals import outliers
from hephaestus_dag.scaling.runs import Run, read_runs
from hephaestus_dag.scaling.show import show_prediction, show_runs, show_study
from hephaestus_dag.scaling.study import study
from hephaestus_dag.whole_folder import whole_file

Result = TypeVar("Result")

TABLE = """The table, CSV or Parquet, has one row per run: params, tokens, share_<domain> (2 to 20 of them), loss_<name> (any,
empty where not measured), and, if known, seed, cell, flops, unique_<domain> (distinct tokens there were), status (ok, or why
there are no losses). Runs of several sizes tell levels at another size; runs of one size tell the order of mixtures only."""
FIT = f"""example:
  python -m hephaestus_dag.scaling fit runs.csv --objective agent=0.5 code=0.25 text=0.25 \\
      --target-params 7e9 --target-tokens 100e9 --json law.json

{TABLE}
Exit status: 0 an optimum is supported, 3 no supported optimum, 2 the input cannot be used."""
PREDICT = f"""example:
  python -m hephaestus_dag.scaling predict small-runs.csv large-runs.csv --json predicted.json

{TABLE}
The second table needs no losses; where it has some, the prediction is scored against them.
Exit status: 0, or 2 when the input cannot be used."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except ValidationError as error:
        for problem in error.errors():
            where = "".join(f"{part}: " for part in problem["loc"])
            print(f"error: {where}{problem['msg'].removeprefix('Value error, ')}", file=sys.stderr)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 2


def _fit(options: argparse.Namespace) -> int:
    _check_outputs(options.json, options.pictures)
    console = _console()
    runs = _read(options.runs, console)
    config = FitConfig(
        objective=_objective(options.objective, runs),
        target=_target(options.target_params, options.target_tokens),
        bootstrap_draws=options.draws,
        max_interval_width=options.max_interval_width,
        seed=options.seed,
    )
    found = _with_bar("fitting", lambda progress: study(runs, config, progress))
    decision = decide(found, config)
    _write(options.json, law_record(found, decision, runs, config))
    if options.pictures:
        from hephaestus_dag.scaling.pictures import draw

        draw(found, options.pictures)
    show_study(found, decision, outliers(found.law, runs), console)
    return 3 if decision.status == REFUSED else 0


def _predict(options: argparse.Namespace) -> int:
    _check_outputs(options.json)
    console = _console()
    train, test = _read(options.train, console), read_runs(options.test, every_row=True)
    console.print(f"{options.test.name}: {len(test)} rows to predict, {sum(bool(run.losses) for run in test)} with losses")
    known = {name for run in train for name in run.losses}
    if lacking := dict.fromkeys(name for run in test for name in run.losses if name not in known):
        print(f"not predicted, as {options.train.name} has no such loss: {', '.join(lacking)}", file=sys.stderr)
    objective = _objective(options.objective, train) if options.objective else None
    found = _with_bar("fitting", lambda progress: predict(train, test, objective, options.draws, options.seed, progress))
    record = prediction_record(found)
    _write(options.json, record)
    show_prediction(found, record, console)
    return 0


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m hephaestus_dag.scaling", description=__doc__, formatter_class=style)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fit = commands.add_parser(
        "fit", help="fit the law and judge whether it supports a mixture", epilog=FIT, formatter_class=style
    )
    fit.set_defaults(run=_fit)
    fit.add_argument("runs", type=Path, metavar="TABLE", help="table of runs, .csv or .parquet")
    fit.add_argument("--target-params", type=float, help="non-embedding parameters of the backbone (default: the largest run)")
    fit.add_argument("--target-tokens", type=float, help="tokens that the backbone will be trained on")
    fit.add_argument("--max-interval-width", type=float, default=0.2, help="widest interval acted upon (default: %(default)s)")
    fit.add_argument("--pictures", type=Path, metavar="FOLDER", help="also draw the law into this folder")
    guess = commands.add_parser(
        "predict", help="predict the losses of one table from another", epilog=PREDICT, formatter_class=style
    )
    guess.set_defaults(run=_predict)
    guess.add_argument("train", type=Path, metavar="TRAIN", help="table of runs with losses")
    guess.add_argument("test", type=Path, metavar="TEST", help="table of runs to predict, with or without losses")
    for command in (fit, guess):
        command.add_argument("--json", type=Path, metavar="OUT", help="also write everything as JSON")
        command.add_argument(
            "--objective",
            nargs="+",
            metavar="NAME=WEIGHT",
            help="weights of the losses, rescaled to sum to 1 (default: all alike); what is best depends on them",
        )
        command.add_argument("--draws", type=_count, default=200, help="bootstrap draws of each family (default: %(default)s)")
        command.add_argument("--seed", type=_count, default=0, help="seed of the bootstrap (default: %(default)s)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no whole number >= 0")
    return int(text)


def _objective(given: list[str] | None, runs: list[Run]) -> dict[str, float]:
    names = dict.fromkeys(name for run in runs for name in run.losses)
    if not given:
        if not names:
            raise ValueError("the table has no losses: it needs columns loss_<domain>")
        return {name: 1 / len(names) for name in names}
    try:
        pairs = [part.split("=") for text in given for part in text.split(",") if part]
        weights = {name.strip(): float(weight) for name, weight in pairs}
    except ValueError as error:
        raise ValueError(f"--objective {' '.join(given)}: give it as agent=0.5 code=0.25 text=0.25") from error
    if len(weights) < len(pairs):
        raise ValueError(f"--objective {' '.join(given)}: a loss stands there twice; give each one weight")
    if any(weight < 0 for weight in weights.values()) or not sum(weights.values()) > 0:
        raise ValueError(f"--objective {' '.join(given)}: weights must be >= 0 and not all 0")
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def _target(params: float | None, tokens: float | None) -> Target | None:
    if (params is None) != (tokens is None):
        raise ValueError("give --target-params and --target-tokens together")
    return None if params is None or tokens is None else Target(params=params, tokens=tokens, unique_tokens=None)


def _with_bar(label: str, work: Callable[[Progress], Result]) -> Result:
    """Do the work under a progress bar on standard error, where that is a terminal."""
    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(label)
        return work(lambda done, total: bar.update(task, completed=done, total=total))


def _console() -> Console:
    """Return a console that is wide enough for the tables where there is no terminal."""
    return Console(markup=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)


def _read(path: Path, console: Console) -> list[Run]:
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
    if path:
        with whole_file(path.resolve()) as staging:  # through a link, which stays
            staging.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
