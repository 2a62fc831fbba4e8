"""What an estimate says below its tables: lines under headings."""

import re
from collections import Counter
from datetime import datetime

from hephaestus_dag.costs.amount import NOTHING, Amount
from hephaestus_dag.costs.estimate import PAPER, PAPER_COST, Estimate, assumptions
from hephaestus_dag.costs.words import few, number
from hephaestus_dag.manifests import MANIFEST
from hephaestus_dag.recipe_file import Placed

MOST_CHANGES = 24
"""Changed fields that a person is shown."""
ALIKE = 3
"""Missing inputs that differ only in names, from which on they are one line."""
_NAMES = re.compile(r"'[^']*'|[^\s:()]+/[^\s:()]*(?: \w+)?(?=[\s:);]|$)")


def sections(found: Estimate) -> list[tuple[str, list[str]]]:
    """Return the headed lists."""
    return [
        ("What changed", change_lines(found)),
        ("To do", closing_lines(found)),
        ("Questions to language models", annotation_lines(found)),
        ("Missing inputs", missing_lines(found) or ["none"]),
        ("Fetched from the Hugging Face hub when first needed; access is not checked here", found.fetched),
        ("Too few documents", [f"{cost.key}: {cost.shortage}" for cost in found.costs.values() if cost.shortage]),
        ("Not known before the run", unknown_lines(found)),
        ("Assumptions", assumptions(found)),
    ]


def summary(found: Estimate) -> str:
    """Return how many assets a run reuses and builds."""
    actions = Counter(standing.action for standing in found.standings.values())
    words = {
        "reuse": "are there and will be reused",
        "rebuild": "will be built again",
        "build": "will be built for the first time",
        "unknown": "cannot be known before their inputs are here",
    }
    parts = [f"{actions[action]} {text}" for action, text in words.items() if actions[action]]
    return f"{len(found.costs)} assets" + (f": {', '.join(parts)}" if parts else "")


def change_lines(found: Estimate) -> list[str]:
    """Return each field that changed, with the assets in which it did and how many others follow, and since when."""
    roots: dict[str, set[str]] = {}
    followers: dict[str, set[str]] = {}
    for key, standing in found.standings.items():
        for reason in standing.reasons if standing.action == "rebuild" else ():
            roots.setdefault(reason, set()).add(key)
        for root, reasons in standing.causes.items():
            for reason in reasons:
                roots.setdefault(reason, set()).add(root)
                followers.setdefault(reason, set()).add(key)
    lines = []
    for reason, changed in roots.items():
        after = len(followers.get(reason, set()) - changed)
        lines.append(f"{reason}: {few(sorted(changed))}" + (f"; {after} more follow" if after else ""))
    if len(lines) > MOST_CHANGES:
        lines = [*lines[:MOST_CHANGES], f"and {len(lines) - MOST_CHANGES} more changes: --json has all"]
    return lines + _compared(found) if lines else []


def _compared(found: Estimate) -> list[str]:
    """Say with which artifacts the recipe was compared."""
    folders = [standing.compared for standing in found.standings.values() if standing.compared]
    if not folders:
        return []
    times = sorted(datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime) for folder in folders)
    first, last = f"{times[0]:%Y-%m-%d %H:%M}", f"{times[-1]:%Y-%m-%d %H:%M}"
    when = first if first == last else f"{first} to {last[11:] if first[:10] == last[:10] else last}"
    return [f"compared with the artifact of each asset that shares most values (@ in the table), written {when}"]


def closing_lines(found: Estimate) -> list[str]:
    """Return totals, the time of the main variant, and the paper's cost for the paper's recipe."""
    inference, left_out = found.sum_of("inference")
    training, no_training = found.sum_of("training")
    disk, no_disk = found.sum_of("disk")
    lines = [
        f"inference: {number(inference, 'FLOP')} FLOP{_without(left_out)}",
        f"training: {number(training, 'FLOP')} FLOP{_without(no_training)}",
        f"time: {_time_line(found)}",
        f"disk: {number(disk, 'B')}{_without(no_disk)}; a training job's checkpoints, while it runs: "
        + number(found.scratch, "B"),
    ]
    stages = found.stage_jobs()
    for stage, job in stages.items():
        cost = found.costs[job.key]
        several = f": {_days(found.wall_hours(job.key))} on {cost.processes}" if cost.processes > 1 else ""
        lines.append(
            f"{found.main_variant}, Stage {'I' * stage}: {number(job.steps)} steps, {number(job.tokens)} tokens, "
            f"{number(cost.training, 'FLOP')} FLOP; with its evaluations {_of_device(found, found.time(cost))}{several}"
        )
    if found.recipe.name == PAPER:
        both = NOTHING
        for stage in (1, 2):
            both = both + found.time(found.costs[stages[stage].key]) if stage in stages else both
        lines += [PAPER_COST, f"The estimate for Stages I and II beside it: {_of_device(found, both)}."]
    return lines


def _time_line(found: Estimate) -> str:
    hours, timed, unknown = found.sum_of_time()
    if not timed:
        untimed = "by FLOP alone: reading, curating and starting processes come on top"
        return f"{_of_device(found, hours)}, {untimed}{_without(unknown)}"
    others = "" if timed == sum(map(found.to_do, found.costs)) else ", the others by FLOP alone"
    return f"{number(hours, 'h')} one after the other; {timed} assets as they took before{others}{_without(unknown)}"


def _of_device(found: Estimate, hours: Amount) -> str:
    """Return hours of a device: of a GPU in GPU-hours, as they are rented."""
    if found.device.kind == "GPU" and (hours.value or 0) >= 1:
        return f"{hours.kind}{hours.value:,.0f} GPU-hours"
    return f"{number(hours, 'h')} of one {found.device.name}"


def _without(count: int) -> str:
    return f" (without {count} that cannot be known yet)" if count else ""


def _days(hours: Amount) -> str:
    if hours.value is not None and hours.value >= 48:
        return f"{hours.kind}{hours.value / 24:.1f} days"
    return number(hours, "h")


def unknown_lines(found: Estimate) -> list[str]:
    """Return why an amount is ``?``: one line for each reason, with the assets that it concerns."""
    reasons: dict[str, list[str]] = {}
    for cost in found.costs.values():
        for amount in (cost.documents, cost.tokens, cost.inference, cost.training, cost.disk):
            if amount.value is None and cost.key not in reasons.setdefault(amount.reason, []):
                reasons[amount.reason].append(cost.key)
    return [f"{reason} ({few(keys, 4)})" for reason, keys in reasons.items()]


def annotation_lines(found: Estimate) -> list[str]:
    """Return what each asset asks a language model, in tokens and money."""
    lines = []
    for cost in found.costs.values():
        if asked := cost.answers:
            local = not asked.money.value and not asked.money.reason
            money = "a local model: no money" if local else f"money: {_money(asked.money)}"
            words = f"{number(asked.questions)} questions, {number(asked.read)} tokens read, {number(asked.written)} written"
            lines.append(f"{cost.key}: {words}; {money}" + ("" if found.to_do(cost.key) else " (reused: not asked again)"))
    return lines


def _money(amount: Amount) -> str:
    return f"? ({amount.reason})" if amount.value is None else f"{amount.kind}{amount.value:,.4g}"


def missing_lines(found: Estimate) -> list[str]:
    """Return the missing inputs with their hints; many of one list that differ only in names are one line."""
    groups: list[list[Placed]] = []
    for each in found.missing:
        last = groups[-1][0] if groups else None
        if last and not each.hint and _kind(each) == _kind(last):
            groups[-1].append(each)
        else:
            groups.append([each])
    lines = []
    for group in groups:
        first = group[0]
        if len(group) < ALIKE:
            lines += map(str, group)
        else:
            names = [match[1] for each in group if (match := re.search(r"'([^']*)'", each.text))]
            place = f"{first.file}:{first.line}-{group[-1].line}: {first.where.rpartition('.')[0]}"
            lines.append(f"{place}: {len(group)} sources ({few(names)}), such as {first.text}")
        lines += [f"    {first.hint}"] if first.hint else []
    return lines


def _kind(missing: Placed) -> tuple[str, str]:
    """Return the list that a missing input stands in, and what is wrong with it without names and paths."""
    return missing.where.rpartition(".")[0], _NAMES.sub("…", missing.text)
