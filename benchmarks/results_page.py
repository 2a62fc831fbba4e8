"""The page of results: a template written by hand, and the sections that the kept runs fill in.

A line ``{{ name }}`` of the template stands for a section of `SECTIONS`, or of `results_background.SECTIONS`. No number is
written by hand, so that the page follows from the kept runs: the same runs give the same page.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Any

from results_background import SECTIONS as BACKGROUND
from results_background import table
from results_kept import ResultsError
from results_runs import HEADLINE, Results, Run

from hephaestus_dag.evaluation.report.cells import decimals_of, number
from hephaestus_dag.evaluation.report.compare import signed

CALLS = {
    HEADLINE: "AST non-live",
    "simple_python": "of it simple Python",
    "BFCL AST live": "AST live",
    "BFCL irrelevance": "irrelevance",
    "BFCL relevance": "relevance",
    "BFCL multi-turn": "multi-turn",
}
"""Scores and categories of BFCL -> column."""
ABILITIES = ("agentbench", "mmlu", "gsm8k", "humaneval")
"""Benchmarks whose scores are told beside those of BFCL."""
PLACE = re.compile(r"^\{\{ (\w+) \}\}$", re.MULTILINE)


def write_page(results: Results, template: str) -> str:
    """Return the page. Raises ResultsError where a section is unknown, or a variant of the recipe is missing in silence.

    A page with ``{{ missing }}`` names the variants that were not run; without it, all of them must be there.
    """
    names = PLACE.findall(template)
    if unknown := sorted({*names} - {*SECTIONS}):
        raise ResultsError(f"the page asks for {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if results.missing and "missing" not in names:
        commands = [f"  hephaestus run {results.recipe.name} --job score_{name}" for name in results.missing]
        raise ResultsError(
            f"nothing is kept of {', '.join(results.missing)}: run\n"
            + "\n".join(commands)
            + "\nand keep it, or let the page say "
            "what is missing, with a line {{ missing }}"
        )
    return PLACE.sub(lambda found: SECTIONS[found[1]](results), template)


def short(results: Results) -> str:
    """Say which run has the highest score, what untrained models get, and what was run."""
    best, others = results.best, [run for run in results.runs if not run.stages and run is not results.best]
    lines = [f"No run has a higher score than `{best.name}`: {_share(best.group(HEADLINE))} of {HEADLINE} is right."]
    lines += [f"Of `{run.name}`, which is not trained here, it is {_share(run.group(HEADLINE))}." for run in others]
    told = ", ".join(f"`{run.name}`" for run in results.runs if run.stages)
    return " ".join([*lines, f"Trained here: {told}." if told else "Nothing was trained here."])


def missing(results: Results) -> str:
    """Name the variants that were not run."""
    if not results.missing:
        return "Every variant of the recipe was run."
    return f"Not run: {', '.join(f'`{name}`' for name in results.missing)}. Nothing here says how they compare."


def calls(results: Results) -> str:
    """The scores of BFCL."""
    return _scores(results, {name: title for name, title in CALLS.items() if any(run.group(name) for run in results.runs)})


def abilities(results: Results) -> str:
    """The scores of the other benchmarks."""
    return _scores(results, {name: name for name in results.groups(*ABILITIES)})


def losses(results: Results) -> str:
    """Bits per byte of reference answers and of held-out documents."""
    return _scores(results, {name: name.removeprefix("loss on ") for name in results.groups("benchmark_loss")})


def _scores(results: Results, columns: Mapping[str, str]) -> str:
    """Return a table with a row for each run; below the titles stands the number of items, where it is the same in all."""
    found = {name: [run.group(name) for run in results.runs] for name in columns}
    sizes = {name: {entry["n"] for entry in entries if entry} for name, entries in found.items()}
    header = [
        "model",
        *(f"{title} (n={min(sizes[name])})" if len(sizes[name]) == 1 else title for name, title in columns.items()),
    ]
    rows = [
        [f"`{run.name}`", *(_interval(results, name, found[name][at], len(sizes[name]) > 1) for name in columns)]
        for at, run in enumerate(results.runs)
    ]
    return table(header, rows)


def _interval(results: Results, name: str, entry: Mapping[str, Any] | None, with_items: bool) -> str:
    if entry is None:
        return "not run"
    digits = _digits(results, name)
    low, high = number(entry["low"], digits), number(entry["high"], digits)
    return f"{number(entry['score'], digits)} [{low}, {high}]" + (f" n={entry['n']}" if with_items else "")


def _digits(results: Results, name: str) -> int | None:
    """Return with how many decimals a score is told; that of a category is a share."""
    columns = {column["group"]: column["benchmark"] for column in results.report["columns"]}
    return decimals_of(results.report, columns[name], name) if name in columns else None


def _share(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "an unknown share"
    return f"{number(entry['score'], None)} % [{number(entry['low'], None)}, {number(entry['high'], None)}]"


def ordering(results: Results) -> str:
    """Say which variants the data put above others, and which they do not tell apart."""
    above, others, pairs = list[str](), list[str](), 0
    for one, other in combinations(results.variants, 2):
        rows = results.paired(one, other, HEADLINE)
        signs = {(row["difference"] > 0) - (row["difference"] < 0) if row["seen"] else 0 for row in rows}
        pairs += bool(rows)
        if signs == {1}:
            above.append(f"- `{one}` is above `{other}`: {_sentences(rows)}.")
        elif signs == {-1}:
            above.append(f"- `{other}` is above `{one}`: {_sentences(results.paired(other, one, HEADLINE))}.")
        elif signs == {0}:
            others.append(f"- `{one}` and `{other}` are not told apart: {_sentences(rows)}.")
        elif rows:
            others.append(f"- `{one}` and `{other}`: their runs do not agree, so nothing is said: {_sentences(rows)}.")
    if not pairs:
        return "There are no two variants with runs of the same seed to compare."
    head = (
        f"{HEADLINE}, in points, on the same items; pairs of variants that were compared: {pairs}. One is put above another "
        "only where the 95 % interval of the paired difference leaves out zero in every pair of runs of the same seed. That "
        "interval is over items; it does not hold what another seed would change."
    )
    return "\n".join([head, "", *above, *others])


def _sentences(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return differences, each with the seed of its runs."""
    found = []
    for row in rows:
        seed = next((name.partition(", ")[2] for name in (row["variant"], row["reference"]) if ", " in name), "")
        found.append(f"{row['sentence']}{f' ({seed})' if seed else ''}")
    return "; ".join(found)


def seeds(results: Results) -> str:
    """Say how far runs differ that only the order of their data sets apart."""
    rows = results.between_seeds(HEADLINE)
    if not rows:
        return (
            "No variant was trained with two seeds, so how far a score moves by chance of the order of its data is not known."
        )
    return "\n".join(f"- {HEADLINE}, `{row['variant']}` − `{row['reference']}`: {row['sentence']}." for row in rows)


def against_best(results: Results) -> str:
    """Paired differences of all runs from the best one."""
    return _differences(results, results.best) if results.best.stages else "The best run is the untrained model: see above."


def against_base(results: Results) -> str:
    """Paired differences of all trained runs from the model as it was before."""
    base = next((run for run in results.runs if not run.stages), None)
    return _differences(results, base) if base else "The untrained model was not scored."


def _differences(results: Results, reference: Run) -> str:
    rows = [row for row in results.report["differences"] if row["reference"] == reference.name]
    by_pair = {(row["variant"], row["group"]): row["sentence"].removeprefix("no difference seen ") for row in rows}
    names = list(dict.fromkeys(row["variant"] for row in rows))
    if not names:
        return "There is no other run to compare it with."
    shares = CALLS | {group: group for group in results.groups(*ABILITIES)}
    losses = {group: f"{group.removeprefix('loss on ')}, loss" for group in results.groups("benchmark_loss")}
    parts = []
    for columns in (shares, losses):
        found = {group: title for group, title in columns.items() if any((name, group) in by_pair for name in names)}
        body = [[f"`{name}`", *(by_pair.get((name, group), "not compared") for group in found)] for name in names]
        parts += [table([f"minus `{reference.name}`", *found.values()], body)] if found else []
    return "\n\n".join([*parts, "In round brackets: no difference is seen, the interval holds zero."])


def clean(results: Results) -> str:
    """Scores without the items that training documents overlap with."""
    wanted = {*CALLS, *results.groups(*ABILITIES)}
    rows = [
        [f"`{run.name}`", group, *_clean(results, run, group, entry)]
        for run in results.runs
        for groups in results.report["clean"][run.name].values()
        for group, entry in groups.items()
        if group in wanted
    ]
    header = ["model", "score", "all items", "clean items", "change", "left out"]
    return table(header, rows) if rows else "No training documents were compared with the items."


def _clean(results: Results, run: Run, group: str, entry: Mapping[str, Any]) -> list[str]:
    digits, full = _digits(results, group), run.group(group) or {}
    change = signed((100 if digits is None else 1) * entry.get("change", 0), 1 if digits is None else digits)
    shown = [_interval(results, group, entry, True), change] if "score" in entry else [entry["reason"], ""]
    return [number(full["score"], digits), *shown, str(entry["overlapping"])]


SECTIONS: dict[str, Callable[[Results], str]] = {
    each.__name__: each
    for each in (short, missing, calls, abilities, losses, ordering, seeds, against_best, against_base, clean)
} | BACKGROUND
"""What a template can ask for."""
