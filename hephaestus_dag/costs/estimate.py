"""The estimate of a whole run: the costs of all assets, the memory of its training jobs, totals, and the paper beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hephaestus_dag.costs import benchmarks, corpus, evaluation, jobs, mixtures, sizes, sources, web
from hephaestus_dag.costs.amount import NOTHING, Amount, about, total
from hephaestus_dag.costs.book import Book, Cost
from hephaestus_dag.costs.devices import Device
from hephaestus_dag.costs.jobs import Job
from hephaestus_dag.costs.measured import measured_artifacts
from hephaestus_dag.costs.memory import Memory, memory_of
from hephaestus_dag.costs.standing import Standing
from hephaestus_dag.models import HUB_NAME, PACKAGED, is_folder
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_checks import ANNOTATOR, MODELS, SOURCES
from hephaestus_dag.recipe_file import Placed
from hephaestus_dag.variants import Variants

GROUPS = ("benchmarks", "seed_corpus", "web_retrieval", "quality", "mixture", "scaling_law", "training", "evaluation")
ANNOTATORS = ((*ANNOTATOR, "model"), ("seed_corpus", "synthetic_documentation", "annotator", "model"))
PAPER = "paper"
PAPER_COST = (
    "The paper's cost, by a third-party note, not the paper's own words: Stages I and II on 128 A100-40G for 11.1 days "
    "(34,099 GPU-hours), Stage III on 16 A100-40G for 11.6 hours (186 GPU-hours)."
)
READERS = {
    "seed_corpus.synthetic_documentation": ("synthetic_documentation",),
    "seed_corpus.curation": ("seed_corpus",),
    "web_retrieval.retrieval": ("seed_queries", "web_candidates", "web_index", "filtered_web"),
    "quality.annotation": ("quality_annotations",),
    "mixture.tokenizer": ("tokenizer",),
    "training.backbone": ("backbone",),
    "evaluation.kept_out": ("benchmark_items",),
}
"""Place in a recipe -> the assets that read what is named there; a list of sources has the name of its asset."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run takes, and what of it is left to do."""

    recipe: Recipe
    device: Device
    utilisation: float
    as_before: bool = False
    """Whether an asset takes as long as the last build of it did, where there was one; else FLOP tell, for the device."""
    costs: dict[str, Cost]
    """By asset key, group by group."""
    jobs: list[Job]
    memory: list[Memory]
    missing: Sequence[Placed]
    lacking: dict[str, list[Placed]] = field(default_factory=dict)
    """Asset key -> its missing inputs."""
    fetched: list[str]
    """What comes from the hub when it is first needed, and where the recipe names it."""
    variants: Variants
    standings: Mapping[str, Standing] = field(default_factory=dict)
    """How the assets stand in the store; without one everything is to be done."""

    def to_do(self, key: str) -> bool:
        """Tell whether a run would build an asset, as far as is known."""
        return key not in self.standings or self.standings[key].action != "reuse"

    def hours(self, flops: Amount, dtype: str) -> Amount:
        """Return hours of the device: FLOP / (peak x utilisation)."""
        return flops * (1 / (self.device.peak(dtype) * self.utilisation * 3600)) if flops.value else flops

    def timed(self, cost: Cost) -> bool:
        """Tell whether the time of an asset is that of an earlier build."""
        return self.as_before and cost.seconds is not None

    def time(self, cost: Cost) -> Amount:
        """Return the hours of the device that an asset takes."""
        if self.timed(cost):
            return about((cost.seconds or 0.0) / 3600 * cost.processes)
        return self.hours(cost.inference + cost.training, cost.dtype)

    def wall_hours(self, key: str) -> Amount:
        """Return the hours of an asset on as many devices as the recipe gives it."""
        return self.time(self.costs[key]) * (1 / self.costs[key].processes)

    @property
    def unpriced(self) -> list[Cost]:
        """What is to be done and has FLOP, and no earlier build tells its time."""
        waiting = [cost for cost in self.costs.values() if not self.timed(cost)]
        return [cost for cost in waiting if (cost.inference + cost.training).value]

    def sum_of_time(self) -> tuple[Amount, int, int]:
        """Return the hours of all that is to be done, how many assets earlier builds tell of, and how many are not in it."""
        todo = [cost for cost in self.costs.values() if self.to_do(cost.key)]
        hours, unknown = total([self.time(cost) for cost in todo])
        return hours, sum(self.timed(cost) for cost in todo), unknown

    def sum_of(self, name: str) -> tuple[Amount, int]:
        """Return a total (``inference``, ``training``, ``disk``) of what is to be done, and how many assets are not in it."""
        return total([getattr(cost, name) for cost in self.costs.values() if self.to_do(cost.key)])

    @property
    def scratch(self) -> Amount:
        """The most that one training job holds in checkpoints at a time."""
        known = [cost.scratch for cost in self.costs.values() if cost.scratch.value is not None and self.to_do(cost.key)]
        return max(known, key=lambda amount: amount.value or 0, default=NOTHING)

    @property
    def main_variant(self) -> str:
        """The variant that the others are compared with, or else the first one that trains."""
        named = self.recipe.evaluation.reference_variant
        return named or next((name for name, path in self.variants.paths.items() if path), next(iter(self.recipe.variants)))

    def stage_jobs(self) -> dict[int, Job]:
        """Return the training jobs of the main variant by stage."""
        by_key = {job.key: job for job in self.jobs}
        return {step.stage: by_key[step.key] for step in self.variants.paths[self.main_variant]}


def estimate(
    recipe: Recipe,
    device: Device,
    utilisation: float,
    missing: Sequence[Placed] = (),
    store: Path | None = None,
    as_before: bool = False,
) -> Estimate:
    """Return what a run of a recipe takes on devices that do ``utilisation`` of their peak.

    ``store`` gives measured sizes, and ``as_before`` also the time that its artifacts took.

    Raises ValueError for a utilisation outside of (0, 1].
    """
    if not 0 < utilisation <= 1:
        raise ValueError(f"mfu {utilisation:g} is a share of the device's peak: give a number above 0 and up to 1")
    variants = Variants(recipe)
    book = Book(recipe, {})
    trained = _enter_all(book, variants)
    if store and (found := measured_artifacts(store, recipe, book.costs)):
        book = Book(recipe, found)
        trained = _enter_all(book, variants)
    costs = {cost.key: cost for group in GROUPS for cost in book.costs.values() if cost.group == group}
    return Estimate(
        recipe=recipe,
        device=device,
        utilisation=utilisation,
        as_before=as_before,
        costs=costs,
        jobs=trained,
        memory=_memory(recipe, trained, device),
        missing=missing,
        fetched=hub_inputs(recipe, store),
        lacking={key: lacking for key in costs if (lacking := [each for each in missing if key in readers(each.where)])},
        variants=variants,
    )


def readers(where: str) -> tuple[str, ...]:
    """Return the keys of the assets that read what a place in the recipe names."""
    found = next((keys for place, keys in READERS.items() if where.startswith(place)), None)
    return found or tuple(where.split(".")[1:2])


def hub_inputs(recipe: Recipe, store: Path | None) -> list[str]:
    """Return the models and data sets of the Hugging Face hub that a recipe names and that are not in the store's cache."""
    found: dict[str, list[str]] = {}
    named = [(".".join(path), _named(recipe, path)) for path in (*MODELS, *ANNOTATORS)]
    for where, name in named:
        if name and name not in PACKAGED and not is_folder(name) and (match := HUB_NAME.fullmatch(name)):
            folder = "models--" + match["repository"].replace("/", "--")
            if not (store and any((store / ".cache" / "hub" / folder).glob("snapshots/*"))):
                found.setdefault(name, []).append(where)
    for path in SOURCES:
        for source in recipe.section(".".join(path)):
            if source.form == "dataset" and "@" in source.location:
                found.setdefault(source.location, []).append(".".join(path))
    return [f"{name} ({', '.join(places)})" for name, places in found.items()]


def _named(recipe: Recipe, path: tuple[str, ...]) -> str | None:
    try:
        owner = recipe.section(".".join(path[:-1]))
    except AttributeError:  # part of something that the recipe leaves out
        return None
    return None if getattr(owner, "kind", "") == "openai" else getattr(owner, path[-1], None)


def _memory(recipe: Recipe, trained: list[Job], device: Device) -> list[Memory]:
    """Return the memory of each sort of job: every rung of the ladder, the backbone and the stages once."""
    found: dict[str, Memory] = {}
    for job in trained:
        title = f"proxy {job.name}" if job.key.startswith(jobs.PROXIES) else job.key.rpartition("/")[2]
        if job.model and title not in found:
            placement = recipe.execution.launcher
            found[title] = memory_of(title, job.model, job.config, placement, job.sequence_length, device)
    return list(found.values())


def _enter_all(book: Book, variants: Variants) -> list[Job]:
    """Enter every asset, and return the training jobs."""
    benchmarks.benchmark_costs(book)
    corpus.corpus_costs(book)
    web.web_costs(book)
    web.quality_costs(book)
    mixtures.mixture_costs(book, variants)
    trained = jobs.job_costs(book, variants)
    evaluation.evaluation_costs(book, variants)
    return trained


def assumptions(found: Estimate) -> list[str]:
    """Return what the estimate rests on."""
    device = found.device
    used = [f"{device.name}: {device.peak_in_words} at {found.utilisation:.0%} utilisation"] if device.peaks else []
    before = ["a time is that of the last build from the same values, whichever code it had"] if found.as_before else []
    return [*before, *used, *sizes.ASSUMPTIONS, sources.ASSUMPTION, *jobs.ASSUMPTIONS, *evaluation.ASSUMPTIONS]
