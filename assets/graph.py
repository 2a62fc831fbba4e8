"""The whole graph of a recipe: the fixed assets, and those of every variant; what two variants share exists once."""

import dagster as dg

from assets import evaluation, mixture, quality, scaling_law, seed_corpus, training, web_retrieval
from assets.artifact import ArtifactAsset, Lineage, to_dagster
from hephaestus_dag.recipe import Recipe, Variant

FIXED = (
    evaluation.benchmark_items,
    seed_corpus.tool_documentation,
    seed_corpus.function_calling_trajectories,
    seed_corpus.code_documents,
    seed_corpus.text_documents,
    web_retrieval.web_corpus,
    quality.quality_annotations,
    quality.quality_classifier,
    quality.quality_scored_web,
    quality.filtered_web,
    mixture.tokenizer,
    mixture.tokenized_seed,
    mixture.tokenized_web("tokenized_web", "filtered_web"),
    mixture.instruction_corpus,
    scaling_law.fitted_power_law,
    training.backbone,
)


class Variants:
    """Declares the assets of variants one by one, sharing what is equal."""

    def __init__(self, recipe: Recipe) -> None:
        self.fitted = recipe.mixture.agent_ratio == "fitted"
        self.replays = recipe.mixture.stage2_replay > 0
        self.assets: list[ArtifactAsset] = []
        self.scores: dict[str, list[str]] = {}
        self._corpora: dict[str, tuple[str, list[str]]] = {}
        self._seed_mixtures: dict[str | None, str] = {}
        self._checkpoints: dict[tuple[str, str], str] = {}
        for name, variant in recipe.variants.items():
            self._declare(name, variant)
        self.assets.append(evaluation.benchmark_report(self.scores))

    def _declare(self, name: str, variant: Variant) -> None:
        model = "backbone"
        for stage in variant.stages:
            corpus, stores = self._corpus(name, stage, variant.web)
            if (model, corpus) not in self._checkpoints:
                key = f"{name}/stage{stage}_checkpoint"
                self.assets.append(training.stage_checkpoint(key, stage, model, corpus, stores))
                self._checkpoints[model, corpus] = key
            model = self._checkpoints[model, corpus]
        self.assets.append(evaluation.bfcl_scores(f"{name}/bfcl_scores", model))
        self.assets.append(evaluation.benchmark_loss(f"{name}/benchmark_loss", model))
        self.scores[name] = [f"{name}/bfcl_scores", f"{name}/benchmark_loss"]

    def _corpus(self, name: str, stage: int, web: str) -> tuple[str, list[str]]:
        """Return the asset key of a stage's mixture, and of the token stores it is planned over."""
        if stage == 3:
            return "instruction_corpus", []
        if stage == 1:
            return self._mixed_corpus(name, web)
        corpus, stores = self._mixed_corpus(name, web) if self.replays else (None, ["tokenized_seed"])
        if corpus not in self._seed_mixtures:
            key = "seed_mixture" if corpus in (None, "mixed_corpus") else f"{name}/seed_mixture"
            self.assets.append(mixture.seed_mixture(key, corpus, stores))
            self._seed_mixtures[corpus] = key
        return self._seed_mixtures[corpus], stores

    def _mixed_corpus(self, name: str, web: str) -> tuple[str, list[str]]:
        if web not in self._corpora:
            key = "mixed_corpus" if web == "filtered" else f"{name}/mixed_corpus"
            store = {"filtered": "tokenized_web", "unfiltered": f"{name}/tokenized_web", "none": None}[web]
            if web == "unfiltered":
                self.assets.append(mixture.tokenized_web(str(store), "retrieved_web_shards"))
            self.assets.append(mixture.mixed_corpus(key, store, self.fitted))
            self._corpora[web] = (key, ["tokenized_seed", *([store] if store else [])])
        return self._corpora[web]


def lineage_of(recipe: Recipe) -> Lineage:
    """Return all assets of a recipe with their identities."""
    return Lineage(
        recipe,
        [
            *FIXED,
            *seed_corpus.seed_corpus(recipe),
            *web_retrieval.search_assets(recipe),
            *scaling_law.proxy_runs(recipe),
            *Variants(recipe).assets,
        ],
    )


def dagster_assets(lineage: Lineage) -> list[dg.AssetsDefinition]:
    """Return the graph as Dagster assets. Jobs that occupy a GPU wait for each other in one pool; on a CPU they may overlap."""
    pool = "gpu" if lineage.recipe.execution.launcher.num_gpus else None
    sweep = lineage.assets["proxy_runs"]
    cells = [key for key in sweep.inputs if key.startswith("proxy_runs/")]
    shown = [asset for asset in lineage.assets.values() if asset is not sweep and asset.key not in cells]
    return [scaling_law.sweep_to_dagster(lineage, sweep, pool), *(to_dagster(lineage, asset, pool) for asset in shown)]
