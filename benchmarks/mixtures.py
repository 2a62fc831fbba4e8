"""How well the scaling law predicts losses that others measured: published tables of mixtures and losses.

    git clone https://github.com/sail-sg/regmix
    git clone https://github.com/yegcjs/mixinglaws
    .venv/bin/python benchmarks/mixtures.py --regmix regmix/data --mixinglaws mixinglaws/data [--json OUT]

Each case is what ``hephaestus scaling predict`` does: fit on some runs, predict larger ones. Beside it:

    linear        each loss as a linear function of the shares (fitted to the largest training size)
    boosted       LightGBM, 1,000 small steps as RegMix takes, where `pip install lightgbm` was done (the same)
    joint         a straightforward joint law, E + A/N^a + B/D^b (x_own + eps)^-g, by SciPy from one start

Printed: Spearman's rank correlation as a mean over the losses, of the loss on Pile-CC, and of the mean loss, and the regret of
the mixture chosen, in nats. RegMix (MIT licence): 512 mixtures of 17 domains at 1M parameters, tests at 60M and 1B. Mixing
laws: three domains (9 mixtures at 70M and 160M, tests at 410M) and five (26 mixtures at each size).
"""

import argparse
import csv
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from hephaestus_dag.scaling.backtest import rank_correlation
from hephaestus_dag.scaling.predict import predict, scores
from hephaestus_dag.scaling.runs import Run

Array = np.ndarray
SIZES = {"1m": 1e6, "60m": 6e7, "1B": 1e9, "70M": 7e7, "160M": 1.6e8, "305M": 3.05e8, "410M": 4.1e8}
REGMIX_TOKENS = {"1m": 1e9, "60m": 1e9, "1B": 2.5e10}
TOKENS_PER_STEP = 1e6
MIX = {"3Mix": ("Github", "Books3", "Pile-CC"), "5Mix": ("d1", "d2", "d3", "d4", "d5")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regmix", type=Path, help="folder `data` of sail-sg/regmix")
    parser.add_argument("--mixinglaws", type=Path, help="folder `data` of yegcjs/mixinglaws")
    parser.add_argument("--draws", type=int, default=0, help="bootstrap draws behind intervals (default: none)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    if not (options.regmix or options.mixinglaws):
        parser.error("give --regmix, --mixinglaws or both")
    print(f"{'case':34} {'by':8} {'losses':>7} {'Pile-CC':>8} {'mean':>7} {'regret':>7} {'CPU s':>6}")
    figures = []
    for name, train, test in cases(options.regmix, options.mixinglaws):
        for side, run in {"ours": lambda a, b: ours(a, b, options.draws), **PEERS}.items():
            began = time.process_time()
            found = run(train, test)
            if found is None:
                continue
            found |= {"case": name, "by": side, "cpu_seconds": round(time.process_time() - began, 1)}
            figures.append(found)
            cells = (f"{found[key]:{width}.4f}" for key, width in (("losses", 7), ("pile_cc", 8), ("mean", 7), ("regret", 7)))
            print(f"{name:34} {side:8} {' '.join(cells)} {found['cpu_seconds']:6}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def cases(regmix: Path | None, mixinglaws: Path | None) -> Iterator[tuple[str, list[Run], list[Run]]]:
    """Yield (name, runs to fit, runs to predict)."""
    if regmix:
        small = regmix_runs(regmix, "train", "1m")
        for scale in ("60m", "1B"):
            yield f"RegMix 1M -> {scale}", small, regmix_runs(regmix, "test", scale)
        both = [*small, *regmix_runs(regmix, "test", "60m")]
        yield "RegMix 1M, 60M -> 1B", both, regmix_runs(regmix, "test", "1B")
    if mixinglaws:
        small = [run for size in ("70M", "160M") for run in mixing_runs(mixinglaws / "3Mix" / f"{size}.txt")]
        large = last_step(mixing_runs(mixinglaws / "3Mix" / "410M.txt"))
        yield "3 domains 70M, 160M -> 410M", last_step(small), large
        yield "3 domains, all checkpoints", small, large
        five = [run for size in ("70M", "160M") for run in mixing_runs(mixinglaws / "5Mix" / f"{size}.txt")]
        large = mixing_runs(mixinglaws / "5Mix" / "410M.txt")
        at = max(run.tokens for run in large)
        yield "5 domains 70M, 160M -> 410M", [run for run in five if run.tokens == at], last_step(large)


def regmix_runs(folder: Path, split: str, scale: str) -> list[Run]:
    """Read one of RegMix's tables."""
    prefix, suffix = "metric/the_pile_", "_val_loss"
    losses = {row["index"]: row for row in read_csv(folder / f"{split}_pile_loss_{scale}.csv")}
    runs = []
    for row in read_csv(folder / f"{split}_mixture_{scale}.csv"):
        shares = {name.removeprefix("train_the_pile_"): float(share) for name, share in row.items() if name != "index"}
        if row["index"] not in losses:
            continue
        measured = {k: float(v) for k, v in losses[row["index"]].items() if k != "index"}
        found = {name.removeprefix(prefix).removesuffix(suffix): loss for name, loss in measured.items()}
        runs.append(as_run(SIZES[scale], REGMIX_TOKENS[scale], shares, found))
    return runs


def mixing_runs(path: Path) -> list[Run]:
    """Read one file of mixing-law losses: lines of checkpoint path (..-shares/step), validation set, loss."""
    found: dict[tuple[tuple[float, ...], int], dict[str, float]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        checkpoint, heldout, loss = line.split("\t")[:3]
        *_, name, step = (part for part in checkpoint.split("/") if part)
        shares = re.search(r"(?:^|_)\d+-([\d.]+(?:-[\d.]+)+)$", name)
        if shares and step.isdigit():
            domain = heldout.rpartition("valid.")[2].removesuffix(".bin")
            found[tuple(map(float, shares[1].split("-"))), int(step)][domain] = float(loss)
    names = MIX[path.parent.name]
    every = max(map(len, found.values()))
    return [
        as_run(SIZES[path.stem], step * TOKENS_PER_STEP, dict(zip(names, shares, strict=True)), losses)
        for (shares, step), losses in sorted(found.items())
        if len(shares) == len(names) and len(losses) == every
    ]


def as_run(params: float, tokens: float, shares: dict[str, float], losses: dict[str, float]) -> Run:
    total = sum(shares.values())
    scaled = {name: share / total for name, share in shares.items()}
    return Run(cell="", params=params, tokens=tokens, flops=6 * params * tokens, shares=scaled, losses=losses)


def last_step(runs: list[Run]) -> list[Run]:
    """Return the last checkpoint of the longest runs."""
    return [run for run in runs if run.tokens == max(other.tokens for other in runs)]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def ours(train: list[Run], test: list[Run], draws: int) -> dict[str, Any]:
    found = scores(predict(train, test, draws=draws))
    by_loss = {name: score["rank_correlation"] for name, score in found["by_loss"].items()}
    return summary(by_loss, found["mean"]["rank_correlation"], found["mean"]["regret"])


def peer(fit: Callable[[Array, Array, Array, Array, Array], Array | None]) -> Callable[..., dict[str, Any] | None]:
    """Return a side that fits each loss on its own: ``fit(scale, shares, losses, scale to predict, shares to predict)``."""

    def run(train: list[Run], test: list[Run]) -> dict[str, Any] | None:
        names = list(train[0].losses)
        scale, other = (np.array([(run.params, run.tokens) for run in runs]) for runs in (train, test))
        shares, asked = (np.array([list(run.shares.values()) for run in runs]) for runs in (train, test))
        losses, measured = (np.array([[run.losses[name] for name in names] for run in runs]) for runs in (train, test))
        domains = list(train[0].shares)
        predicted = np.empty_like(measured)
        for i, name in enumerate(names):
            own = domains.index(name) if name in domains else -1
            columns = (np.roll(x, -own, axis=1) if own >= 0 else x for x in (shares, asked))
            found = fit(scale, next(columns), losses[:, i], other, next(columns))
            if found is None:
                return None
            predicted[:, i] = found
        by_loss = {name: rank_correlation(predicted[:, i], measured[:, i]) for i, name in enumerate(names)}
        mean, true = predicted.mean(1), measured.mean(1)
        return summary(by_loss, rank_correlation(mean, true), float(true[mean.argmin()] - true.min()))

    return run


def summary(by_loss: dict[str, float], mean: float, regret: float) -> dict[str, Any]:
    pile_cc = next(value for name, value in by_loss.items() if name.lower().replace("-", "_") == "pile_cc")
    return {"losses": float(np.mean(list(by_loss.values()))), "pile_cc": pile_cc, "mean": mean, "regret": regret}


def linear(scale: Array, shares: Array, losses: Array, other: Array, asked: Array) -> Array:
    rows = scale[:, 0] == scale[:, 0].max()
    return asked @ np.linalg.lstsq(shares[rows], losses[rows], rcond=None)[0]


def boosted(scale: Array, shares: Array, losses: Array, other: Array, asked: Array) -> Array | None:
    try:
        import lightgbm  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    rows = scale[:, 0] == scale[:, 0].max()
    settings = {"objective": "regression", "learning_rate": 0.01, "max_depth": 4, "seed": 42, "verbosity": -1}
    model = lightgbm.train(settings, lightgbm.Dataset(shares[rows], losses[rows]), num_boost_round=1000)
    return np.asarray(model.predict(asked))


def joint(scale: Array, shares: Array, losses: Array, other: Array, asked: Array) -> Array:
    centre = np.exp(np.log(scale).mean(0))

    def law(p: Array, at: Array, x: Array) -> Array:
        n, d = np.log(at / centre).T
        e, a, alpha, b, beta, gamma, epsilon = np.exp(p)
        return e + a * np.exp(-alpha * n) + b * np.exp(-beta * d) * (x + epsilon) ** -gamma

    start = np.log([losses.min() * 0.7, 0.3, 0.35, 0.5, 0.37, 0.3, 0.05])
    found = least_squares(lambda p: law(p, scale, shares[:, 0]) - losses, start, loss="huber", f_scale=0.02, max_nfev=2000)
    return law(found.x, other, asked[:, 0])


PEERS = {"linear": peer(linear), "boosted": peer(boosted), "joint": peer(joint)}

if __name__ == "__main__":
    main()
