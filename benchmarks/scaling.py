"""How well the scaling law finds what is known: best ratios of simulated sweeps, published constants, and its own speed.

    .venv/bin/python benchmarks/scaling.py                                       # everything; 200 draws take about 20 minutes
    .venv/bin/python benchmarks/scaling.py recovery --draws 20 --processes 2     # a look
    .venv/bin/python benchmarks/scaling.py constants speed --json scaling.json

``recovery``   Sweeps of four simulated truths: 4 sizes from 45M to 650M parameters x 6 agent ratios from .17 to .84, 20 tokens
               per parameter, and the 4 repeated seeds that the product asks for; normal noise on each loss, fresh in each draw.
               The best ratio is asked for at 8B parameters and 160B tokens, 12 times larger in size. `law` is the product's,
               the mean of the families; joint, scaled and exponential are the families alone, over the draws in which they
               were kept; `power` is the paper's way, a power law at each ratio and a parabola through them; `quadratic` is a
               parabola at each scale, their vertices drifting. Figures are root mean squared errors of the ratio; `asked` is
               what an earlier study reached with a joint fit. `cover` is the share of nominal 95 % intervals that hold the
               truth. No truth has its parameters at the centres of the priors, and only the last two lie in a family. In the
               fourth, agent data repeat at the target alone, and the scale says how many there are. `regret` is what missing
               the best ratio by .05, .10 and .20 costs.
``constants``  The published Chinchilla law (arXiv 2203.15556) and its refit (arXiv 2404.10102) on a grid of sizes and tokens
               that spans the published runs: relative errors of E, A, B, alpha and beta, without noise and with 0.3 % of it.
``speed``      CPU-seconds of fitting 100 cells x 4 losses with 200 draws in each of three families.
"""

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.scaling.families import EXPONENTIAL, JOINT, Family
from hephaestus_dag.scaling.law import fit_law
from hephaestus_dag.scaling.optimum import Scale, best_mixture, line, minimum
from hephaestus_dag.scaling.power_law import fit_power_laws, power_law_ratio
from hephaestus_dag.scaling.quadratic import quadratic_ratio
from hephaestus_dag.scaling.table import Array, Table, effective_share

DOMAINS = ("agent", "code", "text")
WEIGHTS = np.array([0.5, 0.25, 0.25])
SIZES = np.array([45e6, 135e6, 350e6, 650e6])
RATIOS = np.array([0.17, 0.30, 0.43, 0.57, 0.70, 0.84])
REPEATED = ((0, 0), (1, 2), (2, 3), (3, 5))  # indices of size and ratio
PARAMS, TOKENS = 8e9, 160e9
NOISES = (0.003, 0.010)
WAYS = ("law", "joint", "scaled", "exponential", "power", "quadratic")
CHINCHILLA = {
    "published": {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28},
    "refitted": {"E": 1.8172, "A": 482.01, "alpha": 0.3478, "B": 2085.43, "beta": 0.3658},
}

Losses = Callable[[Array, Array, Array], Array]  # of N / 1e8 [n, 1], D / 2e9 [n, 1] and effective shares [n, 3]


def exponential(n: Array, d: Array, x: Array) -> Array:
    """A mixing law whose effect fades with size, not with tokens."""
    slopes = np.array([[-2.6, 0.4, 0.2], [0.2, -2.9, -0.4], [0.3, -0.5, -2.4]])
    mixing = np.array([1.04, 0.88, 0.88]) * n**-0.10 * np.exp(x @ slopes.T)
    return np.array([0.9, 1.0, 1.1]) + 0.35 * n**-0.33 + 0.3 * d**-0.3 + mixing


def capacity(n: Array, d: Array, x: Array) -> Array:
    """Larger models need less of a domain."""
    mixing = (x + np.array([0.03, 0.06, 0.05])) ** -np.array([0.33, 0.38, 0.35])
    return np.array([0.9, 1.0, 1.1]) + 0.35 * n**-0.33 + np.array([1.20, 1.80, 1.80]) * n**-0.06 * d**-0.31 * mixing


def transfer(n: Array, d: Array, x: Array) -> Array:
    """Every domain teaches about the others."""
    taught = np.array([[1, 0.08, 0.02], [0.25, 1, 0.15], [0.10, 0.12, 1]])
    mixing = (x @ taught.T + np.array([0.02, 0.05, 0.04])) ** -np.array([0.55, 0.45, 0.30])
    data = np.array([2.82, 2.03, 2.03]) * d ** -np.array([0.45, 0.30, 0.28])
    return np.array([0.9, 1.0, 1.1]) + 0.4 * n ** -np.array([0.45, 0.28, 0.33]) + data * mixing


def repetition(n: Array, d: Array, x: Array) -> Array:
    """No transfer; the agent data repeat at the target."""
    mixing = (x + np.array([0.03, 0.06, 0.05])) ** -np.array([0.36, 0.33, 0.30])
    data = np.array([0.465, 2.01, 2.01]) * d ** -np.array([0.29, 0.32, 0.33])
    return np.array([0.9, 1.0, 1.1]) + 0.4 * n**-0.33 + data * mixing


# The law, the agent tokens that there are at the target, and the root mean squared errors asked for at each noise.
TRUTHS: dict[str, tuple[Losses, float, tuple[float, float]]] = {
    "exponential": (exponential, np.inf, (0.003, 0.007)),
    "capacity": (capacity, np.inf, (0.007, 0.014)),
    "transfer": (transfer, np.inf, (0.005, 0.017)),
    "repetition": (repetition, 8e9, (0.008, 0.021)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["recovery", "constants", "speed"], help="of recovery, constants, speed")
    parser.add_argument("--draws", type=int, default=200, help="simulated sweeps of each truth and noise")
    parser.add_argument("--bootstraps", type=int, default=200, help="in each family")
    parser.add_argument("--truths", nargs="+", default=list(TRUTHS), choices=list(TRUTHS))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    parts = {"recovery": recovery, "constants": constants, "speed": speed}
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    figures = {name: parts[name](options) for name in options.parts}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def mixtures(ratios: Array) -> Array:
    return np.stack([ratios, (1 - ratios) / 2, (1 - ratios) / 2], axis=-1)


def sweep(truth: Losses, noise: float, seed: int) -> Table:
    """Return the simulated runs; nothing repeats in them."""
    cells = [(n, r) for n in SIZES for r in RATIOS] + [(SIZES[i], RATIOS[j]) for i, j in REPEATED]
    params, ratios = np.array(cells).T
    return simulated(truth, params, 20 * params, mixtures(ratios), DOMAINS, noise, seed)


def simulated(
    truth: Losses, params: Array, tokens: Array, shares: Array, names: tuple[str, ...], noise: float, seed: int
) -> Table:
    losses = truth(params[:, None] / 1e8, tokens[:, None] / 2e9, shares)
    return Table(
        domains=DOMAINS[: shares.shape[1]],
        names=names,
        params=params,
        tokens=tokens,
        flops=6 * params * tokens,
        shares=shares,
        unique=np.full(shares.shape, np.inf),
        losses=losses + noise * np.random.default_rng(seed).standard_normal(losses.shape),
        run=np.arange(len(params)),
    )


def true_ratio(truth: Losses, unique: float) -> tuple[float, list[float]]:
    """Return the best ratio at the target, and what missing it by .05, .10 and .20 costs (the mean of both sides)."""
    grid = np.linspace(0.02, 0.98, 9601)
    shares = effective_share(mixtures(grid), np.asarray(TOKENS), np.array([unique, np.inf, np.inf]))
    curve = truth(np.full((1, 1), PARAMS / 1e8), np.full((1, 1), TOKENS / 2e9), shares) @ WEIGHTS
    best = float(grid[curve.argmin()])
    missed = [np.interp([best - far, best + far], grid, curve).mean() - curve.min() for far in (0.05, 0.10, 0.20)]
    return best, [float(cost) for cost in missed]


def recover(name: str, noise: float, bootstraps: int, seed: int) -> dict[str, float]:
    """Return what each way finds in one simulated sweep."""
    truth, unique, _ = TRUTHS[name]
    table = sweep(truth, noise, seed)
    began = time.process_time()
    law = fit_law(table, bootstraps, seed)
    seconds = time.process_time() - began
    scale = Scale(params=PARAMS, tokens=TOKENS, unique=(unique, np.inf, np.inf))
    best = best_mixture(law, WEIGHTS, scale)
    grid, shares = line(law) or (RATIOS, mixtures(RATIOS))
    found = {family.family.name: minimum(grid, family.predict(*scale.arguments(shares)) @ WEIGHTS) for family in law.families}
    objective, ratios = table.losses @ WEIGHTS, table.shares[:, 0]
    laws = fit_power_laws(ratios, table.flops, objective)
    sigma = noise * float(np.sqrt(WEIGHTS @ WEIGHTS))
    vertex = quadratic_ratio(ratios, table.flops, objective, sigma, scale.flops)
    low, high = best.intervals["agent"]
    return found | {
        "law": best.shares["agent"],
        "power": power_law_ratio(laws, scale.flops) or float("nan"),
        "quadratic": float("nan") if vertex is None else vertex,
        "low": low,
        "high": high,
        "seconds": seconds,
    }


def recovery(options: argparse.Namespace) -> list[dict[str, Any]]:
    print(f"root mean squared error of the best ratio at {PARAMS:.0e} parameters, {options.draws} draws")
    print(f"{'truth':12} {'r*':>5} {'noise':>5} | {'asked':>6}", *(f"{way[:9]:>9}" for way in WAYS), end=" | ")
    print(f"{'bias':>6} {'cover':>6} {'width':>5} {'CPU s':>6} | regret")
    rows = []
    for name in options.truths:
        truth, unique, asked = TRUTHS[name]
        best, regret = true_ratio(truth, unique)
        for noise, limit in zip(NOISES, asked, strict=True):
            task = partial(recover, name, noise, options.bootstraps)
            if options.processes > 1:
                with ProcessPoolExecutor(options.processes) as pool:
                    draws = list(pool.map(task, range(options.draws)))
            else:
                draws = [task(seed) for seed in range(options.draws)]
            row = summary(draws, best) | {"truth": name, "ratio": best, "noise": noise, "asked": limit, "regret": regret}
            rows.append(row)
            print(f"{name:12} {best:5.3f} {noise:5.3f} | {limit:6.3f}", *(f"{row[way]:9.4f}" for way in WAYS), end=" | ")
            print(f"{row['bias']:+6.3f} {row['cover']:6.1%} {row['width']:5.3f} {row['seconds']:6.2f} |", end=" ")
            print(*(f"{cost:.4f}" for cost in regret), flush=True)
    return rows


def summary(draws: list[dict[str, float]], best: float) -> dict[str, Any]:
    """Return errors, coverage, width and seconds over the draws; a family left out of some counts where it was kept."""
    error = {way: np.array([draw[way] - best for draw in draws if way in draw]) for way in WAYS}
    low, high = (np.array([draw[end] for draw in draws]) for end in ("low", "high"))
    return {way: float(np.sqrt(np.mean(e**2))) if len(e) else float("nan") for way, e in error.items()} | {
        "kept": {way: len(e) / len(draws) for way, e in error.items()},
        "bias": float(error["law"].mean()),
        "cover": float(np.mean((low <= best) & (best <= high))),
        "width": float((high - low).mean()),
        "seconds": float(np.mean([draw["seconds"] for draw in draws])),
        "draws": len(draws),
    }


def constants(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Refit the published laws on runs whose mixture varies and has no effect."""
    print("\nlargest relative error of the published E, A, B, alpha, beta")
    params, tokens = (axis.ravel() for axis in np.meshgrid(np.geomspace(44e6, 16e9, 10), np.geomspace(5e9, 500e9, 8)))
    ratios = np.array([0.3, 0.5, 0.7])[np.arange(len(params)) % 3]
    shares = np.stack([ratios, 1 - ratios], axis=-1)
    rows = []
    for name, known in CHINCHILLA.items():

        def truth(n: Array, d: Array, x: Array, known: dict[str, float] = known) -> Array:
            return known["E"] + known["A"] * (1e8 * n) ** -known["alpha"] + known["B"] * (2e9 * d) ** -known["beta"]

        for noise in (0.0, 0.003 * known["E"]):
            for family in (JOINT, EXPONENTIAL):
                table = simulated(truth, params, tokens, shares, ("all",), noise, seed=0)
                found = published(table, family)
                errors = {key: found[key] / value - 1 for key, value in known.items()}
                rows.append({"law": name, "noise": noise, "family": family.name, "found": found, "errors": errors})
                print(f"{name:10} noise {noise:.4f} {family.name:12}", *(f"{k} {e:+.3%}" for k, e in errors.items()))
    return rows


def published(table: Table, family: Family) -> dict[str, float]:
    """Return the fitted constants at N0 = D0 = 1; B with the mixture's factor, which is the same for all mixtures."""
    fitted = fit_law(table, 0, families=(family,)).families[0]
    found = family.named(fitted.losses[0].p, table.domains)
    x = table.shares.mean(0)
    if family.exponential:
        factor = np.exp(sum(found[f"t[{domain}]"] * share for domain, share in zip(table.domains, x, strict=True)))
    else:
        reach = sum(found[f"T[{domain}]"] * share ** found["rho"] for domain, share in zip(table.domains, x, strict=True))
        factor = (reach + found["epsilon"]) ** -found["gamma"]
    a, b = found["A"] * fitted.n0 ** found["alpha"], found["B"] * factor * fitted.d0 ** found["beta"]
    return {name: float(found[name]) for name in ("E", "alpha", "beta")} | {"A": float(a), "B": float(b)}


def speed(options: argparse.Namespace) -> dict[str, float]:
    """Time 100 cells: 4 sizes x 8 ratios x 3 budgets and 4 repeated seeds, 4 losses."""
    cells = [(n, r, t) for n in SIZES for r in np.linspace(0.17, 0.84, 8) for t in (10, 20, 40)]
    params, ratios, budgets = np.array(cells + [cells[i] for i in (0, 30, 60, 90)]).T

    def truth(n: Array, d: Array, x: Array) -> Array:
        losses = transfer(n, d, x)
        return np.column_stack([losses, losses.mean(1)])

    table = simulated(truth, params, budgets * params, mixtures(ratios), (*DOMAINS, "all"), 0.005, seed=0)
    began = time.process_time()
    law = fit_law(table, options.bootstraps)
    fitting = time.process_time() - began
    best_mixture(law, np.append(WEIGHTS, 0.0), Scale(params=PARAMS, tokens=TOKENS, unique=(np.inf,) * 3))
    optimum = time.process_time() - began - fitting
    print(f"\n{len(params)} cells, 4 losses, {options.bootstraps} draws in each of 3 families:", end=" ")
    print(f"{fitting:.1f} CPU-seconds to fit, {optimum:.1f} for the best mixture and its interval")
    return {"cells": len(params), "fit_seconds": fitting, "optimum_seconds": optimum}


if __name__ == "__main__":
    main()
