"""The benchmark report: all models side by side, and the way from each score back to documents (the paper's tables)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assets.artifact import ArtifactAsset, Build, artifact
from assets.evaluation import GROUP
from hephaestus_dag.artifacts import Report
from hephaestus_dag.scored_models import ScoredModel


def benchmark_report(models: Sequence[ScoredModel]) -> ArtifactAsset:
    """Return the asset that puts the scores of all models side by side."""
    keys = [key for each in models for key in (*each.scores, each.overlap, *each.checkpoints, each.model) if key]

    @artifact(
        key="benchmark_report",
        group=GROUP,
        kinds={"report"},
        inputs=dict.fromkeys(keys),
        recipe=["evaluation.reference_variant", "evaluation.bootstrap_samples", "caveat", "training.backbone.model"],
    )
    def report(build: Build) -> Report:
        """The paper's tables: every model's scores with intervals, also on clean items, and the paired differences."""
        from hephaestus_dag.evaluation.card import card_with_scores
        from hephaestus_dag.evaluation.report import write_report

        config = build.recipe.evaluation
        told = {scored.name: told_of(build, scored) for scored in models}
        written = write_report(told, build.folder, build.recipe.caveat, config.reference_variant, config.bootstrap_samples)
        (build.folder / "cards").mkdir()
        for scored in models:
            card = build.input(scored.model) / "model" / "README.md" if scored.model else None
            text = card.read_text() if card and card.is_file() else f"# {scored.name}\n"
            mine = told[scored.name]
            measured = card_with_scores(text, mine.scores, mine.overlap, config.bootstrap_samples, mine.not_run)
            (build.folder / "cards" / f"{scored.name}.md").write_text(measured)
        radar = {"all abilities": "radar.png"} if (build.folder / "radar.png").exists() else {}
        return Report(
            headline=f"{len(models)} models compared: {', '.join(told)}",
            rows=len(models),
            figures={"models": len(models), "notice": written["notice"]},
            tables={"main": main_table(written)},
            pictures={"scores": "scores.png", **radar},
        )

    return report


def told_of(build: Build, scored: ScoredModel) -> Any:
    """Return what the report is told about a model: its scores, and the way from them back to documents."""
    from hephaestus_dag.evaluation.general import gsm8k, human_eval
    from hephaestus_dag.evaluation.report.entrant import Entrant, Link, Stage

    folders = [folder for key in scored.scores for folder in score_folders(build.input(key))]
    links = [Link(what="score", asset=key, fingerprint=build.inputs[key].fingerprint) for key in scored.scores]
    general = f"{scored.name}/general_scores" in scored.scores
    not_run = {} if general else {"gsm8k": gsm8k.MISSING, "humaneval": human_eval.MISSING}
    if not scored.model:
        return Entrant(scores=folders, role="endpoint", chain=links, not_run=not_run)
    trained = json.loads((build.input(scored.overlap) / "trained.json").read_text())
    way = dict.fromkeys([scored.model, *reversed(scored.checkpoints)])
    links += [Link(what="checkpoint", asset=key, fingerprint=build.inputs[key].fingerprint) for key in way]
    links += [Link(what="training data", **each) for each in trained["chain"]]
    # General ability is measured of final models: of the last checkpoint alone.
    ability = [build.input(key) for key in scored.scores if key == f"{scored.name}/mmlu_scores"]
    return Entrant(
        scores=folders,
        role="variant" if scored.checkpoints else "base",
        backbone=build.recipe.training.backbone.model or "trained here from scratch",
        overlap=build.input(scored.overlap),
        stages=[
            Stage(name=key, checkpoint=build.input(key), scores=ability if key == scored.model else ())
            for key in scored.checkpoints
        ],
        chain=links,
        sources=trained["sources"],
        not_run=not_run,
    )


def score_folders(folder: Path) -> list[Path]:
    """Return the score folders in an artifact: itself, or one for each benchmark."""
    return [folder] if (folder / "summary.json").exists() else sorted(path.parent for path in folder.glob("*/summary.json"))


def main_table(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the score that stands for each benchmark, by model."""
    from hephaestus_dag.evaluation.report.cells import decimals_of, find_column, number
    from hephaestus_dag.evaluation.report.published import MAIN

    rows = []
    for name in report["variants"]:
        row = {"model": name}
        for column in MAIN:
            found = find_column(report, name, column)
            digits = decimals_of(report, column.benchmark, found[0]) if found else None
            row[column.title] = number(found[1]["score"], digits) if found else "not run"
        rows.append(row)
    return rows
