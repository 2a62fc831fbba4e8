"""Web retrieval: find the pages of a web corpus that resemble the seed corpus (paper section 4.2)."""

from dataclasses import replace
from typing import Any

from assets.artifact import Build, CheckDeclaration, artifact
from assets.seed_corpus import (
    CURATION_CHECK,
    PLANTED_CHECK,
    READERS,
    collected_report,
    counting_identity,
    curated,
    curation_identity,
    sources_of,
    with_summary,
)
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.models import model_identity
from hephaestus_dag.recipe import Recipe

GROUP = "web_retrieval"


def encoder_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what the encoder's weights are."""
    return {"encoder": model_identity(recipe.web_retrieval.retrieval.encoder.model)}


@artifact(
    group=GROUP,
    kinds={"parquet", "python"},
    inputs=["seed_corpus", "benchmark_items"],
    recipe=["seed_corpus.curation"],
    outside=lambda recipe: (
        sources_of(recipe, "web_retrieval.web_corpus") | curation_identity(recipe) | counting_identity(recipe)
    ),
    programs=READERS,
    checks=[CURATION_CHECK, PLANTED_CHECK],
)
def web_corpus(build: Build) -> Report:
    """Web documents of every sort, some worth finding, most not: without copies of the seed and without benchmark text."""
    import shutil

    from hephaestus_dag.sources.collect import collect_documents

    raw = build.work / "raw"
    collected = collect_documents(build.recipe.web_retrieval.web_corpus, raw, build.work, build.pool.map, build.progress)
    report = with_summary(build, curated(build, [raw], build.input("seed_corpus")))
    shutil.copyfile(raw / "rejects.parquet", build.folder / "rejects.parquet")
    read = collected_report(collected, "pages")
    return replace(report, figures={**read.figures, **report.figures}, tables={**read.tables, **report.tables})


@artifact(
    group=GROUP,
    kinds={"faiss", "numpy"},
    inputs=["web_corpus"],
    recipe=["web_retrieval.retrieval.encoder"],
    outside=encoder_identity,
)
def web_index(build: Build) -> Report:
    """A vector for every web document, and the FAISS index over them. Vectors of shards seen before are taken over."""
    from hephaestus_dag.models import resolve_model
    from hephaestus_dag.retrieval.embeddings import embed_documents, open_embeddings
    from hephaestus_dag.retrieval.encoder import Encoder
    from hephaestus_dag.retrieval.index import build_index

    config = build.recipe.web_retrieval.retrieval.encoder
    encoder = Encoder(config, resolve_model(config.model, build.cache), build.device)
    figures = embed_documents(build.input("web_corpus"), encoder, build.folder, build.progress, build.earlier())
    index = build_index(open_embeddings(build.folder)[0], build.folder)
    return Report(
        headline=f"{figures['encoded']:,} pages encoded, {figures['copied']:,} taken over, {index['kind']} index",
        rows=figures["documents"],
        figures={**figures, "index": index["kind"], "encoder": config.model},
    )


@artifact(
    group=GROUP,
    kinds={"faiss", "parquet"},
    inputs=["seed_corpus", "web_corpus", "web_index"],
    recipe=["web_retrieval.retrieval"],
    outside=encoder_identity,
    checks=[
        CheckDeclaration(
            name="retrieved_share_is_plausible", description="Retrieval took neither nearly nothing nor nearly everything."
        ),
        CheckDeclaration(
            name="retrieved_is_nearer_to_the_seed",
            description="Retrieved pages lie nearer to the seed corpus than the rest does (the paper's Figure 2d).",
        ),
    ],
)
def retrieved_web_shards(build: Build) -> Report:
    """The web documents nearest to the seed corpus, with the queries that found them and their scores."""
    from hephaestus_dag.models import resolve_model
    from hephaestus_dag.retrieval.encoder import Encoder
    from hephaestus_dag.retrieval.search import retrieve

    config = build.recipe.web_retrieval.retrieval
    found = retrieve(
        build.input("seed_corpus"),
        build.input("web_corpus"),
        build.input("web_index"),
        Encoder(config.encoder, resolve_model(config.encoder.model, build.cache), build.device),
        config,
        build.folder,
        build.progress,
    )
    share, near = found["retrieved_share"], found["mean_similarity"]
    nearer = None not in near.values() and near["retrieved"] > near["rest"]
    return Report(
        headline=f"{found['retrieved']:,} of {found['web_documents']:,} pages ({share:.0%}) match {found['queries']:,} queries",
        rows=found["retrieved"],
        figures={name: value for name, value in found.items() if isinstance(value, (int, float))},
        tables={"retrieved by source": [{"source": name, "pages": n} for name, n in found["by_source"].items()]},
        pictures={"seed, retrieved and other pages": "projection.png"},
        checks=[
            Check(
                name="retrieved_share_is_plausible",
                passed=config.plausible(share),
                detail=f"{share:.1%} of pages, bounds {config.min_keep_share:.0%} and {config.max_keep_share:.0%}",
            ),
            Check(
                name="retrieved_is_nearer_to_the_seed",
                passed=nearer,
                detail=f"mean similarity to the queries: retrieved {near['retrieved']}, rest {near['rest']}",
            ),
        ],
    )
