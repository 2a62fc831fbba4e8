"""What stands behind the scores of the page: training, data, machine, commands, items, lineage, a second clone."""

from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any, NamedTuple

from results_runs import HEADLINE, Results, Run

from hephaestus_dag.evaluation.report.cells import number
from hephaestus_dag.evaluation.report.compare import signed
from hephaestus_dag.evaluation.report.markdown import plain
from hephaestus_dag.evaluation.report.published import NOT_VERIFIED, VERIFIED

MOST_SOURCES, WIDTH = 8, 124


class Aim(NamedTuple):
    """What was aimed at before the run: a bound of a score, or of its distance from the untrained model's."""

    score: str
    title: str
    words: str
    bound: float
    """The score's least value; of a distance the largest loss."""
    distance: str = ""
    """``points`` below the untrained model, or its ``share``, where a loss may not rise more."""


AIMS = (
    Aim(HEADLINE, HEADLINE, "at least 30 %", 0.3),
    Aim("simple_python", "of it simple Python", "at least 45 %", 0.45),
    Aim("BFCL irrelevance", "BFCL irrelevance", "at least 75 %", 0.75),
    Aim("MMLU 5-shot", "MMLU 5-shot", "at most 2 points below the untrained model", 0.02, "points"),
    Aim("MMLU 0-shot", "MMLU 0-shot", "at most 2 points below the untrained model", 0.02, "points"),
    Aim("loss on held-out text", "loss on held-out text", "at most 3 % above the untrained model", 0.03, "share"),
)
"""For two CPU cores."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns stand under each other in a terminal too."""
    cells = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])


def paper(results: Results) -> str:
    """Say what is known of the paper's own results."""
    known = [[where, row, column, f"{value:g}"] for (where, row, column), value in VERIFIED.items()]
    return table(["table", "row", "column", "the paper's number"], known) if known else NOT_VERIFIED


def aims(results: Results) -> str:
    """Compare what was aimed at with what the reference variant reached."""
    base = next((run for run in results.runs if not run.stages), None)
    mine = [run for run in results.runs if run.variant == (results.recipe.evaluation.reference_variant or results.best.variant)]
    rows = [
        [f"`{run.name}`", aim.title, aim.words, *_reached(aim, entry, base.group(aim.score) if base else None)]
        for run in mine
        for aim in AIMS
        if (entry := run.group(aim.score))
    ]
    hours = [
        [f"`{run.name}`", "hours of training", "at most 2.5", f"{_hours(run):.2f}", _yes(_hours(run) <= 2.5)] for run in mine
    ]
    return table(["model", "what", "aimed at", "found", "reached"], [*rows, *hours])


def _reached(aim: Aim, entry: dict[str, Any], base: dict[str, Any] | None) -> list[str]:
    score = entry["score"]
    if not aim.distance:
        return [f"{number(score, None)} %", _yes(score >= aim.bound)]
    if base is None:
        return ["no untrained model was scored", ""]
    if aim.distance == "points":
        return [f"{signed(100 * (score - base['score']), 1)} points", _yes(score >= base["score"] - aim.bound)]
    change = score / base["score"] - 1
    return [f"{signed(100 * change, 1)} %", _yes(change <= aim.bound)]


def _yes(reached: bool) -> str:
    return "yes" if reached else "no"


def _hours(run: Run) -> float:
    return sum(stage["seconds"] for stage in run.stages) / 3600


def training(results: Results) -> str:
    """Steps, tokens and hours of each run."""
    rows = []
    for run in results.runs:
        for stage in run.stages:
            said = [stage["checkpoint"], f"{stage['steps']:,}", f"{stage['tokens']:,}", f"{stage['seconds'] / 3600:.2f}"]
            rows.append([f"`{run.name}`", *said, str(stage["processes"])])
        if run.stages:
            total = sum(stage["tokens"] for stage in run.stages)
            rows.append(["", "together", "", f"{total:,}", f"{_hours(run):.2f}", ""])
    header = ["model", "stage", "steps", "tokens, padding included", "hours", "processes"]
    return table(header, rows) if rows else "Nothing was trained."


def forgetting(results: Results) -> str:
    """Held-out loss before training and after each stage."""
    domains = sorted({domain for run in results.runs for stage in run.stages for domain in stage["heldout"]})
    rows = []
    for run in results.runs:
        before = [("untrained", run.stages[0]["heldout_before"])] if run.stages else []
        for name, losses in [*before, *((stage["checkpoint"], stage["heldout"]) for stage in run.stages)]:
            found = (losses.get(domain) for domain in domains)
            rows.append([f"`{run.name}`", name, *(f"{each['bits_per_byte']:.3f}" if each else "" for each in found)])
    return (
        table(["model", "after", *(f"{domain}, bits per byte" for domain in domains)], rows) if rows else "Nothing was trained."
    )


def same_data(results: Results) -> str:
    """Say which data the runs of a seed share, byte for byte, and which not."""
    lines = []
    for seed in sorted({run.seed for run in results.runs if run.seed is not None}):
        runs = [run for run in results.runs if run.seed in (seed, None)]
        contents: dict[str, list[str]] = {}
        for run in runs:
            for key, each in run.facts["artifacts"].items():
                if key.partition("/")[0] not in results.recipe.variants and key != "backbone":
                    contents.setdefault(key, []).append(each["content"])
        shared = {key: found for key, found in contents.items() if len(found) > 1}
        equal = [f"`{key}`" for key, found in shared.items() if len({*found}) == 1]
        others = [f"`{key}`" for key, found in shared.items() if len({*found}) > 1]
        parts = [f"the same bytes in {', '.join(equal)}"] if equal else []
        parts += [f"**not the same** {', '.join(others)}"] if others else []
        names = ", ".join(f"`{run.variant}`" for run in runs)
        lines.append(f"- seed {seed} ({names}): {'; '.join(parts) or 'one run, so nothing to compare'}.")
    return "\n".join(lines) or "Nothing was trained."


def machine(results: Results) -> str:
    """Where each run was made, with what, and how long it took in all."""
    rows = []
    for run in results.runs:
        software = ", ".join(f"{name} {each}" for name, each in run.facts["software"].items())
        hours = [f"{run.facts['seconds'][name] / 3600:.2f}" for name in ("data", "training", "scores")]
        rows.append([f"`{run.name}`", run.facts["machine"], software, *hours])
    return table(["model", "machine", "software", "data, hours", "training, hours", "scores, hours"], rows)


def commands(results: Results) -> str:
    """The commands that made the runs and this page."""
    lines = [run.facts["commands"][at] for at in (0, 1) for run in results.runs]
    return "\n".join(["```", *dict.fromkeys(lines), "python benchmarks/results.py write", "```"])


def items(results: Results) -> str:
    """Some right and some wrong items of the best run, with their text."""
    told = results.best.read("items.json")
    blocks = []
    for item in told:
        parts = {
            "asked": item["question"],
            "offered": "; ".join(item["functions"]),
            "expected": item["expected"],
            "answered": item["answer"] or "nothing",
            "because": "" if item["right"] else item["reason"],
        }
        lines = [f"{'right' if item['right'] else 'WRONG'}  {item['item_id']}"]
        lines += [
            fill(text, WIDTH, initial_indent=f"  {name:10}", subsequent_indent=" " * 12, break_on_hyphens=False)
            for name, text in parts.items()
            if text
        ]
        blocks.append("\n".join(lines))
    right = sum(item["right"] for item in told)
    return f"{right} right and {len(told) - right} wrong items of `{results.best.name}`, drawn at random.\n\n```text\n" + (
        "\n\n".join(blocks) + "\n```"
    )


def wrong(results: Results) -> str:
    """The most frequent reasons for which items of BFCL are wrong."""
    rows = []
    for run in results.runs:
        counts: dict[str, int] = {}
        for entry in run.scores["bfcl"].summary["categories"].values() if "bfcl" in run.scores else ():
            for found in entry.get("reasons", ()):
                counts[found["reason"]] = counts.get(found["reason"], 0) + found["n"]
        top = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:4]
        rows += [[f"`{run.name}`" if at == 0 else "", reason, str(count)] for at, (reason, count) in enumerate(top)]
    return table(["model", "reason", "items"], rows)


def lineage(results: Results) -> str:
    """Follow the best score back to stages, sources and five documents, as ``hephaestus trace`` does."""
    if not results.best.stages:
        return f"`{results.best.name}` was not trained here: nothing is known of the documents behind it."
    found = results.best.read("trace.json")
    stages = [
        [
            each["checkpoint"],
            each["mixture"] or "a published model",
            f"{each['steps']:,}",
            f"{each['tokens']:,}",
            ", ".join(f"{share:.1%} {name}" for name, share in each["shares"].items()),
        ]
        for each in found["stages"]
    ]
    sources = [
        [row["source"], row["domain"], row["license"] or "", f"{row['documents']:,}", f"{row['tokens']:,}"]
        for row in found["sources"]
    ]
    more = f"and {len(sources) - MOST_SOURCES} more; " if len(sources) > MOST_SOURCES else ""
    documents = [
        [row["document_id"][:12], row["source"], row["license"], row["origin"], f"{row['tokens']:,}"]
        for row in found["examples"]
    ]
    return "\n".join(
        [
            f"```\n$ hephaestus trace {found['artifact']}\n{found['headline']}\n```",
            "",
            table(["checkpoint", "was shown", "steps", "tokens", "shares"], stages),
            "",
            f"{found['documents']:,} documents were shown, {found['tokens']:,} tokens. The largest sources:",
            "",
            table(["source", "domain", "licence", "documents", "tokens"], sources[:MOST_SOURCES]),
            "",
            f"{more}the {len(documents)} documents with most tokens:",
            "",
            table(["document", "source", "licence", "origin", "tokens"], documents),
            *(f"\nNot known: {each}" for each in found["unknown"]),
            *_nearest(found),
        ]
    )


def _nearest(found: dict[str, Any]) -> list[str]:
    """Return the documents that lie nearest to a right item, where there is one."""
    item = found.get("item")
    if not item:
        return []
    rows = [
        [row["document_id"][:12], row["source"], row["license"], row["origin"], f"{row['bm25']:.1f}"] for row in item["nearest"]
    ]
    command = f"hephaestus trace {found['artifact']} --item {item['name']}"
    among = f"of the {item['compared']:,} documents whose text is at hand, those nearest by the item's words (BM25):"
    return [
        "",
        f"And one right answer, `{command}`: {among}",
        "",
        table(["document", "source", "licence", "origin", "BM25"], rows),
    ]


def second_clone(results: Results) -> str:
    """Set runs that were made once more in a second clone beside the first."""
    rows = []
    for run in results.again:
        first = next((each for each in results.runs if each.name == run.name), None)
        one, other = (each.group(HEADLINE) if each else None for each in (first, run))
        if one and other:
            inside = _yes(one["low"] <= other["score"] <= one["high"])
            shown = f"{number(one['score'], None)} [{number(one['low'], None)}, {number(one['high'], None)}]"
            rows.append([f"`{run.name}`", shown, number(other["score"], None), inside, run.facts["machine"]])
    header = ["model", f"{HEADLINE}, %", "in a second clone", "inside the interval", "machine of the second clone"]
    return table(header, rows) if rows else "No run has been repeated in a second clone yet."


def not_run(results: Results) -> str:
    """What did not run, and why."""
    rows = results.report["not_run"]
    told = [f"- {row['part']}: {plain(row['reason'])} ({', '.join(f'`{name}`' for name in row['variants'])})" for row in rows]
    return "\n".join(told) or "Everything that the recipe asks for ran."


def pictures(results: Results) -> str:
    """The pictures that are drawn beside the page."""
    stages = ["![Held-out loss before training and after each stage](results-stages.png)"]
    trained = any(run.stages for run in results.runs)
    return "\n\n".join(["![Scores with their intervals](results-scores.png)", *(stages if trained else [])])


SECTIONS: dict[str, Callable[[Results], str]] = {
    each.__name__: each
    for each in (
        *(paper, aims, training, forgetting, same_data, machine, commands, items, wrong, lineage, second_clone, not_run),
        pictures,
    )
}
