"""Evaluation: what every variant is worth (paper section 7)."""

from collections import Counter
from itertools import chain
from typing import Any

from assets.artifact import ArtifactAsset, Build, artifact
from hephaestus_dag.artifacts import Report
from hephaestus_dag.evaluation.bfcl.environment import environment_fingerprint
from hephaestus_dag.recipe import Recipe

GROUP = "evaluation"
BENCHMARKS = "benchmarks"
DRIVER = "hephaestus_dag.evaluation.bfcl.driver"


def checker_identity(recipe: Recipe) -> dict[str, Any]:
    """Return which release of the official checker is used."""
    return {"bfcl_checker": environment_fingerprint()}


def benchmark_identity(recipe: Recipe) -> dict[str, Any]:
    """Return the release of the checker, and what the benchmarks are that are only kept out."""
    return {**checker_identity(recipe), "kept_out": [each.identity() for each in recipe.evaluation.kept_out]}


@artifact(
    group=BENCHMARKS,
    kinds={"parquet"},
    recipe=[
        "evaluation.bfcl.categories",
        "evaluation.bfcl.items_per_category",
        "evaluation.bfcl.seed",
        "seed_corpus.curation.n_gram",
        "seed_corpus.curation.shortest_item",
        "seed_corpus.curation.stock_items",
    ],
    outside=benchmark_identity,
    programs=[DRIVER],
)
def benchmark_items(build: Build) -> Report:
    """All items of the benchmarks, which of them are asked, and the index that keeps them out of the training data."""
    from hephaestus_dag.curation.decontamination import BenchmarkIndex
    from hephaestus_dag.evaluation.bfcl.environment import ensure_environment
    from hephaestus_dag.evaluation.bfcl.items import benchmark_functions, benchmark_texts, export_multi_turn
    from hephaestus_dag.evaluation.bfcl.score import export_items
    from hephaestus_dag.evaluation.kept_out import kept_out_texts

    python = ensure_environment(build.cache / "bfcl")
    figures = export_items(python, build.folder, build.recipe.evaluation.bfcl)
    export_multi_turn(python, build.folder)
    rule = build.recipe.seed_corpus.curation
    texts = chain(benchmark_texts(build.folder), *map(kept_out_texts, build.recipe.evaluation.kept_out))
    functions = benchmark_functions(build.folder)
    index = BenchmarkIndex.build(texts, rule.n_gram, rule.shortest_item, rule.stock_items, functions)
    kept_out = Counter(item_id.partition("/")[0] for item_id in index.item_ids)
    (build.folder / "index").mkdir()
    index.save(build.folder / "index")
    return Report(
        headline=f"{figures['items']:,} items, {figures['sampled']:,} of them asked; {len(index.item_ids):,} texts kept out",
        rows=figures["items"],
        figures={
            **{name: value for name, value in figures.items() if isinstance(value, (int, float, str))},
            "items and functions kept out": len(index.item_ids),
            "of these too short to be found": index.num_unmatched,
            "signatures kept out": len(index.functions),
        },
        tables={
            "categories": [{"category": name, "items": n} for name, n in figures["categories"].items()],
            "kept out": [{"benchmark": name, "items and functions": n} for name, n in kept_out.items()],
        },
    )


def bfcl_scores(key: str, model: str) -> ArtifactAsset:
    """Return the asset that scores a model on the function-calling leaderboard."""

    @artifact(
        key=key,
        group=GROUP,
        kinds={"huggingface", "parquet"},
        inputs=[model, "benchmark_items"],
        recipe=["evaluation.bfcl", "evaluation.bootstrap_samples", "evaluation.confidence"],
        outside=checker_identity,
        programs=[DRIVER],
        trains=True,
    )
    def scores(build: Build) -> Report:
        """BFCL, single turn, by the official checker: one row for each item, with reply, verdict and reason."""
        from hephaestus_dag.evaluation.bfcl.environment import ensure_environment
        from hephaestus_dag.evaluation.bfcl.score import evaluate_bfcl
        from hephaestus_dag.evaluation.huggingface import Generator

        config = build.recipe.evaluation
        generator = Generator(build.input(model) / "model", build.device, batch_size=config.bfcl.batch_size)
        checker = ensure_environment(build.cache / "bfcl")
        summary = evaluate_bfcl(generator, checker, build.input("benchmark_items"), config, build.folder, build.progress)
        return score_report(summary)

    return scores


def benchmark_loss(key: str, model: str) -> ArtifactAsset:
    """Return the asset that measures a model's loss on reference answers and held-out documents."""

    @artifact(
        key=key,
        group=GROUP,
        kinds={"huggingface", "parquet"},
        inputs=[model, "benchmark_items", "tokenized_seed"],
        recipe=["evaluation.benchmark_loss", "evaluation.bootstrap_samples", "evaluation.confidence"],
        trains=True,
    )
    def loss(build: Build) -> Report:
        """Bits per byte of BFCL's reference answers, and of held-out agent, code and text documents."""
        from hephaestus_dag.evaluation.benchmark_loss import evaluate_benchmark_loss
        from hephaestus_dag.evaluation.huggingface import Generator

        config = build.recipe.evaluation
        generator = Generator(build.input(model) / "model", build.device, batch_size=config.benchmark_loss.batch_size)
        stores = [build.input("tokenized_seed")]
        summary = evaluate_benchmark_loss(
            generator, build.input("benchmark_items"), stores, config, build.folder, build.progress
        )
        return score_report(summary)

    return loss


def score_report(summary: dict[str, Any]) -> Report:
    """Return the report of a score folder."""
    rows = [
        {"group": name, "score": group["score"], "from": group["low"], "to": group["high"], "items": group["n"]}
        for name, group in summary["groups"].items()
    ]
    note = {"note": summary["note"]} if summary["note"] else {}
    not_run = [{"part": part, "because": reason} for part, reason in summary["not_run"].items()]
    return Report(
        headline="; ".join(f"{row['group']} {row['score']:.3f}" for row in rows[:3]),
        rows=summary["num_items"],
        figures={row["group"]: row["score"] for row in rows} | note,
        tables={"scores": rows, **({"not run": not_run} if not_run else {})},
    )


def benchmark_report(scores: dict[str, list[str]]) -> ArtifactAsset:
    """Return the asset that puts the scores of all variants side by side; `scores` are asset keys by variant."""

    @artifact(
        key="benchmark_report",
        group=GROUP,
        kinds={"report"},
        inputs=[key for keys in scores.values() for key in keys],
        recipe=["evaluation.reference_variant", "evaluation.bootstrap_samples", "caveat"],
    )
    def report(build: Build) -> Report:
        """The ablation table: every variant's scores with intervals, and the paired differences between them."""
        from hephaestus_dag.evaluation.report import write_report

        folders = {name: [build.input(key) for key in keys] for name, keys in scores.items()}
        config = build.recipe.evaluation
        written = write_report(folders, build.folder, build.recipe.caveat, config.reference_variant, config.bootstrap_samples)
        return Report(
            headline=f"{len(folders)} variants compared: {', '.join(folders)}",
            rows=len(folders),
            figures={"variants": len(folders), "notice": written["notice"]},
            pictures={"scores": "scores.png"},
        )

    return report
