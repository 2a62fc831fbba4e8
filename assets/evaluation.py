"""Evaluation: what every variant is worth, beside models behind endpoints (paper section 7)."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assets.artifact import ArtifactAsset, Build, artifact
from assets.benchmarks import DRIVER
from hephaestus_dag.artifacts import Report
from hephaestus_dag.evaluation.bfcl.environment import environment_fingerprint
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scored_models import ScoredModel

GROUP = "evaluation"
STATISTICS = ["evaluation.bootstrap_samples", "evaluation.confidence"]
FORMAT = "evaluation.prompt_format"
AGENTBENCH_RULES = [
    f"evaluation.agentbench.{field}"
    for field in ("tasks", "max_new_tokens", "max_prompt_tokens", "item_seconds", "database", "statement_seconds")
]


@contextmanager
def asked(build: Build, scored: ScoredModel, examples: Sequence[Any]) -> Iterator[Any]:
    """Yield a model that keeps every answer; an interrupted build, or one with other scoring code, asks nothing twice."""
    from hephaestus_dag.evaluation.answers import RecordedModel
    from hephaestus_dag.evaluation.endpoint import EndpointModel
    from hephaestus_dag.evaluation.huggingface import HuggingFaceModel
    from hephaestus_dag.evaluation.huggingface_identity import huggingface_identity

    config, journal = build.recipe.evaluation, build.work / "answers.jsonl"
    if scored.model:
        folder = build.input(scored.model) / "model"
        chosen: dict[str, Any] = {"device": build.device, "prompt_format": config.prompt_format, "examples": examples}
        identity = huggingface_identity(folder, **chosen)

        def load() -> Any:
            return HuggingFaceModel(folder, **chosen, batch_size=config.batch_size, batch_tokens=config.batch_tokens)
    else:
        served = EndpointModel(config.endpoints[scored.name], examples=examples)
        identity = served.identity

        def load() -> Any:
            return served

    earlier = [path / journal.name for path in build.earlier()]
    with RecordedModel(load, identity, journal, earlier) as model:
        yield model
    shutil.copyfile(journal, build.folder / journal.name)
    build.log(f"{model.asked:,} answers generated, {model.recorded:,} found from earlier")


def bfcl_scores(scored: ScoredModel) -> ArtifactAsset:
    """Return the asset that scores a model on the function-calling leaderboard."""

    @artifact(
        key=f"{scored.name}/bfcl_scores",
        group=GROUP,
        kinds={"huggingface", "parquet"},
        inputs=scored.inputs,
        recipe=["evaluation.bfcl", FORMAT, *STATISTICS],
        outside=lambda recipe: {"bfcl_checker": environment_fingerprint(), **scored.identity(recipe)},
        programs=[DRIVER],
        trains=True,
    )
    def scores(build: Build) -> Report:
        """BFCL v2 and v3 by the official checker: one row for each item, with reply or conversation, verdict and reason."""
        from hephaestus_dag.evaluation.bfcl.environment import ensure_environment
        from hephaestus_dag.evaluation.bfcl.score import evaluate_bfcl
        from hephaestus_dag.evaluation.few_shot import FUNCTION_CALLS

        checker, items = ensure_environment(build.cache / "bfcl"), build.input("benchmark_items")
        with asked(build, scored, FUNCTION_CALLS) as model:
            summary = evaluate_bfcl(model, checker, items, build.recipe.evaluation, build.folder, build.progress)
        return score_report(summary)

    return scores


def agentbench_scores(scored: ScoredModel) -> ArtifactAsset:
    """Return the asset that lets a model act in AgentBench's environments."""

    @artifact(
        key=f"{scored.name}/agentbench_scores",
        group=GROUP,
        kinds={"huggingface", "parquet"},
        inputs=scored.inputs,
        recipe=[*AGENTBENCH_RULES, FORMAT, *STATISTICS],
        outside=lambda recipe: {**environments(recipe), **scored.identity(recipe)},
        trains=True,
    )
    def scores(build: Build) -> Report:
        """AgentBench by the protocol of v0.2: one row for each item, with the conversation, its score and the reason."""
        from hephaestus_dag.evaluation.agentbench.score import evaluate_agentbench
        from hephaestus_dag.evaluation.agentbench.tasks import agentbench_tasks
        from hephaestus_dag.evaluation.few_shot import SQL_AGENT

        config = build.recipe.evaluation
        tasks = agentbench_tasks(config.agentbench, build.resources.database.address)
        with asked(build, scored, SQL_AGENT) as model:
            items = build.input("benchmark_items")
            summary = evaluate_agentbench(
                model, items, config.agentbench, build.folder, tasks, build.progress, **statistics_of(build)
            )
        return score_report(summary)

    return scores


def mmlu_scores(scored: ScoredModel) -> ArtifactAsset:
    """Return the asset that asks a model multiple-choice questions."""

    @artifact(
        key=f"{scored.name}/mmlu_scores",
        group=GROUP,
        kinds={"huggingface", "parquet"},
        inputs=scored.inputs,
        recipe=["evaluation.mmlu", FORMAT, *STATISTICS],
        outside=scored.identity,
        trains=True,
    )
    def scores(build: Build) -> Report:
        """MMLU through lm-eval: one row for each question, with the log-likelihoods of its letters."""
        from hephaestus_dag.evaluation.few_shot import QUESTIONS
        from hephaestus_dag.evaluation.general.mmlu import evaluate_mmlu

        config = build.recipe.evaluation.mmlu
        with asked(build, scored, QUESTIONS) as model:
            items = build.input("benchmark_items")
            summary = evaluate_mmlu(model, items, config, build.folder, build.progress, **statistics_of(build))
        return score_report(summary)

    return scores


def general_scores(scored: ScoredModel) -> ArtifactAsset:
    """Return the asset that checks what a model can do besides being an agent."""

    @artifact(
        key=f"{scored.name}/general_scores",
        group=GROUP,
        kinds={"huggingface", "parquet"},
        inputs=scored.inputs,
        recipe=["evaluation.gsm8k", "evaluation.human_eval", FORMAT, *STATISTICS],
        outside=scored.identity,
        trains=True,
    )
    def scores(build: Build) -> Report:
        """GSM8K through lm-eval and HumanEval in a sandbox: one row for each problem, with reply, verdict and reason."""
        from hephaestus_dag.evaluation.few_shot import QUESTIONS
        from hephaestus_dag.evaluation.general.gsm8k import evaluate_gsm8k
        from hephaestus_dag.evaluation.general.human_eval import evaluate_human_eval

        config, items, chosen = build.recipe.evaluation, build.input("benchmark_items"), statistics_of(build)
        with asked(build, scored, QUESTIONS) as model:
            gsm8k = evaluate_gsm8k(model, items, config.gsm8k, build.folder / "gsm8k", build.progress, **chosen)
            programs = evaluate_human_eval(
                model, items, config.human_eval, build.folder / "human_eval", build.progress, **chosen
            )
        return score_report(gsm8k, programs)

    return scores


def benchmark_loss(scored: ScoredModel) -> ArtifactAsset:
    """Return the asset that measures a model's loss on reference answers and held-out documents."""

    @artifact(
        key=f"{scored.name}/benchmark_loss",
        group=GROUP,
        kinds={"huggingface", "parquet"},
        inputs=[*scored.inputs, "tokenized_seed"],
        recipe=["evaluation.benchmark_loss", FORMAT, *STATISTICS],
        outside=scored.identity,
        trains=True,
    )
    def loss(build: Build) -> Report:
        """Bits per byte of every benchmark's reference answers, and of held-out agent, code and text documents."""
        from hephaestus_dag.evaluation.benchmark_loss import evaluate_benchmark_loss
        from hephaestus_dag.evaluation.benchmarks import item_references
        from hephaestus_dag.evaluation.few_shot import QUESTIONS

        config = build.recipe.evaluation
        with asked(build, scored, QUESTIONS) as model:
            summary = evaluate_benchmark_loss(
                model,
                item_references(build.input("benchmark_items"), config),
                [build.input("tokenized_seed")],
                config.benchmark_loss,
                build.folder,
                build.progress,
                weights=model.loaded() if scored.model else None,
                **statistics_of(build),
            )
        return score_report(summary)

    return loss


SCORES = {
    "bfcl_scores": bfcl_scores,
    "agentbench_scores": agentbench_scores,
    "mmlu_scores": mmlu_scores,
    "general_scores": general_scores,
    "benchmark_loss": benchmark_loss,
}
"""What is measured of each model."""


def benchmark_overlap(name: str, mixtures: Mapping[str, str], stores: list[str]) -> ArtifactAsset:
    """Return the asset that says which items a variant's training documents overlap with.

    `mixtures` are the assets with its mixtures and where in them the mixture is, `stores` the token stores of all of them.
    """

    @artifact(
        key=f"{name}/benchmark_overlap",
        group=GROUP,
        kinds={"parquet"},
        inputs=dict.fromkeys(["benchmark_items", "benchmark_matches", *mixtures, *stores]),
        recipe=["evaluation.overlap"],
    )
    def overlap(build: Build) -> Report:
        """The items that are not clean for this variant, with the nearest document; and the documents that trained it."""
        import pyarrow.parquet as pq

        from hephaestus_dag.evaluation.bfcl.items import offered_signatures
        from hephaestus_dag.evaluation.overlap import overlap_of
        from hephaestus_dag.evaluation.trained_on import sources_of, trained_documents

        def part(key: str, inside: str) -> Any:
            return build.input(key) / inside if inside else build.input(key)

        token_stores = [part(key, "store" if key == "instruction_corpus" else "") for key in stores]
        trained = trained_documents([part(key, inside) for key, inside in mixtures.items()], token_stores)
        pq.write_table(trained, build.folder / "trained.parquet", compression="zstd")
        scans = sorted(path.parent for path in build.input("benchmark_matches").glob("*/matches.parquet"))
        functions = offered_signatures(build.input("benchmark_items"))
        told = overlap_of(scans, trained, functions, build.recipe.evaluation.overlap, build.folder)
        sources = sources_of(trained)
        chain = [{"asset": key, "fingerprint": build.inputs[key].fingerprint} for key in (*mixtures, *stores)]
        (build.folder / "trained.json").write_text(json.dumps({"chain": chain, "sources": sources}, indent=1) + "\n")
        seen = sum(counts["items seen"] for counts in told["benchmarks"].values())
        return Report(
            headline=f"{seen:,} items overlap with the {trained.num_rows:,} documents that {name} was trained on",
            rows=seen,
            figures={"documents trained on": trained.num_rows, "items not clean": seen},
            tables={
                "overlap": [{"benchmark": name, **counts} for name, counts in told["benchmarks"].items()],
                "trained on": sources,
            },
        )

    return overlap


def statistics_of(build: Build) -> dict[str, Any]:
    """Return the settings behind each interval."""
    config = build.recipe.evaluation
    return {"confidence": config.confidence, "num_samples": config.bootstrap_samples}


def environments(recipe: Recipe) -> dict[str, Any]:
    """Return which of the environments asked for cannot run here, and why: what installs them changes the scores."""
    from hephaestus_dag.evaluation.agentbench.tasks import agentbench_tasks

    config = recipe.evaluation.agentbench
    found = {name: task for name, task in agentbench_tasks(config).items() if name in config.tasks}
    return {"environments": {name: task.unavailable() for name, task in found.items()} if config.data else {}}


def score_report(*summaries: dict[str, Any]) -> Report:
    """Return the report of one or several score folders."""
    rows = [
        {"group": name, "score": group["score"], "from": group["low"], "to": group["high"], "items": group["n"]}
        for summary in summaries
        for name, group in summary["groups"].items()
    ]
    notes = "; ".join(summary["note"] for summary in summaries if summary["note"])
    not_run = [{"part": part, "because": why} for summary in summaries for part, why in summary["not_run"].items()]
    headline = "; ".join(f"{row['group']} {row['score']:.3f}" for row in rows[:3])
    return Report(
        headline=headline or "; ".join(dict.fromkeys(row["because"] for row in not_run)),
        rows=sum(summary["num_items"] for summary in summaries),
        figures={row["group"]: row["score"] for row in rows} | ({"note": notes} if notes else {}),
        tables={**({"scores": rows} if rows else {}), **({"not run": not_run} if not_run else {})},
    )


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
            measured = card_with_scores(text, told[scored.name].scores, told[scored.name].overlap, config.bootstrap_samples)
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
    from hephaestus_dag.evaluation.report.entrant import Entrant, Link, Stage

    folders = [folder for key in scored.scores for folder in score_folders(build.input(key))]
    links = [Link(what="score", asset=key, fingerprint=build.inputs[key].fingerprint) for key in scored.scores]
    if not scored.model:
        return Entrant(scores=folders, role="endpoint", chain=links)
    trained = json.loads((build.input(scored.overlap) / "trained.json").read_text())
    way = dict.fromkeys([scored.model, *reversed(scored.checkpoints)])
    links += [Link(what="checkpoint", asset=key, fingerprint=build.inputs[key].fingerprint) for key in way]
    links += [Link(what="training data", **each) for each in trained["chain"]]
    return Entrant(
        scores=folders,
        role="variant" if scored.checkpoints else "base",
        backbone=build.recipe.training.backbone.model or "trained here from scratch",
        overlap=build.input(scored.overlap),
        stages=[Stage(name=key, checkpoint=build.input(key)) for key in scored.checkpoints],
        chain=links,
        sources=trained["sources"],
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
