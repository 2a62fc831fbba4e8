"""A study or a prediction on a terminal."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from hephaestus_dag.scaling.decision import Decision
from hephaestus_dag.scaling.predict import Prediction
from hephaestus_dag.scaling.residuals import FAR, Outlier
from hephaestus_dag.scaling.runs import Run
from hephaestus_dag.scaling.study import Study
from hephaestus_dag.scaling.table import Array, finished
from hephaestus_dag.scaling.table import Table as Runs

MAX_ROWS = 40
MAX_OUTLIERS = 20
ACROSS = 6
"""Losses beside each other."""


def show_runs(name: str, runs: Sequence[Run], copies: int, console: Console) -> None:
    """Print what was read from a table: how many rows, which sizes, budgets, domains, losses and seeds, and what is left out.

    Args:
        name: of the file.
        runs: as read.
        copies: rows that repeat another one wholly, and count once.
        console: must not read names as markup.
    """
    used = finished(runs)
    without = [run for run in runs if run.status != "ok"]
    rows = f"{name}: {len(runs) + copies} rows, {len(used)} used"
    rows += f", copies of others: {copies}" if copies else ""
    console.print(rows + (f", {len(without)} left out" if without else ""), highlight=False)
    for run in without:
        console.print(f"  left out: {run.place}, {run.cell}: {run.status}", highlight=False)
    if not used:
        return
    table = Runs.of(runs)
    domains = [f"{d} {low:.3g} - {high:.3g}" for d, low, high in zip(table.domains, *_ends(table.shares), strict=True)]
    mixtures = len(np.unique(np.round(table.shares, 4), axis=0))
    alone = "" if table.axis is None else f"; only {table.domains[table.axis]} varies, the others keep their proportions"
    measured = [f"{loss} ({count})" for loss, count in zip(table.names, np.isfinite(table.losses).sum(0), strict=True)]
    seeds = len({run.seed for run in used})
    for line in (
        f"sizes: {_counted(table.params)} parameters",
        f"token budgets: {_counted(table.tokens)}",
        f"domains: {', '.join(domains)}; {mixtures} mixtures{alone}",
        f"losses (rows that have them): {', '.join(measured) or 'none'}",
        f"seeds: {seeds}; runs that repeat the size and mixture of another: {table.repeated_runs}",
    ):
        console.print(f"  {line}", highlight=False)


def _ends(shares: Array) -> tuple[Array, Array]:
    return shares.min(0), shares.max(0)


def _counted(values: Array) -> str:
    """Name each value, or, of many, how many there are and between which."""
    distinct = np.unique(values)
    if len(distinct) > 6:
        return f"{len(distinct)} from {distinct[0]:.3g} to {distinct[-1]:.3g}"
    return ", ".join(f"{value:.3g}" for value in distinct)


def show_study(found: Study, decision: Decision, far: Sequence[Outlier], console: Console) -> None:
    """Print the law, runs far off it, the optimum at each scale, the backtest and the verdict.

    The console must not read names as markup.
    """
    law = found.law
    for fitted in law.families:
        domains = law.table.domains if len(law.table.domains) <= 6 else ()
        named = [fitted.family.named(loss.p, law.table.domains) for loss in fitted.losses]
        rows = [name for name in named[0] if "[" not in name or domains]
        console.print(f"\n{fitted.family.name}: {fitted.family.formula}", highlight=False)
        fits = [*zip(law.table.names, named, fitted.losses, strict=True)]
        for part in (fits[i : i + ACROSS] for i in range(0, len(fits), ACROSS)):
            table = Table(box=SIMPLE, show_edge=False)
            table.add_column("")
            for name, _, _ in part:
                table.add_column(name, justify="right")
            table.add_row("weight", *(f"{found.objective[name]:.2f}" for name, _, _ in part))
            for row in rows:
                table.add_row(row, *(f"{values[row]:.3g}" for _, values, _ in part))
            table.add_row("sigma", *(f"{loss.sigma:.3g}" for _, _, loss in part))
            console.print(table)
    scatter = ", ".join(f"{name} {times:.2f}" for name, times in law.scatter.items())
    console.print(
        f"n = N/N0, d = D/D0, N0 = {law.families[0].n0:.4g} parameters, D0 = {law.families[0].d0:.4g} tokens; "
        f"the law is the mean of these families; runs scatter around each, in units of the best: {scatter}",
        highlight=False,
    )
    _show_outliers(far, console)
    _show_optima(found, console)
    seeds = "not measured" if found.seed_sigma is None else f"{found.seed_sigma:.3g} from {law.repeats} repeats"
    console.print(f"noise of one run's objective: {found.sigma:.3g} around the law; between seeds: {seeds}")
    if test := found.backtest:
        moved = "" if test.ratio is None else f"; best ratio there {test.ratio_without:.3f}, with all runs {test.ratio:.3f}"
        console.print(
            f"backtest, left out and predicted: {test.left_out}: mean error {test.mean_error:.3g}, rank correlation "
            f"{test.rank_correlation:.3f}, regret of the mixture chosen {test.regret:.3g}{moved}"
        )
    for name, ratio in (("one power law per ratio", found.power_law_ratio), ("a parabola per scale", found.quadratic_ratio)):
        if ratio is not None:
            console.print(f"for comparison, {name} puts the target's best ratio at {ratio:.3f}")
    verdict = "" if decision.agent_ratio is None else f": {decision.agent_ratio:.3f}"
    console.print(f"{decision.status}{verdict}", style="bold")
    for reason in decision.reasons:
        console.print(f"  - {reason}", highlight=False)


def _show_outliers(far: Sequence[Outlier], console: Console) -> None:
    if not far:
        console.print(f"no run lies more than {FAR:g} sigma of a run off the law")
        return
    console.print(
        f"far off the law, more than {FAR:g} sigma of a run (to leave a broken run out, put the reason in a column status):"
    )
    for one in far[:MAX_OUTLIERS]:
        values = f"{one.measured:.5g}, by the law {one.predicted:.5g}: {one.residual:+.1f} sigma"
        console.print(f"  {one.place}, {one.cell}: loss {one.loss} {values}", highlight=False)
    if len(far) > MAX_OUTLIERS:
        console.print(f"  and {len(far) - MAX_OUTLIERS} more; --json writes all")


def _show_optima(found: Study, console: Console) -> None:
    named = [] if found.axis else ["share"]
    table = Table(title=f"Best ratio of {found.axis}" if found.axis else "Best mixture", box=SIMPLE)
    for name in ("parameters", "tokens", *named, "best", "95 % interval", "regret band", "objective", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for optimum in found.optima if found.axis else found.optima[-1:]:
        for domain in [found.axis] if found.axis else optimum.shares:
            (low, high), band = optimum.intervals[domain], optimum.regret_bands[domain]
            marks = ["target"] * optimum.scale.is_target + ["edge"] * optimum.at_edge
            table.add_row(
                f"{optimum.scale.params:.3g}",
                f"{optimum.scale.tokens:.3g}",
                *(domain for _ in named),
                f"{optimum.shares[domain]:.3f}",
                f"{low:.3f} - {high:.3f}",
                f"{band[0]:.2f} - {band[1]:.2f}",
                f"{optimum.loss:.5g}",
                ", ".join(marks),
            )
    console.print(table)
    console.print(f"regret band: shares that cost less than {found.target.regret:.3g}, two standard deviations of one run")
    if any(optimum.at_edge for optimum in found.optima):
        console.print("edge: the best lies at an end of what was tried")


def show_prediction(found: Prediction, record: dict[str, Any], console: Console) -> None:
    """Print the predicted losses row by row, and the scores."""
    room = (console.width - 40) // 20
    names = found.names if len(found.names) <= room else ()
    scales = int(found.scales.max()) + 1
    table = Table(title="Predicted losses" if found.levels.any() else "Predicted order (1 is best)", box=SIMPLE)
    for name in ("row", "params", "tokens", "rank", "mean", *names):
        table.add_column(name, justify="right")
    for row in record["rows"][:MAX_ROWS]:
        cells = (f"{row['predicted'][name]:.5g}" + _spread(row, name) for name in names)
        rank = f"{row['rank']} of {row['ranked_rows']}"
        table.add_row(f"{row['row']}", f"{row['params']:.3g}", f"{row['tokens']:.3g}", rank, f"{row['mean']:.5g}", *cells)
    console.print(table)
    if not names:
        console.print(f"the {len(found.names)} losses of each row do not fit here: --json writes them, or a wider terminal")
    if scales > 1:
        console.print(
            f"the rows have {scales} scales (size and token budget): each is ranked among those of its own, 1 is best"
        )
    if len(record["rows"]) > MAX_ROWS:
        console.print(f"and {len(record['rows']) - MAX_ROWS} more rows; --json writes all")
    for words in (found.note, found.caution):
        if words:
            console.print(f"note: {words}", highlight=False, style="bold")
    if found_scores := record["scores"]:
        table = Table(title="Against the measured losses", box=SIMPLE)
        keys = ["mean_absolute_error", "rank_correlation", *["rank_correlation_within_scales"] * (scales > 1), "regret"]
        for name in ("loss", "rows", *(key.replace("_", " ") for key in keys)):
            table.add_column(name, justify="left" if name == "loss" else "right")
        for name, score in [
            *found_scores["by_loss"].items(),
            *([("mean", found_scores["mean"])] if "mean" in found_scores else []),
        ]:
            table.add_row(name, f"{score['rows']}", *(_number(score.get(key)) for key in keys))
        console.print(table)
        if mean := found_scores.get("mean"):
            console.print(
                f"regret: what row {mean['chosen_row']}, predicted best of the largest scale, costs above the truly best"
            )


def _spread(row: dict[str, Any], name: str) -> str:
    low, high = row["interval"][name] if row["interval"] else (None, None)
    if low is None or high is None:  # levels do not extrapolate, or nothing was drawn
        return ""
    return f" +- {(high - low) / 2:.2g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
