"""Which models the report compares, by the keys of their assets: the variants of a recipe, and models behind endpoints."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hephaestus_dag.recipe import Recipe
from hephaestus_dag.variants import Checkpoint, Variants

SCORES = ("bfcl_scores", "agentbench_scores", "mmlu_scores", "general_scores", "benchmark_loss")
"""What is measured of each model; the general scores only where the recipe names their items."""
DECISIVE = {"model", "endpoint", "prompt_format", "temperature", "limit_field"}
"""What decides the replies of a model behind an endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredModel:
    """A model in the report."""

    name: str
    model: str = ""
    """Asset with the weights; empty: an endpoint of the recipe."""
    checkpoints: tuple[str, ...] = ()
    """The stages that led to it, in order."""
    scores: tuple[str, ...] = ()
    """Its score assets."""

    @property
    def inputs(self) -> list[str]:
        """Assets that an evaluation reads."""
        return [self.model, "benchmark_items"] if self.model else ["benchmark_items"]

    @property
    def overlap(self) -> str:
        """Asset that compares its training documents with the items; empty where they are not known."""
        return f"{self.name}/benchmark_overlap" if self.model else ""

    @property
    def results(self) -> list[str]:
        """Assets that say what it is worth: its scores, and where it was trained here, which items it has seen."""
        return [*self.scores, *([self.overlap] if self.checkpoints else [])]

    def identity(self, recipe: Recipe) -> dict[str, Any]:
        """Return what a model behind an endpoint is, for the identity of its scores."""
        if self.model:
            return {}
        return {"endpoint": recipe.evaluation.endpoints[self.name].model_dump(mode="json", include=DECISIVE)}


def scored_models(recipe: Recipe, variants: Variants) -> Iterator[ScoredModel]:
    """Yield the models of the report, variants first."""
    config = recipe.evaluation
    general = config.gsm8k.location or config.human_eval.location
    names = [name for name in SCORES if name != "general_scores" or general]
    for name, path in variants.paths.items():
        checkpoints = tuple(checkpoint.key for checkpoint in path)
        scores = tuple(f"{name}/{score}" for score in names)
        yield ScoredModel(name=name, model=variants.model(name), checkpoints=checkpoints, scores=scores)
    for name in config.endpoints:
        yield ScoredModel(name=name, scores=tuple(f"{name}/{score}" for score in names))


def training_data(recipe: Recipe, path: list[Checkpoint]) -> tuple[dict[str, str], list[str]]:
    """Return the assets with a variant's mixtures, with the mixture's folder inside, and their token stores."""
    scratch = recipe.training.backbone.model is None
    mixtures = {"backbone": "mixture"} if scratch else {}
    mixtures |= {checkpoint.mixture: "mixture" if checkpoint.stage == 3 else "" for checkpoint in path}
    stores = [store for checkpoint in path for store in checkpoint.stores or (checkpoint.mixture,)]
    return mixtures, list(dict.fromkeys([*(["tokenized_seed"] if scratch else []), *stores]))
