"""The whole graph of a recipe: the fixed assets, and those of every variant; what two variants share exists once."""

from datetime import timedelta

import dagster as dg

from assets import benchmark_report, benchmarks, evaluation, mixture, quality, scaling_law, seed_corpus, training, web_retrieval
from assets.artifact import ArtifactAsset, Lineage
from assets.outside import outside_of
from assets.page import to_dagster
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scored_models import scored_models, training_data
from hephaestus_dag.variants import Variants

FIXED = (
    benchmarks.benchmark_items,
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
    mixture.instruction_corpus,
    scaling_law.fitted_power_law,
    training.backbone,
)
FRESH = ("retrieved_web_shards", "filtered_web")
"""What the schedule renews; the UI says when it has become old."""


def variant_assets(recipe: Recipe) -> list[ArtifactAsset]:
    """Return the mixtures, checkpoints and scores of all variants, and the report over them and over the endpoints."""
    variants = Variants(recipe)
    fitted = recipe.mixture.agent_ratio == "fitted"
    models = [*scored_models(recipe, variants)]
    return [
        *(mixture.tokenized_web(key, documents) for key, documents in variants.webs.items()),
        *(mixture.mixed_corpus(key, store, fitted) for key, store in variants.mixed.values()),
        *(
            mixture.seed_mixture(key, variants.mixed[web][0] if web else None, list(variants.stores(web)))
            for web, key in variants.seed.items()
        ),
        *(training.stage_checkpoint(c.key, c.stage, c.start, c.mixture, list(c.stores)) for c in variants.checkpoints),
        benchmarks.benchmark_matches(["seed_corpus", *variants.webs.values()]),
        *(evaluation.SCORES[key.partition("/")[2]](model) for model in models for key in model.scores),
        *(evaluation.benchmark_overlap(name, *training_data(recipe, path)) for name, path in variants.paths.items()),
        benchmark_report.benchmark_report(models),
    ]


def lineage_of(recipe: Recipe, *, fixed: bool = True) -> Lineage:
    """Return all assets of a recipe with their identities; see `Lineage` for ``fixed``."""
    return Lineage(
        recipe,
        [
            *FIXED,
            *seed_corpus.seed_corpus(recipe),
            *web_retrieval.search_assets(recipe),
            *scaling_law.proxy_runs(recipe),
            *variant_assets(recipe),
        ],
        fixed=fixed,
    )


def dagster_assets(lineage: Lineage) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Return the graph as Dagster assets, and the external ones that it starts from.

    Jobs that occupy a GPU wait for each other in one pool, also across runs; on a CPU they may overlap.
    """
    execution = lineage.recipe.execution
    pool = "gpu" if execution.launcher.num_gpus else None
    days = execution.retrieval_freshness
    fresh = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=days.fail), warn_window=timedelta(days=days.warn))
    sweep = lineage.assets["proxy_runs"]
    outside = {each.name: each for each in outside_of(lineage)}.values()
    shown = [asset for asset in lineage.assets.values() if asset.page == asset.key and asset is not sweep]
    return [
        *(each.spec() for each in outside),
        scaling_law.sweep_to_dagster(lineage, sweep, pool),
        *(
            to_dagster(
                lineage,
                asset,
                pool,
                outside=[each.key for each in outside if asset.key in each.read_by],
                freshness=fresh if asset.key in FRESH else None,
            )
            for asset in shown
        ),
    ]
