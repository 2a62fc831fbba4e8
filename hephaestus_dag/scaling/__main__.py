"""Fit a scaling law to a table of proxy runs, from the command line."""

import argparse
import json
import sys
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from hephaestus_dag.scaling.config import FitConfig, Target
from hephaestus_dag.scaling.decision import Decision, decide
from hephaestus_dag.scaling.optimum import Law, fit_law
from hephaestus_dag.scaling.report import law_record
from hephaestus_dag.scaling.runs import read_runs

EXAMPLE = """example:
  python -m hephaestus_dag.scaling fit runs.parquet --objective agent=0.5,code=0.25,text=0.25 \\
      --target-params 7e9 --target-tokens 100e9 --json law.json

The table has one row per run: cell, params, tokens, flops, share_agent, share_code, share_text, loss_agent, loss_code,
loss_text (bits per byte), seed, status (ok, or why there are no losses).
Exit status: 0 a ratio is supported, 3 no supported optimum, 2 the input cannot be used."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = FitConfig(
            objective=options.objective,
            target=_target(options.target_params, options.target_tokens),
            bootstrap_draws=options.draws,
            max_interval_width=options.max_interval_width,
            seed=options.seed,
        )
        runs = read_runs(options.runs)
        law = fit_law(runs, config)
    except ValidationError as error:
        for problem in error.errors():
            where = "".join(f"{part}: " for part in problem["loc"])
            print(f"error: {where}{problem['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    decision = decide(law, config)
    show(law, decision, Console())
    if options.json:
        options.json.write_text(json.dumps(law_record(law, decision, runs), indent=2) + "\n", encoding="utf-8")
    return 0 if decision.status == "supported" else 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hephaestus_dag.scaling",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fit = commands.add_parser(
        "fit",
        help="fit the law and judge whether it supports a ratio",
        epilog=EXAMPLE,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    fit.add_argument("runs", type=Path, metavar="RUNS", help="table of runs, .parquet or .csv")
    fit.add_argument("--json", type=Path, metavar="OUT", help="also write everything as JSON")
    fit.add_argument(
        "--objective",
        type=_weights,
        default="agent=0.5,code=0.25,text=0.25",
        help="weights of the domains' losses, summing to 1 (default: %(default)s); a best ratio exists only relative to them",
    )
    fit.add_argument("--target-params", type=float, help="non-embedding parameters of the backbone (default: the largest run)")
    fit.add_argument("--target-tokens", type=float, help="tokens that the backbone will be trained on")
    fit.add_argument("--draws", type=int, default=200, help="bootstrap draws, at least 200 (default: %(default)s)")
    fit.add_argument("--max-interval-width", type=float, default=0.2, help="widest interval acted upon (default: %(default)s)")
    fit.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: %(default)s)")
    return parser


def _weights(text: str) -> dict[str, float]:
    try:
        return {name.strip(): float(weight) for name, weight in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form agent=0.5,code=0.25,text=0.25") from error


def _target(params: float | None, tokens: float | None) -> Target | None:
    if (params is None) != (tokens is None):
        raise ValueError("give --target-params and --target-tokens together")
    return None if params is None or tokens is None else Target(params=params, tokens=tokens, unique_tokens=None)


def show(law: Law, decision: Decision, console: Console) -> None:
    """Print the law, the optimum at each scale, the backtest and the verdict."""
    laws = Table(title="L(N, D, x) = E + A (N/N0)^-alpha + B (D/D0)^-beta (x + epsilon)^-gamma   [bits per byte]")
    for name in ("domain", "weight", "E", "A", "B", "alpha", "beta", "gamma", "epsilon", "sigma"):
        laws.add_column(name, justify="left" if name == "domain" else "right")
    for domain, d in law.domains.items():
        coefficients = (d.irreducible, d.size_scale, d.data_scale, d.alpha, d.beta, d.gamma, d.epsilon)
        laws.add_row(domain, f"{law.objective[domain]:.2f}", *(f"{v:.3f}" for v in coefficients), f"{d.sigma:.4f}")
    console.print(laws)
    first = next(iter(law.domains.values()))
    console.print(f"N0 = {first.reference_params:.4g} parameters, D0 = {first.reference_tokens:.4g} tokens")

    optima = Table(title=f"Best agent ratio ({law.bootstrap_draws} bootstrap draws)")
    for name in ("parameters", "tokens", "FLOPs", "best ratio", "95 % interval", "regret band", "objective"):
        optima.add_column(name, justify="right")
    for o in law.optima:
        optima.add_row(
            f"{'target ' if o.scale.is_target else ''}{o.scale.params:.3g}",
            f"{o.scale.tokens:.3g}",
            f"{o.scale.flops:.2g}",
            f"{o.ratio:.3f}{' (edge)' if o.at_edge else ''}",
            f"{o.interval[0]:.3f} - {o.interval[1]:.3f}",
            f"{o.regret_band[0]:.2f} - {o.regret_band[1]:.2f}",
            f"{o.loss:.4f}",
        )
    console.print(optima)
    seeds = "not measured" if law.seed_sigma is None else f"{law.seed_sigma:.4f} from {law.num_replicates} repeats"
    console.print(f"noise of one run's objective: {law.sigma:.4f} around the law; between seeds: {seeds}")
    if law.backtest:
        b = law.backtest
        console.print(
            f"backtest, {b.params:.3g} parameters left out: mean error {b.mean_error:.4f}, "
            f"best ratio there {b.ratio_without:.3f} (with all runs {b.ratio:.3f})"
        )
    if law.power_law_ratio is not None:
        console.print(
            f"for comparison, one power law per ratio ({law.power_law_metric}) puts the target's best ratio at "
            f"{law.power_law_ratio:.3f}"
        )
    console.print(
        f"[bold]{decision.status}[/bold]" + (f": {decision.agent_ratio:.3f}" if decision.agent_ratio is not None else "")
    )
    for reason in decision.reasons:
        console.print(f"  - {reason}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
