"""Seed corpus: tool documentation, function-calling trajectories, code and text (paper section 4.1)."""

import hashlib
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from assets.artifact import ArtifactAsset, Build, CheckDeclaration, artifact
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.curation.language import LANGUAGE_MODEL
from hephaestus_dag.models import model_identity, resolve_model
from hephaestus_dag.quality.annotator import annotator_identity
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.sources import KINDS
from hephaestus_dag.sources.collect import Collected

GROUP = "seed_corpus"
READERS = tuple(KINDS.values())
CURATION_CHECK = CheckDeclaration(
    name="removed_share_is_plausible", description="Curation did not remove an implausible share of the documents."
)

PLANTED_CHECK = CheckDeclaration(
    name="what_is_planted_is_found",
    description="Copies, near-duplicates and benchmark items that are planted among the documents are found, and nothing else.",
)


def sources_of(recipe: Recipe, *names: str) -> dict[str, Any]:
    """Return what the sources of recipe sections are: their order, settings, and the versions or hashes of their input."""
    order = {name: [source.name for source in recipe.section(name)] for name in names}
    return order | {f"{name}.{source.name}": source.content() for name in names for source in recipe.section(name)}


def collected_report(collected: Collected, what: str) -> Report:
    """Return the report of an artifact that holds freshly read documents."""
    return Report(
        headline=f"{collected.num_parsed:,} {what} parsed, {collected.num_documents:,} kept, "
        f"{collected.num_rejects:,} set aside",
        rows=collected.num_documents,
        figures={
            f"{what} parsed": collected.num_parsed,
            "documents": collected.num_documents,
            "characters": collected.num_characters,
            "set aside": collected.num_rejects,
            **{f"kind {kind}": count for kind, count in sorted(collected.by_kind.items())},
        },
        tables={
            "sources": collected.sources,
            "set aside because": [{"reason": r, "documents": n} for r, n in collected.reject_reasons.most_common(10)],
            "sample": collected.sample[:9],
        },
    )


def collect(build: Build, name: str, what: str) -> Report:
    """Read the sources of a section of the recipe into the build's folder."""
    from hephaestus_dag.sources.collect import collect_documents

    sources = build.recipe.section(name)
    return collected_report(collect_documents(sources, build.folder, build.work, build.pool.map, build.progress), what)


def counting_model(recipe: Recipe) -> str:
    """Return the model whose tokenizer counts documents before the run has one of its own."""
    return recipe.mixture.tokenizer.model or "smollm2-135m"


def counting_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what the counting tokenizer is."""
    return {"tokens_counted_by": model_identity(counting_model(recipe))}


def curation_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what judges documents beside the code: the language model, and the library behind the signatures.

    The web corpus is compared with the signatures of the seed corpus, which another library would have written differently.
    """
    rules = recipe.seed_corpus.curation
    packages = [LANGUAGE_MODEL.package] if rules.languages else []
    packages += ["rensa"] if rules.near_duplicates else []
    return {f"version of {package}": version(package) for package in packages}


def with_summary(build: Build, report: Report) -> Report:
    """Add APIs, providers, tokens and licences of the documents in the build's folder to a report."""
    from hephaestus_dag.corpus_summary import summarise

    found = summarise(build.folder, resolve_model(counting_model(build.recipe), build.cache))
    columns = ("source", "kind", "documents", "tokens", "APIs", "characters", "license", "domain")
    tables = {
        "documents by source": [{name: row[name] for name in columns} for row in found.by_source],
        "largest providers": found.by_provider,
        "documents by format": found.by_format,
    }
    return replace(report, figures={**report.figures, **found.figures}, tables={**report.tables, **tables})


@artifact(
    group=GROUP,
    kinds={"parquet", "python"},
    outside=lambda recipe: sources_of(recipe, "seed_corpus.tool_documentation") | counting_identity(recipe),
    programs=READERS,
)
def tool_documentation(build: Build) -> Report:
    """Documentation of tools and APIs, one document per operation: name, description, parameters, returns.

    The largest part of the seed corpus (paper, section 4.1): who has read how tools are described can learn to call them. Read
    from the sources in the table below; every document keeps its origin and licence.
    """
    return with_summary(build, collect(build, "seed_corpus.tool_documentation", "operations"))


@artifact(
    group=GROUP,
    kinds={"parquet", "python"},
    recipe=["seed_corpus.synthetic_calls"],
    outside=lambda recipe: sources_of(recipe, "seed_corpus.function_calling_trajectories", "seed_corpus.tool_documentation"),
    programs=READERS,
)
def function_calling_trajectories(build: Build) -> Report:
    """Requests, the calls that answer them and what came back: recorded ones, and synthetic ones that say so.

    The part of the seed corpus that shows tools in use (paper, section 4.1), and what Stage III is tuned on.
    `trajectories.parquet` has them as messages, `documents/` as the text that pre-training reads.
    """
    from hephaestus_dag.sources.collect import collect_trajectories
    from hephaestus_dag.sources.synthesis.synthetic_calls import synthesise_from_sources

    config = build.recipe.seed_corpus
    synthetic = synthesise_from_sources(config.tool_documentation, config.synthetic_calls)
    sources = config.function_calling_trajectories
    collected = collect_trajectories(sources, synthetic, build.folder, build.work, build.pool.map, build.progress)
    return collected_report(collected, "recorded trajectories")


@artifact(
    group=GROUP,
    kinds={"parquet", "python"},
    outside=lambda recipe: sources_of(recipe, "seed_corpus.code_documents"),
    programs=READERS,
)
def code_documents(build: Build) -> Report:
    """Source code, one document per file.

    A general part of the seed corpus (paper, section 4.1), which keeps the model able to write code.
    """
    return collect(build, "seed_corpus.code_documents", "files")


@artifact(
    group=GROUP,
    kinds={"parquet", "python"},
    outside=lambda recipe: sources_of(recipe, "seed_corpus.text_documents"),
    programs=READERS,
)
def text_documents(build: Build) -> Report:
    """General prose: manuals, comments, readmes.

    A general part of the seed corpus (paper, section 4.1), which keeps the model able to read and write.
    """
    return collect(build, "seed_corpus.text_documents", "texts")


def synthetic_documentation_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what decides what a model writes about the code: the model, the prompt, the rules and the code."""
    from hephaestus_dag.sources.synthesis.documentation import load_prompt

    config = recipe.seed_corpus.synthetic_documentation
    if config is None:
        return {}
    return {
        "synthetic_documentation": config.model_dump(mode="json", exclude={"annotator", "prompt"}),
        "annotator": annotator_identity(config.annotator),
        "prompt": hashlib.sha256(load_prompt(config.prompt).encode()).hexdigest(),
        **sources_of(recipe, "seed_corpus.code_documents"),
    }


@artifact(group=GROUP, kinds={"huggingface", "parquet"}, outside=synthetic_documentation_identity, trains=True)
def synthetic_documentation(build: Build) -> Report:
    """Reference documentation that a language model wrote from code, marked as synthetic.

    The second synthetic channel of the seed corpus (paper, section 4.1).
    """
    from hephaestus_dag.documents import DocumentWriter
    from hephaestus_dag.language_model import make_language_model
    from hephaestus_dag.sources.synthesis.documentation import write_documentation
    from hephaestus_dag.sources.synthesis.undocumented import draw_functions, undocumented_in

    config = build.recipe.seed_corpus.synthetic_documentation
    assert config is not None
    found = undocumented_in(build.recipe.seed_corpus.code_documents, config)
    chosen = draw_functions(found, config.count, config.seed)
    model = make_language_model(config.annotator, build.cache, build.device)
    with DocumentWriter(build.folder) as writer:
        writer.write(write_documentation(chosen, model, config, build.work / "answers.jsonl", build.progress))
    reasons = Counter(reject.reason.split(":")[0] for reject in writer.rejects)
    return Report(
        headline=f"{writer.num_documents:,} of {len(chosen):,} functions documented by {config.annotator.model}",
        rows=writer.num_documents,
        figures={"functions without documentation": len(found), "asked about": len(chosen), "documents": writer.num_documents},
        tables={"set aside because": [{"reason": reason, "functions": n} for reason, n in reasons.most_common()]},
    )


def seed_corpus(recipe: Recipe) -> list[ArtifactAsset]:
    """Return the asset of the curated seed corpus, after the one whose documents a model writes where the recipe wants it."""
    written = [synthetic_documentation] if recipe.seed_corpus.synthetic_documentation else []

    @artifact(
        key="seed_corpus",
        group=GROUP,
        kinds={"parquet"},
        inputs=[
            "tool_documentation",
            "function_calling_trajectories",
            "code_documents",
            "text_documents",
            *(asset.key for asset in written),
            "benchmark_items",
        ],
        recipe=["seed_corpus.curation"],
        outside=lambda recipe: curation_identity(recipe) | counting_identity(recipe),
        checks=[CURATION_CHECK, PLANTED_CHECK],
    )
    def seed(build: Build) -> Report:
        """The seed corpus: all kinds of documents without copies, near-duplicates or benchmark text, with their licences.

        What the rest of the run starts from (paper, section 4.1): its documents search the web, teach the quality classifier
        and make up Stage II. `removed.parquet` names every document that went, with the reason.
        """
        return with_summary(build, curated(build, [build.input(key) for key in build.inputs if key != "benchmark_items"]))

    return [*written, seed]


def curated(build: Build, inputs: list[Path], known: Path | None = None) -> Report:
    """Curate documents into the build's folder; copies and near-duplicates of what is in `known` go."""
    from hephaestus_dag.curation.figure import waterfall_figure
    from hephaestus_dag.curation.pipeline import curate

    config = build.recipe.seed_corpus.curation
    index = build.input("benchmark_items") / "index"
    counts = curate(inputs, build.folder, build.work, config, index, build.pool.map, known, build.progress)
    (build.folder / "waterfall.png").write_bytes(waterfall_figure(counts))
    planted, found = planted_check(build)
    return Report(
        headline=f"{counts.kept:,} of {counts.read:,} documents kept, {counts.kept_characters / 1e6:,.1f} MB of text",
        rows=counts.kept,
        figures={
            "documents read": counts.read,
            "documents": counts.kept,
            "characters": counts.kept_characters,
            **{f"removed by {step.step}": step.removed for step in counts.steps},
        },
        tables={"removed by source": counts.by_source(), "planted and found": found},
        pictures={"what curation removed": "waterfall.png"},
        checks=[
            Check(
                name=CURATION_CHECK.name,
                passed=counts.removed_share <= config.max_removed_share,
                detail=f"{counts.removed_share:.1%} removed, at most {config.max_removed_share:.0%} is plausible",
            ),
            planted,
        ],
    )


def planted_check(build: Build) -> tuple[Check, list[dict[str, Any]]]:
    """Plant copies, near-duplicates and benchmark items among what was kept, and see whether the steps find them."""
    from hephaestus_dag.curation.decontamination import BenchmarkIndex
    from hephaestus_dag.curation.planted import NothingToPlantError, planted_truth
    from hephaestus_dag.documents import sample_texts
    from hephaestus_dag.evaluation.benchmarks import item_texts
    from hephaestus_dag.evaluation.bfcl.items import benchmark_functions

    items = [*item_texts(build.input("benchmark_items"), build.recipe.evaluation)]
    items += [(each.item_id, each.text) for each in benchmark_functions(build.input("benchmark_items"))]
    index = BenchmarkIndex.load(build.input("benchmark_items") / "index")
    rule = build.recipe.seed_corpus.curation
    try:
        found = planted_truth(sample_texts(build.folder, 1_000), items, rule.near_duplicates, index, rule.shortest_item)
    except NothingToPlantError as error:  # the report says what was removed
        return Check(name=PLANTED_CHECK.name, passed=False, detail=str(error)), []
    problems = found.problems()
    good = (
        f"all copies, {found.near_duplicates_found} of {found.near_duplicates} near-duplicates, "
        f"all {found.benchmark_items} benchmark items in four shapes, no false merge"
    )
    return Check(name=PLANTED_CHECK.name, passed=not problems, detail="; ".join(problems) or good), found.rows()
