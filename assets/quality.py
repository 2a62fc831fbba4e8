"""Quality: keep the part of the retrieved web that helps an agent (paper section 4.2)."""

from typing import TYPE_CHECKING

from assets.artifact import Build, CheckDeclaration, artifact
from assets.showing import figures_of, rounded
from assets.web_retrieval import encoder_identity, open_encoder
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.quality.annotate import annotation_identity
from hephaestus_dag.quality.canaries import junk_digest

if TYPE_CHECKING:
    from hephaestus_dag.quality.canaries import Canaries

GROUP = "quality"

JUDGED = CheckDeclaration(
    name="most_pages_were_judged", description="The annotator gave at least nine of ten pages a score, errors counted."
)
STABLE = CheckDeclaration(
    name="verdicts_survive_other_words",
    description="Asked in other words, the annotator gives more equal verdicts than chance would.",
    blocking=False,
)
BETTER_THAN_CHANCE = CheckDeclaration(
    name="classifier_ranks_better_than_chance",
    description="On held-out examples a good page scores higher than a bad one more often than not.",
)
KEPT = CheckDeclaration(name="kept_share_is_plausible", description="The filter kept neither too little nor too much.")
PLANTED = CheckDeclaration(
    name="planted_agent_pages_come_through",
    description="Agent pages that nothing learned from would be retrieved and kept, 95 of 100 at least.",
)
JUNK = CheckDeclaration(
    name="planted_junk_is_kept_out", description="Of packaged junk, 5 of 100 pages at most would be retrieved and kept."
)


def by_step(pages: "Canaries") -> str:
    """Say what each step alone did with canaries: together they could hide that one does nothing."""
    return f"; retrieval alone lets {pages.retrieved.mean():.1%} through, the filter alone {pages.kept.mean():.1%}"


@artifact(
    group=GROUP,
    kinds={"huggingface", "parquet"},
    inputs=["web_corpus", "retrieved_web_shards"],
    recipe=[f"quality.annotation.{name}" for name in ("num_samples", "num_strata", "good_above", "recheck_samples", "seed")],
    outside=lambda recipe: annotation_identity(recipe.quality.annotation),
    checks=[JUDGED, STABLE],
    trains=True,
)
def quality_annotations(build: Build) -> Report:
    """A language model's judgement, by a written rubric, of a sample of web pages from every stratum of retrieval scores.

    The examples that the quality classifier learns from (paper, section 4.2). What it cost is under `tokens in`, what the
    model read, and `tokens out`, what it wrote.
    """
    from hephaestus_dag.quality.annotate import annotate_sample

    config = build.recipe.quality.annotation
    found = annotate_sample(
        build.input("web_corpus"),
        build.input("retrieved_web_shards") / "retrieved.parquet",
        config,
        build.cache,
        build.cache / "answers",
        build.folder,
        build.device,
        build.progress,
        build.model_map,
    )
    judged, again = found["by_status"].get("ok", 0), found["recheck"] or {}
    kappa = again.get("kappa")
    return Report(
        headline=f"{judged:,} of {found['pages']:,} pages judged by {config.annotator.model}, {found['good']:,} of them good",
        rows=found["pages"],
        figures={
            **figures_of(found),
            **{f"mean score, {name}": value for name, value in found["mean_score"].items() if value is not None},
            **{f"asked again: {name}": value for name, value in figures_of(again).items()},
        },
        tables={"answers": [{"status": status, "pages": n} for status, n in found["by_status"].items()]},
        checks=[
            Check(
                name=JUDGED.name,
                passed=judged >= 0.9 * found["pages"],
                detail=f"{judged} of {found['pages']} pages have a score; by status: {found['by_status']}",
            ),
            Check(
                name=STABLE.name,
                passed=not again or (kappa is not None and kappa > 0),
                detail=f"Cohen's kappa {kappa:.2f} on {again['pages']} pages" if kappa is not None else "not measured",
            ),
        ],
    )


@artifact(
    group=GROUP,
    kinds={"fasttext"},
    inputs=["seed_corpus", "web_corpus", "web_index", "seed_queries", "retrieved_web_shards", "quality_annotations"],
    recipe=["quality.classifier"],
    checks=[BETTER_THAN_CHANCE],
)
def quality_classifier(build: Build) -> Report:
    """A fastText classifier that learned from seed documents and annotated pages, measured beside its alternatives.

    It decides which retrieved pages help an agent (paper, section 4.2); all measures are on examples that it did not see.
    """
    from hephaestus_dag.quality.classifier import train_classifier

    found = train_classifier(
        build.input("seed_corpus"),
        build.input("web_corpus"),
        build.input("retrieved_web_shards") / "retrieved.parquet",
        build.input("quality_annotations") / "annotations.parquet",
        build.input("web_index"),
        build.input("seed_queries"),
        build.recipe.quality.classifier,
        build.folder,
        build.recipe.web_retrieval.retrieval.query_domains,
    )
    parts = {"all": "held_out", "web pages": "held_out_web", "annotated pages": "held_out_annotated"}
    held_out, annotated = found["held_out"], found["held_out_annotated"]
    honest = f"; on annotated pages alone F1 {annotated['f1']:.2f}" if annotated else ""
    auc = held_out["auc"]
    return Report(
        headline=f"held-out precision {held_out['precision']:.2f}, recall {held_out['recall']:.2f}, "
        f"F1 {held_out['f1']:.2f}{honest}",
        figures={
            **{f"held-out {name}": value for name, value in figures_of(dict(held_out)).items()},
            **figures_of(found),
            **{f"setting {name}": value for name, value in found["settings"].items()},
        },
        tables={
            "held-out measures": rounded([{"held-out": name, **found[key]} for name, key in parts.items() if found[key]]),
            "what the classifier adds": rounded(found["alternatives"]),
            "confusion": found["confusion"],
            "reliability": rounded(found["reliability"]),
            "settings tried": rounded(found["trials"]),
            "examples": [{"part": part, **counts} for part, counts in found["examples"].items()],
        },
        pictures={"scores, precision and recall, reliability": "quality.png"},
        checks=[
            Check(
                name=BETTER_THAN_CHANCE.name,
                passed=auc is not None and auc > 0.5,
                detail=f"area under the curve {auc:.3f} on {held_out['examples']} examples" if auc is not None else "one class",
            )
        ],
    )


@artifact(group=GROUP, kinds={"fasttext", "parquet"}, inputs=["retrieved_web_shards", "quality_classifier"])
def quality_scored_web(build: Build) -> Report:
    """A quality score for every retrieved document, beside the documents.

    The classifier's probability that a page helps an agent (paper, section 4.2); a threshold can move without scoring again.
    """
    from hephaestus_dag.quality.scoring import score_documents

    found = score_documents(
        build.input("retrieved_web_shards"), build.input("quality_classifier"), build.folder, build.progress, build.pool.map
    )
    low, middle, high = found["quartiles"]
    return Report(
        headline=f"{found['documents']:,} pages scored, quartiles {low:.2f}, {middle:.2f}, {high:.2f}",
        rows=found["documents"],
        figures={"documents": found["documents"], "lower quartile": low, "median": middle, "upper quartile": high},
    )


@artifact(
    group=GROUP,
    kinds={"parquet"},
    inputs=["seed_corpus", "seed_queries", "retrieved_web_shards", "quality_classifier", "quality_scored_web"],
    recipe=["quality.filter"],
    outside=lambda recipe: encoder_identity(recipe) | {"junk": junk_digest()},
    checks=[KEPT, PLANTED, JUNK],
    trains=True,
)
def filtered_web(build: Build) -> Report:
    """The retrieved documents that score high enough; the others are kept aside with their score.

    The web part of Stage I (paper, section 4.2). Planted agent pages must come through, and planted junk must not.
    """
    from hephaestus_dag.quality.canaries import JUNK_LET_THROUGH, PLANTED_RECALL, canary_check
    from hephaestus_dag.quality.threshold import apply_threshold

    config, classifier = build.recipe.quality.filter, build.input("quality_classifier")
    retrieval = build.recipe.web_retrieval.retrieval
    retrieved = build.input("retrieved_web_shards")
    found = apply_threshold(retrieved, build.input("quality_scored_web"), classifier, config, build.folder)
    canaries = canary_check(
        build.input("seed_corpus"),
        build.input("seed_queries"),
        retrieved / "reach.parquet",
        classifier,
        found["threshold"],
        open_encoder(build),
        domains=retrieval.query_domains,
        max_queries_per_document=retrieval.max_queries_per_document,
    )
    return Report(
        headline=f"{found['kept']:,} of {found['scored']:,} pages kept ({found['kept_share']:.0%}), the {found['rule']}",
        rows=found["kept"],
        figures=figures_of(found),
        tables={
            "kept by source": [{"source": name, "pages": n} for name, n in found["by_source"].items()],
            "confusion on held-out pages": found["confusion"],
            "canaries": rounded(canaries.table()),
            "planted agent pages that were lost": canaries.lost[:10],
            "junk that came through": canaries.let_through[:10],
        },
        checks=[
            Check(
                name=KEPT.name,
                passed=config.plausible(found["kept_share"]),
                detail=f"{found['kept_share']:.1%}, bounds {config.min_keep_share:.0%} and {config.max_keep_share:.0%}",
            ),
            Check(
                name=PLANTED.name,
                passed=canaries.planted_recall >= PLANTED_RECALL,
                detail=f"{canaries.planted_recall:.1%} of {len(canaries.planted)}, at least {PLANTED_RECALL:.0%} wanted"
                + by_step(canaries.planted),
            ),
            Check(
                name=JUNK.name,
                passed=canaries.junk_let_through <= JUNK_LET_THROUGH,
                detail=f"{canaries.junk_let_through:.1%} of {len(canaries.junk)}, at most {JUNK_LET_THROUGH:.0%} wanted"
                + by_step(canaries.junk),
            ),
        ],
    )
