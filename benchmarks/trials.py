"""The log of what was tried: one small file for each change and its measured effect, and docs/what-helped.md made from them.

    python benchmarks/development.py MODEL --json scores.json
    python benchmarks/trials.py add "learning rate 5e-4" --against "as it was" --development scores.json \\
        --training STORE/.../stage3_checkpoint/... --taken no --note "loss is lower, calls are not better"
    python benchmarks/trials.py write

A change is judged on the development split (see `development.py`), item by item, and on held-out loss: BFCL itself is asked
only for the final table. The text around the table is results/trials.md.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from results_background import table

from hephaestus_dag.evaluation.development.score import AST
from hephaestus_dag.evaluation.report.compare import sentence
from hephaestus_dag.evaluation.statistics import Stratum, paired_difference

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "results" / "trials"
PLACE = "{{ trials }}"
PARTS = {"ast": AST, "irrelevance": ("irrelevance",)}
"""Scores of the development split: kinds of items whose mean each is."""

Trial = dict[str, Any]


class TrialError(ValueError):
    """A trial that cannot be kept or shown."""


def add(
    folder: Path,
    change: str,
    *,
    against: str = "",
    taken: str = "",
    note: str = "",
    development: Path | None = None,
    training: Path | None = None,
) -> Path:
    """Keep a trial as the next file of a folder and return the file.

    ``against`` is the change of an earlier trial that it is compared with, ``taken`` whether it stayed, ``development`` what
    development.py wrote about one model, ``training`` the output folder of the training job.
    Raises TrialError for a change that is there already, one to compare with that is not, or a file of several models.
    """
    known = read_trials(folder)
    if change in (each["change"] for each in known):
        raise TrialError(f"{change!r} is there already: remove its file in {folder}, or name the change otherwise")
    if against and against not in (each["change"] for each in known):
        raise TrialError(f"{against!r} was not tried; there are: {', '.join(each['change'] for each in known) or 'none'}")
    trial: Trial = {"change": change, "against": against, "taken": taken, "note": note}
    if training:
        summary = json.loads((training / "summary.json").read_text())
        losses = {domain: score["bits_per_byte"] for domain, score in summary["heldout"].items()}
        trial["training"] = {"steps": summary["steps"], "tokens": summary["tokens"], "heldout": losses}
    if development:
        models = json.loads(development.read_text())
        if len(models) != 1:
            raise TrialError(f"{development} is about {len(models)} models; give one of a single model")
        (found,) = models.values()
        trial["development"] = {
            "shares": {part: share for part, share in found["shares"].items() if part in PARTS},
            "right": {item["id"]: [item["category"], item["valid"]] for item in found["items"]},
        }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(known) + 1:03}-{re.sub(r'[^a-z0-9]+', '-', change.lower()).strip('-')[:50]}.json"
    path.write_text(json.dumps(trial, ensure_ascii=False) + "\n")
    return path


def read_trials(folder: Path) -> list[Trial]:
    """Return the trials of a folder in the order in which they were made."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def trials_table(trials: Sequence[Trial]) -> str:
    """Return what each trial cost and did. Raises TrialError when there is none."""
    if not trials:
        raise TrialError("no trial is kept: `python benchmarks/trials.py add` keeps one")
    by_change = {trial["change"]: trial for trial in trials}
    domains = sorted({domain for trial in trials for domain in trial.get("training", {}).get("heldout", {})})
    header = ["change", "steps", "tokens", *(f"held-out {domain}" for domain in domains), "calls", "irrelevance"]
    header += ["against", "calls, difference", "irrelevance, difference", "taken", "note"]
    rows = []
    for trial in trials:
        trained, before = trial.get("training"), by_change.get(trial["against"])
        rows.append(
            [
                trial["change"],
                *([f"{trained['steps']:,}", f"{trained['tokens']:,}"] if trained else ["", ""]),
                *(
                    f"{trained['heldout'][domain]:.3f}" if trained and domain in trained["heldout"] else ""
                    for domain in domains
                ),
                *(_share(trial, part) for part in PARTS),
                trial["against"],
                *(_difference(trial, before, part) for part in PARTS),
                trial["taken"],
                trial["note"],
            ]
        )
    return table(header, rows)


def _share(trial: Trial, part: str) -> str:
    share = trial.get("development", {}).get("shares", {}).get(part)
    return f"{100 * share['score']:.1f} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]" if share else ""


def _difference(trial: Trial, before: Trial | None, part: str) -> str:
    """Return the paired difference of two trials on the items that both were asked."""
    if not (before and "development" in trial and "development" in before):
        return ""
    one, other = trial["development"]["right"], before["development"]["right"]
    kinds = [[item for item in one if item in other and _kind(one, item) == kind] for kind in PARTS[part]]
    if not all(kinds):
        return ""
    first, second = ([_stratum(right, ids, len(kinds)) for ids in kinds] for right in (one, other))
    return sentence(paired_difference(first, second), None)


def _kind(right: Mapping[str, Sequence[Any]], item: str) -> str:
    return right[item][0].partition("_")[2]


def _stratum(right: Mapping[str, Sequence[Any]], ids: Sequence[str], kinds: int) -> Stratum:
    return Stratum(np.array([right[item][1] for item in ids], float), None, 1 / kinds)


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the trials are kept")
    commands = parser.add_subparsers(required=True, dest="command", metavar="add|write")
    one = commands.add_parser("add", help="keep a trial")
    one.add_argument("change", help="what was changed, in words")
    one.add_argument("--against", default="", help="the change of the trial that it is compared with")
    one.add_argument("--taken", default="", choices=("yes", "no"), help="whether the change stayed")
    one.add_argument("--note", default="", help="what one learns from it, in words")
    one.add_argument("--development", type=Path, help="what development.py --json wrote about the model")
    one.add_argument("--training", type=Path, help="output folder of the training job, with summary.json")
    other = commands.add_parser("write", help="write the page")
    other.add_argument("--template", type=Path, default=FOLDER.with_suffix(".md"), help="its text")
    other.add_argument("--page", type=Path, default=ROOT / "docs" / "what-helped.md", help="page to write")
    given = vars(parser.parse_args(arguments))
    command, folder = given.pop("command"), given.pop("folder")
    try:
        if command == "add":
            print(add(folder, given.pop("change"), **given))
        else:
            page = given["template"].read_text().replace(PLACE, trials_table(read_trials(folder)))
            given["page"].write_text(page)
            print(given["page"])
    except TrialError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
