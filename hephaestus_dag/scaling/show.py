"""A study or a prediction on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from hephaestus_dag.scaling.decision import Decision
from hephaestus_dag.scaling.predict import Prediction
from hephaestus_dag.scaling.study import Study

MAX_ROWS = 40


def show_study(found: Study, decision: Decision, console: Console) -> None:
    """Print the law, the optimum at each scale, the backtest and the verdict; the console must not read names as markup."""
    law = found.law
    for fitted in law.families:
        table = Table(title=f"{fitted.family.name}: {fitted.family.formula}")
        domains = law.table.domains if len(law.table.domains) <= 6 else ()
        named = [fitted.family.named(loss.p, law.table.domains) for loss in fitted.losses]
        columns = [name for name in named[0] if "[" not in name or domains]
        for name in ("loss", "weight", *columns, "sigma"):
            table.add_column(name, justify="left" if name == "loss" else "right")
        for name, values, loss in zip(law.table.names, named, fitted.losses, strict=True):
            numbers = (f"{values[column]:.3g}" for column in columns)
            table.add_row(name, f"{found.objective[name]:.2f}", *numbers, f"{loss.sigma:.4f}")
        console.print(table)
    scatter = ", ".join(f"{name} {times:.2f}" for name, times in law.scatter.items())
    console.print(
        f"n = N/N0, d = D/D0, N0 = {law.families[0].n0:.4g} parameters, D0 = {law.families[0].d0:.4g} tokens; "
        f"the law is the mean of these families; runs scatter around each, in units of the best: {scatter}",
        highlight=False,
    )
    _show_optima(found, console)
    seeds = "not measured" if found.seed_sigma is None else f"{found.seed_sigma:.4f} from {law.repeats} repeats"
    console.print(f"noise of one run's objective: {found.sigma:.4f} around the law; between seeds: {seeds}")
    if test := found.backtest:
        moved = "" if test.ratio is None else f"; best ratio there {test.ratio_without:.3f}, with all runs {test.ratio:.3f}"
        console.print(
            f"backtest, left out and predicted: {test.left_out}: mean error {test.mean_error:.4f}, rank correlation "
            f"{test.rank_correlation:.3f}, regret of the mixture chosen {test.regret:.4f}{moved}"
        )
    for name, ratio in (("one power law per ratio", found.power_law_ratio), ("a parabola per scale", found.quadratic_ratio)):
        if ratio is not None:
            console.print(f"for comparison, {name} puts the target's best ratio at {ratio:.3f}")
    verdict = "" if decision.agent_ratio is None else f": {decision.agent_ratio:.3f}"
    console.print(f"{decision.status}{verdict}", style="bold")
    for reason in decision.reasons:
        console.print(f"  - {reason}", highlight=False)


def _show_optima(found: Study, console: Console) -> None:
    table = Table(title="Best mixture" if found.axis is None else f"Best ratio of {found.axis}")
    for name in ("parameters", "tokens", "FLOPs", "share", "best", "95 % interval", "regret band", "objective"):
        table.add_column(name, justify="right")
    for optimum in found.optima if found.axis else found.optima[-1:]:
        for domain in [found.axis] if found.axis else optimum.shares:
            (low, high), band = optimum.intervals[domain], optimum.regret_bands[domain]
            table.add_row(
                f"{'target ' if optimum.scale.is_target else ''}{optimum.scale.params:.3g}",
                f"{optimum.scale.tokens:.3g}",
                f"{optimum.scale.flops:.2g}",
                domain,
                f"{optimum.shares[domain]:.3f}{' (edge)' if optimum.at_edge else ''}",
                f"{low:.3f} - {high:.3f}",
                f"{band[0]:.2f} - {band[1]:.2f}",
                f"{optimum.loss:.4f}",
            )
    console.print(table)
    console.print(f"regret band: shares that cost less than {found.target.regret:.4f}, two standard deviations of one run")


def show_prediction(found: Prediction, record: dict[str, Any], console: Console) -> None:
    """Print the predicted losses row by row, and the scores."""
    names = found.names if len(found.names) <= 5 else ()
    table = Table(title="Predicted losses" if found.note is None else "Predicted order (1 is best)")
    for name in ("row", "params", "tokens", "rank", "mean", *names):
        table.add_column(name, justify="right")
    for row in record["rows"][:MAX_ROWS]:
        cells = (f"{row['predicted'][name]:.4f}" + _spread(row, name) for name in names)
        table.add_row(
            f"{row['row']}", f"{row['params']:.3g}", f"{row['tokens']:.3g}", f"{row['rank']}", f"{row['mean']:.4f}", *cells
        )
    console.print(table)
    if len(record["rows"]) > MAX_ROWS:
        console.print(f"and {len(record['rows']) - MAX_ROWS} more rows; --json writes all")
    if found.note:
        console.print(f"note: {found.note}", highlight=False, style="bold")
    if found_scores := record["scores"]:
        table = Table(title="Against the measured losses")
        for name in ("loss", "rows", "mean absolute error", "rank correlation", "regret"):
            table.add_column(name, justify="left" if name == "loss" else "right")
        for name, score in [
            *found_scores["by_loss"].items(),
            *([("mean", found_scores["mean"])] if "mean" in found_scores else []),
        ]:
            values = (_number(score.get(key)) for key in ("mean_absolute_error", "rank_correlation", "regret"))
            table.add_row(name, f"{score['rows']}", *values)
        console.print(table)


def _spread(row: dict[str, Any], name: str) -> str:
    low, high = row["interval"][name] if row["interval"] else (None, None)
    if low is None or high is None:  # levels do not extrapolate, or nothing was drawn
        return ""
    return f" +- {(high - low) / 2:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
