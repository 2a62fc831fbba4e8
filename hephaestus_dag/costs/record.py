"""The estimate as JSON values."""

from dataclasses import asdict
from typing import Any

from hephaestus_dag.costs.amount import Amount
from hephaestus_dag.costs.book import Cost
from hephaestus_dag.costs.estimate import Estimate, assumptions
from hephaestus_dag.costs.lists import closing_lines

AMOUNTS = ("documents", "tokens", "inference", "training", "disk", "scratch")


def as_json(found: Estimate) -> dict[str, Any]:
    """Return the whole estimate; an amount is its value, how well it is known, and why it is not.

    Amounts are those of every asset, reused or not; the hours are those of the
    device, or of the last build; the totals count what is to be done.
    """
    return {
        "recipe": found.recipe.name,
        "device": found.device.name,
        "peak_flops": dict(found.device.peaks),
        "utilisation": found.utilisation,
        "assets": [_asset(found, cost) for cost in found.costs.values()],
        "memory": [{**asdict(memory), "total": memory.total, "fits": memory.fits} for memory in found.memory],
        "fetched": found.fetched,
        "missing": [str(each) for each in found.missing],
        "total": closing_lines(found),
        "assumptions": assumptions(found),
    }


def _asset(found: Estimate, cost: Cost) -> dict[str, Any]:
    standing, asked = found.standings.get(cost.key), cost.answers
    answers = {name: _amount(getattr(asked, name)) for name in ("questions", "read", "written", "money")} if asked else None
    return {
        "key": cost.key,
        "group": cost.group,
        "action": standing.action if standing else None,
        "reasons": list(standing.reasons) if standing else [],
        "causes": {key: list(reasons) for key, reasons in standing.causes.items()} if standing else {},
        "compared_with": str(standing.compared) if standing and standing.compared else None,
        **{name: _amount(getattr(cost, name)) for name in AMOUNTS},
        "hours": _amount(found.time(cost)),
        "as_before": found.timed(cost),
        "answers": answers,
        "measured": cost.measured,
        "note": cost.note,
        "shortage": cost.shortage,
        "missing": [str(each) for each in found.lacking.get(cost.key, [])],
    }


def _amount(value: Amount) -> dict[str, Any]:
    return {name: each for name, each in asdict(value).items() if name == "value" or each}
