"""The law as files and as a table: ``law.json``, ``runs.parquet``, ``ratio.png`` and ``flops.png``."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hephaestus_dag.scaling.config import FitConfig
from hephaestus_dag.scaling.decision import LAW_FILE, Decision, decide
from hephaestus_dag.scaling.optimum import Law, fit_law
from hephaestus_dag.scaling.runs import Run, read_runs, write_runs

_DIGITS = 6


def fit_and_write(
    runs_path: Path, config: FitConfig, folder: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Fit the runs table, judge the fit, write the four files into ``folder``, and return the main figures.

    Among them are ``ratio``, the lowest point at the target whether supported or not, and ``agent_ratio``, the same if it is
    supported and None otherwise.

    Raises:
        ValueError: the table is malformed or cannot carry a law.
    """
    from hephaestus_dag.scaling.figure import flops_figure, ratio_figure

    runs = read_runs(runs_path)
    law = fit_law(runs, config, progress)
    decision = decide(law, config)
    folder.mkdir(parents=True, exist_ok=True)
    write_runs(folder / "runs.parquet", runs)
    (folder / LAW_FILE).write_text(json.dumps(law_record(law, decision, runs), indent=2) + "\n", encoding="utf-8")
    ratio_figure(law, folder / "ratio.png")
    flops_figure(law, folder / "flops.png")
    return _rounded(
        {
            "status": decision.status,
            "agent_ratio": decision.agent_ratio,
            "reasons": decision.reasons,
            "ratio": law.target.ratio,
            "interval": law.target.interval,
            "regret_band": law.target.regret_band,
            "runs": len(law.table.params),
            "excluded_runs": len(runs) - len(law.table.params),
            "sigma": law.sigma,
        }
    )


def law_record(law: Law, decision: Decision, runs: Sequence[Run]) -> dict[str, Any]:
    """Return the law, the optima and the verdict as JSON-able values, numbers to six significant digits."""
    return _rounded(
        {
            "decision": asdict(decision),
            "objective": law.objective,
            "code_share_of_rest": law.code_share_of_rest,
            "domains": {domain: asdict(fitted) for domain, fitted in law.domains.items()},
            "optima": [
                {
                    "params": o.scale.params,
                    "tokens": o.scale.tokens,
                    "flops": o.scale.flops,
                    "target": o.scale.is_target,
                    "ratio": o.ratio,
                    "interval": o.interval,
                    "regret_band": o.regret_band,
                    "loss": o.loss,
                    "curvature": o.curvature,
                    "at_edge": o.at_edge,
                }
                for o in law.optima
            ],
            "noise": {"sigma": law.sigma, "seed_sigma": law.seed_sigma, "replicates": law.num_replicates},
            "backtest": asdict(law.backtest) if law.backtest else None,
            "power_laws": {
                "metric": law.power_law_metric,
                "ratio_at_target": law.power_law_ratio,
                "laws": [asdict(fitted) for fitted in law.power_laws],
            },
            "bootstrap_draws": law.bootstrap_draws,
            "runs": len(law.table.params),
            "excluded": [{"cell": run.cell, "reason": run.status} for run in runs if run.status != "ok"],
        }
    )


def _rounded(value: Any) -> Any:
    """Round floats, so that the last bits of a linear algebra library do not reach the file."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
