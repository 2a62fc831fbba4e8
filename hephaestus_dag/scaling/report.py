"""A study as files: ``law.json``, ``runs.parquet``, ``optima.csv`` and the pictures."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.scaling.config import FitConfig
from hephaestus_dag.scaling.decision import LAW_FILE, Decision, best_interval, best_ratio, decide
from hephaestus_dag.scaling.families import ALPHA, BETA
from hephaestus_dag.scaling.law import Progress
from hephaestus_dag.scaling.optimum import Optimum
from hephaestus_dag.scaling.predict import Prediction, scores
from hephaestus_dag.scaling.residuals import outliers
from hephaestus_dag.scaling.runs import Run, read_runs, write_runs
from hephaestus_dag.scaling.study import Study, study

PICTURES = {
    "loss against ratio, per scale": "ratio.png",
    "loss against compute, per ratio": "flops.png",
    "best ratio against compute": "optimum.png",
    "residuals": "residuals.png",
}
_DIGITS = 6


def fit_and_write(runs_path: Path, config: FitConfig, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Fit the runs table, judge the fit, write table, law and pictures into ``folder``, and return the main figures.

    Among them are ``ratio``, the best at the target whether supported or not, and ``agent_ratio``, the same if it is supported
    and None otherwise.

    Raises:
        ValueError: the table is malformed or cannot carry a law.
    """
    from hephaestus_dag.scaling.pictures import draw

    runs = read_runs(runs_path)
    found = study(runs, config, progress)
    decision = decide(found, config)
    record = law_record(found, decision, runs, config)
    folder.mkdir(parents=True, exist_ok=True)
    write_runs(folder / "runs.parquet", runs)
    (folder / LAW_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    with (folder / "optima.csv").open("w", newline="", encoding="utf-8") as file:
        rows = optimum_rows(found)
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(found, folder)
    return rounded(
        {
            "status": decision.status,
            "agent_ratio": decision.agent_ratio,
            "reasons": decision.reasons,
            "ratio": best_ratio(found, config),
            "interval": best_interval(found, config),
            "regret_band": found.target.regret_bands[found.axis] if found.axis else None,
            "regret": found.target.regret,
            "objective": " + ".join(f"{weight:g} {name}" for name, weight in found.objective.items() if weight),
            "runs": len(found.law.table.params),
            "excluded_runs": sum(run.status != "ok" for run in runs),
            "sigma": found.sigma,
            "optima": rows,
        }
    )


def law_record(found: Study, decision: Decision, runs: Sequence[Run], config: FitConfig) -> dict[str, Any]:
    """Return the law, the optima and the verdict as JSON-able values, numbers to six significant digits."""
    law = found.law
    return rounded(
        {
            "decision": asdict(decision),
            "objective": found.objective,
            "best": config.best,
            "general_loss": config.general_loss.model_dump() if config.general_loss else None,
            "varied_domain": found.axis,
            "optima": [_optimum_record(optimum, found.axis) for optimum in found.optima],
            "families": {
                fitted.family.name: {
                    "scatter": law.scatter[fitted.family.name],
                    "N0": fitted.n0,
                    "D0": fitted.d0,
                    "losses": {
                        name: {
                            "parameters": fitted.family.named(loss.p, law.table.domains),
                            "intervals": _exponents(fitted.draws[i] if fitted.draws else None),
                            "sigma": loss.sigma,
                            "effective_parameters": loss.freedom,
                            "converged": loss.converged,
                        }
                        for i, (name, loss) in enumerate(zip(law.table.names, fitted.losses, strict=True))
                    },
                }
                for fitted in law.families
            },
            "left_out_families": {name: times for name, times in law.scatter.items() if name not in _kept(found)},
            "noise": {"sigma": found.sigma, "seed_sigma": found.seed_sigma, "repeats": law.repeats},
            "backtest": asdict(found.backtest) if found.backtest else None,
            "power_laws": {"ratio_at_target": found.power_law_ratio, "laws": [asdict(fitted) for fitted in found.power_laws]},
            "quadratic_ratio_at_target": found.quadratic_ratio,
            "bootstrap_draws": config.bootstrap_draws,
            "runs": len(law.table.params),
            "excluded": [{"cell": run.cell, "reason": run.status} for run in runs if run.status != "ok"],
            "outliers": [asdict(outlier) for outlier in outliers(law, runs)],
        }
    )


def optimum_rows(found: Study) -> list[dict[str, Any]]:
    """Return the optimum at each scale as rows of a table; one row per domain too, where mixtures do not lie on a line."""
    rows = []
    for optimum in found.optima:
        for domain in [found.axis] if found.axis else list(optimum.shares):
            (low, high), band = optimum.intervals[domain], optimum.regret_bands[domain]
            row = {
                "scale": "target" if optimum.scale.is_target else "runs",
                "parameters": optimum.scale.params,
                "tokens": optimum.scale.tokens,
                "FLOPs": optimum.scale.flops,
                "share": domain,
                "best": optimum.shares[domain],
                "95 % from": low,
                "95 % to": high,
                "cheap from": band[0],
                "cheap to": band[1],
                "cheap is within": optimum.regret,
                "objective": optimum.loss,
            }
            if optimum.constrained is not None:
                row["most agent data allowed"] = optimum.constrained
            rows.append(rounded(row))
    return rows


def prediction_record(found: Prediction) -> dict[str, Any]:
    """Return predictions row by row and their scores as JSON-able values; ``rank`` is among the rows of one size and budget."""
    law, ranks, scales = found.law, found.ranks, found.scales
    return rounded(
        {
            "levels_extrapolate": found.note is None,
            "note": found.note,
            "caution": found.caution,
            "weights": dict(zip(found.names, found.weights.tolist(), strict=True)),
            "families": law.scatter,
            "kept_families": [fitted.family.name for fitted in law.families],
            "rows": [
                {
                    "row": i + 1,
                    "cell": run.cell,
                    "params": run.params,
                    "tokens": run.tokens,
                    "predicted": dict(zip(found.names, found.losses[i].tolist(), strict=True)),
                    "interval": {name: [float(found.low[i, m]), float(found.high[i, m])] for m, name in enumerate(found.names)}
                    if found.levels[i]
                    else None,
                    "mean": float(found.mean[i]),
                    "rank": int(ranks[i]),
                    "ranked_rows": int((scales == scales[i]).sum()),
                    "measured": run.losses or None,
                }
                for i, run in enumerate(found.runs)
            ],
            "scores": scores(found) or None,
        }
    )


def _kept(found: Study) -> set[str]:
    return {fitted.family.name for fitted in found.law.families}


def _optimum_record(optimum: Optimum, axis: str | None) -> dict[str, Any]:
    scale = optimum.scale
    record = {
        "params": scale.params,
        "tokens": scale.tokens,
        "flops": scale.flops,
        "target": scale.is_target,
        "shares": optimum.shares,
        "intervals": optimum.intervals,
        "regret_bands": optimum.regret_bands,
        "regret": optimum.regret,
        "loss": optimum.loss,
    }
    if axis is None:
        return record
    return record | {
        "ratio": optimum.shares[axis],
        "interval": optimum.intervals[axis],
        "regret_band": optimum.regret_bands[axis],
        "curvature": optimum.curvature,
        "at_edge": optimum.at_edge,
        "constrained": optimum.constrained,
        "constrained_interval": optimum.constrained_interval,
    }


def _exponents(draws: Any) -> dict[str, list[float]] | None:
    """Return the 95 % intervals of alpha and beta."""
    if draws is None or not len(draws):
        return None
    ends = np.exp(np.quantile(draws[:, [ALPHA, BETA]], [0.025, 0.975], axis=0))
    return {name: ends[:, i].tolist() for i, name in enumerate(("alpha", "beta"))}


def rounded(value: Any) -> Any:
    """Round floats, so that the last bits of a linear algebra library do not reach the file; what is not finite is None."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value
