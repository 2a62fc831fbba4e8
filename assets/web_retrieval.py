"""Web retrieval: find the pages of a web corpus that resemble the seed corpus (paper section 4.2)."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.artifact import ArtifactAsset, Build, CheckDeclaration, artifact
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
from assets.showing import figures_of, rounded, tables_of
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.models import model_identity
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.retrieval.encoder import vector_identity

if TYPE_CHECKING:
    from hephaestus_dag.retrieval.encoder import Encoder

GROUP = "web_retrieval"
RETRIEVAL = "web_retrieval.retrieval"
SEARCH_FIELDS = (
    *("search", "exact_up_to_pairs", "index", "neighbours", "max_queries_per_document", "random_pair_quantile"),
    *("min_keep_share", "max_keep_share", "seed"),
)

FIRST_PASS = CheckDeclaration(
    name="first_pass_loses_little", description="What dense retrieval would want passes the first pass."
)
INDEX = CheckDeclaration(name="index_finds_the_nearest", description="The index finds what exact search finds, on a sample.")
SEARCH = CheckDeclaration(
    name="search_finds_the_nearest", description="The queries' search finds what exact search finds, on a sample."
)
SHARE = CheckDeclaration(
    name="retrieved_share_is_plausible", description="Retrieval took neither nearly nothing nor nearly everything."
)
NEARER = CheckDeclaration(
    name="retrieved_is_nearer_to_the_seed",
    description="Retrieved pages lie nearer to the seed corpus than general text does (the paper's Figure 2d).",
)


def encoder_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what decides a document's vector."""
    return {"encoder": vector_identity(recipe.web_retrieval.retrieval.encoder)}


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
    """Web documents of every sort, some worth finding, most not: without copies of the seed and without benchmark text.

    What retrieval searches (paper, section 4.2). Only shards that no earlier build has read are read.
    """
    import shutil

    from hephaestus_dag.sources.collect import collect_documents

    raw = build.work / "raw"
    sources, shards = build.recipe.web_retrieval.web_corpus, build.cache / "web_shards"
    collected = collect_documents(sources, raw, build.work, build.pool.map, build.progress, shards)
    report = with_summary(build, curated(build, [raw], build.input("seed_corpus")))
    shutil.copyfile(raw / "rejects.parquet", build.folder / "rejects.parquet")
    read = collected_report(collected, "pages")
    figures = {"shards read": collected.shards_read, "shards taken over": collected.shards_taken_over}
    return replace(report, figures={**read.figures, **figures, **report.figures}, tables={**read.tables, **report.tables})


def static_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what the word vectors of the first pass are, where it uses any."""
    first_pass = recipe.web_retrieval.retrieval.first_pass
    if first_pass is None or first_pass.kind != "static":
        return {}
    return {"word_vectors": model_identity(first_pass.model)}


def static_vectors(build: Build) -> Path | None:
    """Return the folder of the first pass's word vectors, where it uses any."""
    from hephaestus_dag.models import resolve_model

    first_pass = build.recipe.web_retrieval.retrieval.first_pass
    return resolve_model(first_pass.model, build.cache) if first_pass and first_pass.kind == "static" else None


def pages(recipe: Recipe) -> str:
    """Return the key of the asset whose pages are encoded."""
    return "web_candidates" if recipe.web_retrieval.retrieval.first_pass else "web_corpus"


def open_encoder(build: Build) -> "Encoder":
    """Return the recipe's encoder."""
    from hephaestus_dag.models import resolve_model
    from hephaestus_dag.retrieval.encoder import Encoder

    config = build.recipe.web_retrieval.retrieval.encoder
    return Encoder(config, resolve_model(config.model, build.cache), build.device)


@artifact(
    group=GROUP,
    kinds={"numpy", "parquet"},
    inputs=["seed_corpus"],
    recipe=[f"{RETRIEVAL}.{name}" for name in ("query_domains", "num_candidates", "num_queries", "num_general", "seed")],
    outside=encoder_identity,
    trains=True,
)
def seed_queries(build: Build) -> Report:
    """The seed documents that search the web: vectors of candidates, and a diverse choice of them as queries.

    Pages near to them are taken for pages about agents (paper, section 4.2).
    """
    from hephaestus_dag.retrieval.queries import write_queries

    config = build.recipe.web_retrieval.retrieval
    seed, encoder = build.input("seed_corpus"), open_encoder(build)
    found = write_queries(seed, encoder, config, build.folder, build.work, build.progress, build.model_map)
    return Report(
        headline=f"{found['queries']:,} queries chosen among {found['candidates']:,} seed documents",
        rows=found["queries"],
        figures=figures_of(found),
        tables=tables_of(found),
    )


@artifact(
    group=GROUP,
    kinds={"parquet", "python"},
    inputs=["seed_corpus", "web_corpus", "seed_queries"],
    recipe=[f"{RETRIEVAL}.{name}" for name in ("first_pass", "random_pair_quantile", "seed")],
    outside=lambda recipe: encoder_identity(recipe) | static_identity(recipe),
    checks=[FIRST_PASS],
    trains=True,
)
def web_candidates(build: Build) -> Report:
    """The web documents that a cheap first pass leaves for the encoder, and what that costs in recall.

    Before dense retrieval (paper, section 4.2) of a large web corpus.
    """
    from hephaestus_dag.retrieval.first_pass import first_pass

    config = build.recipe.web_retrieval.retrieval
    assert config.first_pass is not None
    found = first_pass(
        build.input("seed_corpus"),
        build.input("web_corpus"),
        build.input("seed_queries"),
        open_encoder(build),
        config,
        build.folder,
        static_vectors(build),
        build.progress,
        build.pool.map,
    )
    recall, best = found["recall"], found["best_possible_recall"]
    return Report(
        headline=f"{found['kept']:,} of {found['pages']:,} pages go on to the encoder, "
        + (f"with {recall:.0%} of those that it wants" if recall is not None else "which wants none of the sample"),
        rows=found["kept"],
        figures=figures_of(found),
        tables=tables_of(found),
        checks=[
            Check(
                name=FIRST_PASS.name,
                passed=recall is not None and recall >= config.first_pass.min_recall * best,
                detail=f"recall {recall:.3f}, possible {best:.3f}, of which {config.first_pass.min_recall:.0%} are wanted"
                if recall is not None
                else "the encoder wants none of the sample: raise recall_sample",
            )
        ],
    )


def nearer_check(distances: dict[str, Any]) -> Check:
    """Compare the similarity of retrieved pages and of general text to the seed."""
    low = distances["difference_low"]
    if low is None:
        return Check(name=NEARER.name, passed=False, detail="nothing was retrieved, or the seed corpus has no general text")
    return Check(
        name=NEARER.name,
        passed=low > 0,
        detail=f"mean similarity to the nearest seed documents: retrieved {distances['retrieved']:.3f}, general text "
        f"{distances['general']:.3f}; difference {distances['difference']:.3f}, at least {low:.3f} with 97.5 % certainty",
    )


def search_assets(recipe: Recipe) -> list[ArtifactAsset]:
    """Return the assets from the queries to what they find; the first pass is there where the recipe wants it."""
    source = pages(recipe)

    @artifact(
        group=GROUP,
        kinds={"faiss", "numpy"},
        inputs=[source],
        recipe=[f"{RETRIEVAL}.index"],
        outside=encoder_identity,
        checks=[INDEX],
        trains=True,
    )
    def web_index(build: Build) -> Report:
        """A vector for every web document, and the FAISS index over them.

        What dense retrieval searches (paper, section 4.2). Vectors of documents seen before are taken over.
        """
        from hephaestus_dag.retrieval.embeddings import embed_documents
        from hephaestus_dag.retrieval.index import build_index
        from hephaestus_dag.retrieval.vectors import open_vectors

        config = build.recipe.web_retrieval.retrieval
        figures = embed_documents(
            build.input(source),
            open_encoder(build),
            build.folder,
            build.work / "vectors",
            build.progress,
            build.earlier(),
            build.model_map,
        )
        index = build_index(open_vectors(build.folder), build.folder, config.index)
        passed = index["recall"] >= config.index.min_recall
        return Report(
            headline=f"{figures['encoded']:,} pages encoded, {figures['copied']:,} taken over, {index['kind']} index",
            rows=figures["documents"],
            figures={
                **figures,
                **{f"index {name}": value for name, value in figures_of(index).items()},
                "encoder": config.encoder.model,
            },
            checks=[
                Check(
                    name=INDEX.name,
                    passed=passed,
                    detail=f"recall@{config.index.recall_at} {index['recall']:.3f}, at least {config.index.min_recall} wanted",
                )
            ],
        )

    @artifact(
        group=GROUP,
        kinds={"parquet", "torch"},
        inputs=["seed_queries", source, "web_index"],
        recipe=[f"{RETRIEVAL}.{name}" for name in SEARCH_FIELDS],
        checks=[SEARCH, SHARE, NEARER],
        trains=True,
    )
    def retrieved_web_shards(build: Build) -> Report:
        """The web documents nearest to the seed corpus, with the queries that found them and their calibrated scores.

        Retrieval by similarity (paper, section 4.2); the picture shows what Figure 2d of the paper does: how near retrieved
        pages lie to the seed corpus. The quality filter comes next.
        """
        from hephaestus_dag.retrieval.search import retrieve

        config = build.recipe.web_retrieval.retrieval
        found = retrieve(
            build.input("seed_queries"),
            build.input(source),
            build.input("web_index"),
            config,
            build.folder,
            build.device,
            build.progress,
        )
        share, distances = found["retrieved_share"], found["distances"]
        return Report(
            headline=f"{found['retrieved']:,} of {found['web_documents']:,} pages ({share:.0%}) match "
            f"{found['queries']:,} queries, {found['method']} search",
            rows=found["retrieved"],
            figures=figures_of(found),
            tables={
                "retrieved by source": [{"source": name, "pages": n} for name, n in found["by_source"].items()],
                "examples": rounded(found["examples"]),
            },
            pictures={"seed, retrieved, other and general text": "projection.png"},
            checks=[
                Check(
                    name=SEARCH.name,
                    passed=found["recall"] >= config.index.min_recall,
                    detail=f"{found['method']} search, recall@{found['recall_at']} {found['recall']:.3f}, at least "
                    f"{config.index.min_recall} wanted",
                ),
                Check(
                    name=SHARE.name,
                    passed=config.plausible(share),
                    detail=f"{share:.1%} of pages, bounds {config.min_keep_share:.0%} and {config.max_keep_share:.0%}",
                ),
                nearer_check(distances),
            ],
        )

    optional = [web_candidates] if recipe.web_retrieval.retrieval.first_pass else []
    return [seed_queries, *optional, web_index, retrieved_web_shards]
