"""Quality: keep the part of the retrieved web that helps an agent (paper section 4.2)."""

from typing import Any

from assets.artifact import Build, CheckDeclaration, artifact
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.models import model_identity
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.rubric import load_rubric
from hephaestus_dag.recipe import Recipe

GROUP = "quality"


def annotator_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what the annotator and its rubric are."""
    annotation = recipe.quality.annotation
    return {"annotator": identity_of_annotator(annotation.annotator), "rubric": load_rubric(annotation.rubric).sha256}


def identity_of_annotator(annotator: AnnotatorConfig) -> dict[str, Any]:
    """Return what decides an annotator's answers; where it is served from does not."""
    local = annotator.kind == "transformers"
    return {
        "kind": annotator.kind,
        "model": model_identity(annotator.model) if local else annotator.model,
        "max_tokens": annotator.max_tokens,
        **({"dtype": annotator.dtype} if local else {}),
    }


def measures_table(measures: dict[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Return held-out measures as rows, in the columns of the paper's Table 6."""
    return [{"held-out examples": name, **values} for name, values in measures.items() if values]


@artifact(
    group=GROUP,
    kinds={"huggingface", "parquet"},
    inputs=["web_corpus", "retrieved_web_shards"],
    recipe=["quality.annotation.num_samples", "quality.annotation.good_above", "quality.annotation.seed"],
    outside=annotator_identity,
    checks=[
        CheckDeclaration(
            name="most_pages_were_judged", description="The annotator gave at least nine of ten pages a score, errors counted."
        )
    ],
)
def quality_annotations(build: Build) -> Report:
    """A language model's judgement, by a written rubric, of a sample of web pages: strongly, weakly and not retrieved."""
    from hephaestus_dag.quality.annotate import annotate_sample, make_annotator

    config = build.recipe.quality.annotation
    annotator = make_annotator(config.annotator, load_rubric(config.rubric), build.cache, build.device)
    found = annotate_sample(
        build.input("web_corpus"),
        build.input("retrieved_web_shards") / "retrieved.parquet",
        annotator,
        config,
        build.folder,
        build.work / "answers.jsonl",
        build.progress,
    )
    judged = found["by_status"].get("ok", 0)
    return Report(
        headline=f"{judged:,} of {found['pages']:,} pages judged by {config.annotator.model}, {found['good']:,} of them good",
        rows=found["pages"],
        figures={
            **{name: value for name, value in found.items() if isinstance(value, (int, float, str))},
            **{f"mean score {name}": value for name, value in found["mean_score"].items() if value is not None},
        },
        checks=[
            Check(
                name="most_pages_were_judged",
                passed=judged >= 0.9 * found["pages"],
                detail=f"{judged} of {found['pages']} pages have a score; by status: {found['by_status']}",
            )
        ],
    )


@artifact(
    group=GROUP,
    kinds={"fasttext"},
    inputs=["seed_corpus", "web_corpus", "retrieved_web_shards", "quality_annotations"],
    recipe=["quality.classifier"],
)
def quality_classifier(build: Build) -> Report:
    """A fastText classifier that learned from seed documents and annotated pages, measured on held-out examples."""
    from hephaestus_dag.quality.classifier import train_classifier

    found = train_classifier(
        build.input("seed_corpus"),
        build.input("web_corpus"),
        build.input("retrieved_web_shards") / "retrieved.parquet",
        build.input("quality_annotations") / "annotations.parquet",
        build.recipe.quality.classifier,
        build.folder,
    )
    held_out, annotated = found["held_out"], found["held_out_annotated"]
    honest = f"; on annotated pages alone F1 {annotated['f1']:.2f}" if annotated else ""
    return Report(
        headline=f"held-out precision {held_out['precision']:.2f}, recall {held_out['recall']:.2f}, "
        f"F1 {held_out['f1']:.2f}{honest}",
        figures={**{f"held-out {name}": value for name, value in held_out.items()}, "model bytes": found["model_bytes"]},
        tables={
            "held-out measures": measures_table({"all": held_out, "annotated pages only": annotated}),
            "examples": [{"part": part, **counts} for part, counts in found["examples"].items()],
        },
        pictures={"scores and precision-recall": "quality.png"},
    )


@artifact(group=GROUP, kinds={"fasttext", "parquet"}, inputs=["retrieved_web_shards", "quality_classifier"])
def quality_scored_web(build: Build) -> Report:
    """A quality score for every retrieved document, beside the documents."""
    from hephaestus_dag.quality.classifier import score_documents

    found = score_documents(
        build.input("retrieved_web_shards"), build.input("quality_classifier"), build.folder, build.progress
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
    inputs=["retrieved_web_shards", "quality_classifier", "quality_scored_web"],
    recipe=["quality.filter"],
    checks=[CheckDeclaration(name="kept_share_is_plausible", description="The filter kept neither too little nor too much.")],
)
def filtered_web(build: Build) -> Report:
    """The retrieved documents that score high enough; the others are kept aside with their score."""
    from hephaestus_dag.quality.threshold import apply_threshold

    config = build.recipe.quality.filter
    found = apply_threshold(
        build.input("retrieved_web_shards"),
        build.input("quality_scored_web"),
        build.input("quality_classifier"),
        config,
        build.folder,
    )
    return Report(
        headline=f"{found['kept']:,} of {found['scored']:,} pages kept ({found['kept_share']:.0%})",
        rows=found["kept"],
        figures={name: value for name, value in found.items() if isinstance(value, (int, float))},
        tables={"kept by source": [{"source": name, "pages": n} for name, n in found["by_source"].items()]},
        checks=[
            Check(
                name="kept_share_is_plausible",
                passed=config.plausible(found["kept_share"]),
                detail=f"{found['kept_share']:.1%}, bounds {config.min_keep_share:.0%} and {config.max_keep_share:.0%}",
            )
        ],
    )
