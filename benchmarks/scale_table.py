"""From measured rows to tables of what a corpus of web pages takes: see `scaling_up.py`.

    pages of a step = web pages x its share
    CPU-hours       = pages x unit / 3,600
    memory          = pages x bytes, of steps that must see all pages at once: see `held`, also for what is shuffled instead
    training        = tokens x (6 N + 12 L d T) / (peak x utilisation) / 3,600 GPU-hours

Everything is linear in the pages, below and above the size at which they are shuffled, so the shares and the prices can be
replaced; `Prices` and `SHARES` are assumptions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hephaestus_dag.costs.architecture import find_architecture
from hephaestus_dag.costs.devices import find_gpu
from hephaestus_dag.costs.memory import memory_of
from hephaestus_dag.costs.sizes import CHARACTERS_PER_TOKEN
from hephaestus_dag.recipe_file import read_recipe
from hephaestus_dag.shuffle import in_memory
from hephaestus_dag.training.flops import GPU_PEAKS

PAGES = (10**6, 10**8, 10**10)
TRAINING_TOKENS = 103e9
ENCODER, ENCODER_TOKENS = "OpenMatch/cocodr-base-msmarco", 128
CHARACTERS = 2_800
BACKBONE, LENGTH = "meta-llama/Meta-Llama-3-8B", 8_192
SHARES = {
    "extraction": 1.0,
    "filters": 1.0,
    "decontamination": 0.5,
    "signatures": 0.5,
    "near-duplicates": 0.5,
    "first pass": 0.35,
    "encoding": 0.0875,
    "search": 0.0875,
    "classifier": 0.01,
    "tokens": 0.005,
}
"""Of the web pages, those that reach a step: filters keep half, 0.7 of these are new, the first pass lets a quarter go on, of
which 11 % are retrieved, and the classifier keeps half. Assumptions: measure yours on a million pages."""
MORE = {"search": 100.0}
"""Measured with 1,000 queries, the paper's recipe has 100,000; the products grow with both."""
COPIES, CANDIDATES, CLUSTERED, CATALOGUE = 99.0, 210.0, 160.0, 133.0
"""Bytes that are held of a page: for exact copies, for candidates of near-duplicates, for their clusters, for the token store.
Measured at 0.4 to 2 million documents (docs/how-do-i-run-it-on-many-machines.md): at the sizes here, buffers hide them."""
REMOVED, LISTED = 80.0, 56.0
"""The same where pages are shuffled instead: of a document that is removed, and of a page of the token store."""
SHUFFLE = 0.00005
"""CPU-seconds of a page beside those of near-duplicates in memory: 0.015 ms to shuffle it, and its signature once more."""
SHARING, LARGEST, GONE = 0.3, 0.04, 0.3
"""Of the pages that reach the search for near-duplicates: those that share a band, those in the largest component that sharing
makes, and those that are removed. Assumptions; in a seed corpus of 35,400 documents the first two are 0.13 and 0.04."""
CLUSTERS = (("A100-40GB", 128), ("A100-80GB", 8), ("A100-80GB", 64), ("H100", 8), ("H100", 64))


@dataclass(frozen=True, slots=True)
class Point:
    """A step at one size, as measured."""

    step: str
    pages: int
    seconds: float
    """CPU-seconds."""
    bytes: int
    """Peak above what the process held before."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Assumptions in US dollars an hour, and of the hardware; no offer of anyone."""

    cpu_price: float = 0.04
    """A core."""
    a100_price: float = 1.8
    h100_price: float = 3.0
    utilisation: float = 0.4
    """MFU of training, 0 to 1."""
    cores: float = 64
    """Of the one machine for which hours and memory are told."""
    memory: float = 512
    """GB of that machine."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What one page takes in a step."""

    step: str
    seconds: float
    growth: float
    """Of time, over that of the pages: 1 is proportional."""


def units(rows: Sequence[Point]) -> list[Unit]:
    """Return the cost of a page in every step: the slope between the smallest and the largest size."""
    found = []
    for step in dict.fromkeys(row.step for row in rows):
        points = sorted((row for row in rows if row.step == step), key=lambda row: row.pages)
        least, most = points[0], points[-1]
        more = most.pages - least.pages
        times = most.pages / least.pages
        found.append(
            Unit(
                step=step,
                seconds=(most.seconds - least.seconds) / more,
                growth=most.seconds / least.seconds / times,
            )
        )
    return found


def measured_table(rows: Sequence[Point]) -> str:
    """Return what was measured, and how far it is from proportional."""
    lines = _head("step", "pages", "CPU-ms a page", "growth", "peak MB", "unit: CPU-ms", "pages/s of a core")
    for unit in units(rows):
        points = sorted((row for row in rows if row.step == unit.step), key=lambda row: row.pages)
        numbers = " · ".join(f"{p.pages:,}" for p in points)
        each = " · ".join(_number(1e3 * p.seconds / p.pages) for p in points)
        peaks = " · ".join(f"{p.bytes / 1e6:.0f}" for p in points)
        cost = f"{_number(1e3 * unit.seconds)} | {_number(1 / unit.seconds)}"
        lines.append(f"| {unit.step} | {numbers} | {each} | {unit.growth:.2f} | {peaks} | {cost} |")
    return "\n".join(lines)


def hours(unit: Unit, pages: float) -> float:
    """Return the CPU-hours of a step over a corpus of so many web pages."""
    number = pages * SHARES[unit.step]
    shuffled = unit.step == "near-duplicates" and not in_memory(int(number))
    return number * (unit.seconds * MORE.get(unit.step, 1) + (SHUFFLE if shuffled else 0)) / 3_600


def held(step: str, pages: float) -> float:
    """Return the bytes that the largest process of a step holds for so many web pages; 0 where it holds a batch."""
    number = pages * SHARES[step]
    if step == "tokens":
        return number * (CATALOGUE if in_memory(int(number)) else LISTED)
    if step != "near-duplicates":
        return 0.0
    if in_memory(int(number)):
        return number * (COPIES + CANDIDATES + SHARING * CLUSTERED)
    return number * max(GONE * REMOVED, LARGEST * (CANDIDATES + CLUSTERED))


def plan_table(rows: Sequence[Point], prices: Prices) -> str:
    """Return CPU-hours and memory of every step at each size, dollars, and the bottlenecks."""
    found = units(rows)
    sizes = [f"10^{len(str(pages)) - 1}" for pages in PAGES]
    lines = _head("step", "share of the pages", *(f"{size}: {what}" for size in sizes for what in ("CPU-hours", "GB")))
    for unit in found:
        cells = [c for n in PAGES for c in (_number(hours(unit, n)), _gigabytes(held(unit.step, n)))]
        lines.append(f"| {unit.step} | {SHARES[unit.step]:.4g} | {' | '.join(cells)} |")
    sums = [sum(hours(unit, n) for unit in found) for n in PAGES]
    most = [max(held(unit.step, n) for unit in found) for n in PAGES]
    cells = [c for hour, byte in zip(sums, most, strict=True) for c in (_number(hour), _gigabytes(byte))]
    lines += [f"| **all; the most at a time** | | {' | '.join(cells)} |", ""]
    train = training_hours("A100", prices) * prices.a100_price
    for size, pages, hour, byte in zip(sizes, PAGES, sums, most, strict=True):
        slowest = sorted(found, key=lambda unit: -hours(unit, pages))[:2]
        parts = " and ".join(f"{hours(unit, pages) / hour:.0%} {unit.step}" for unit in slowest)
        tokens = pages * SHARES["tokens"] * CHARACTERS / CHARACTERS_PER_TOKEN
        verdict = "one machine holds it" if byte <= prices.memory * 1e9 else "**memory is the bottleneck**"
        lines.append(
            f"- **{size} pages**: {_number(hour / prices.cores)} hours on {prices.cores:.0f} cores, of which {parts}; "
            f"${_number(hour * prices.cpu_price)}, beside ${_number(train)} for training on A100s. {_gigabytes(byte)} GB in "
            f"one process: {verdict}. Some {tokens / 1e9:.2g}B tokens are left."
        )
    return "\n".join(lines)


def encoding_table(prices: Prices) -> str:
    """Return the GPU-hours of the paper's encoder, from FLOP."""
    model = find_architecture(ENCODER)
    assert model
    flops = model.forward_flops(ENCODER_TOKENS) * ENCODER_TOKENS
    lines = _head("GPU", "pages/s", *(f"10^{len(str(pages)) - 1}: GPU-hours" for pages in PAGES))
    for gpu in ("A100", "H100"):
        speed = GPU_PEAKS[gpu] * prices.utilisation / flops
        cells = [_number(pages * SHARES["encoding"] / speed / 3_600) for pages in PAGES]
        lines.append(f"| {gpu} | {_number(speed)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{ENCODER}, {ENCODER_TOKENS} tokens of a page: {flops / 1e9:.1f} GFLOP a page."])


def training_hours(gpu: str, prices: Prices) -> float:
    """Return the GPU-hours of the training tokens."""
    model = find_architecture(BACKBONE)
    assert model
    return TRAINING_TOKENS * model.training_flops(LENGTH) / (GPU_PEAKS[gpu] * prices.utilisation) / 3_600


def training_table(prices: Prices) -> str:
    """Return GPU-hours, days, dollars and memory of training on some clusters."""
    recipe, _ = read_recipe("paper")
    model = find_architecture(BACKBONE)
    assert model
    lines = _head("GPUs", "GPU-hours", "days", "$", "GB on a GPU, of usable", "fits")
    for name, number in CLUSTERS:
        device, gpu = find_gpu(name), name.partition("-")[0]
        hour = training_hours(gpu, prices)
        price = prices.a100_price if gpu == "A100" else prices.h100_price
        placement = recipe.execution.launcher.model_copy(update={"num_processes": number, "num_gpus": number, "hosts": ()})
        memory = memory_of("", model, recipe.training.stage1, placement, LENGTH, device)
        used = f"{memory.total / 1e9:.0f} of {memory.limit / 1e9:.0f}"
        fits = "yes" if memory.fits else "no"
        lines.append(f"| {number} x {name} | {hour:,.0f} | {hour / number / 24:.1f} | {hour * price:,.0f} | {used} | {fits} |")
    flops = model.training_flops(LENGTH)
    whole = f"{flops / 1e9:.1f} GFLOP a token, {TRAINING_TOKENS * flops:.2e} FLOP in all"
    lines += ["", f"{BACKBONE}, {LENGTH:,} tokens a sequence: {whole}."]
    return "\n".join(lines)


def tables(rows: Sequence[Point], prices: Prices) -> str:
    """Return all tables as Markdown, under headings of the third level."""
    assumed = (
        f"Assumed: ${prices.cpu_price:g} a core-hour, ${prices.a100_price:g} an A100-hour, ${prices.h100_price:g} an "
        f"H100-hour, an MFU of {prices.utilisation:g}, and the shares in the table."
    )
    return "\n\n".join(
        [
            "### Measured",
            measured_table(rows),
            "### Web pages",
            assumed,
            plan_table(rows, prices),
            "### Encoding on a GPU instead",
            encoding_table(prices),
            f"### Training on {TRAINING_TOKENS / 1e9:.0f}B tokens",
            training_table(prices),
        ]
    )


def _head(*titles: str) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _gigabytes(value: float) -> str:
    return _number(value / 1e9) if value else "–"
