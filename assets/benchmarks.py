"""Benchmarks: the items that models are asked, and where training documents overlap with them."""

from collections import Counter
from typing import Any

from assets.artifact import ArtifactAsset, Build, artifact
from hephaestus_dag.artifacts import Report
from hephaestus_dag.evaluation.bfcl.environment import environment_fingerprint
from hephaestus_dag.recipe import Recipe

GROUP = "benchmarks"
DRIVER = "hephaestus_dag.evaluation.bfcl.driver"
DRAWS = [
    *(f"evaluation.bfcl.{field}" for field in ("categories", "items_per_category", "multi_turn_items_per_category", "seed")),
    *(f"evaluation.agentbench.{field}" for field in ("split", "tasks", "items_per_category", "seed")),
    *(f"evaluation.mmlu.{field}" for field in ("num_items", "seed")),
    *(f"evaluation.{name}.{field}" for name in ("gsm8k", "human_eval") for field in ("num_items", "seed")),
]
"""The recipe's values that say which items are asked."""


def benchmark_identity(recipe: Recipe) -> dict[str, Any]:
    """Return the release of BFCL's package, and what the items of the other benchmarks are."""
    from hephaestus_dag.evaluation.agentbench.items import read_data, versions
    from hephaestus_dag.evaluation.agentbench.tasks import agentbench_tasks

    config = recipe.evaluation
    return {
        "bfcl_checker": environment_fingerprint(),
        "agentbench": versions(read_data(config.agentbench, agentbench_tasks(config.agentbench))[0]),
        **{name: getattr(config, name).identity() for name in ("mmlu", "gsm8k", "human_eval")},
        "kept_out": [each.identity() for each in config.kept_out],
    }


@artifact(
    group=GROUP,
    kinds={"parquet"},
    recipe=[
        *DRAWS,
        "seed_corpus.curation.n_gram",
        "seed_corpus.curation.shortest_item",
        "seed_corpus.curation.stock_items",
    ],
    outside=benchmark_identity,
    programs=[DRIVER],
)
def benchmark_items(build: Build) -> Report:
    """All items of the benchmarks, which of them are asked, and the index that keeps them out of the training data.

    A benchmark's text in the training data would make its score worthless, so the seed corpus, the web and the instruction
    data are all cleaned with this index.
    """
    from hephaestus_dag.curation.decontamination import BenchmarkIndex
    from hephaestus_dag.evaluation.agentbench.tasks import agentbench_tasks
    from hephaestus_dag.evaluation.benchmarks import export_items, item_texts
    from hephaestus_dag.evaluation.bfcl.environment import ensure_environment
    from hephaestus_dag.evaluation.bfcl.items import benchmark_functions

    config, rule = build.recipe.evaluation, build.recipe.seed_corpus.curation
    tasks = agentbench_tasks(config.agentbench)
    build.log("reading the items; the first time, BFCL's package gets an environment of its own")
    counts = export_items(config, build.folder, ensure_environment(build.cache / "bfcl"), tasks)
    build.log("indexing what has to be kept out of the training data")
    texts, functions = item_texts(build.folder, config), benchmark_functions(build.folder)
    index = BenchmarkIndex.build(texts, rule.n_gram, rule.shortest_item, rule.stock_items, functions)
    kept_out = Counter(item_id.partition("/")[0] for item_id in index.item_ids)
    (build.folder / "index").mkdir()
    index.save(build.folder / "index")
    items, asked = (sum(count.get(name, 0) for count in counts.values()) for name in ("items", "sampled"))
    return Report(
        headline=f"{items:,} items, {asked:,} of them asked; {len(index.item_ids):,} texts kept out",
        rows=items,
        figures={
            "items asked": asked,
            "items and functions kept out": len(index.item_ids),
            "of these too short to be found": index.num_unmatched,
            "signatures kept out": len(index.functions),
        },
        tables={
            "benchmarks": [
                {"benchmark": name, "items": count.get("items", 0), "asked": count.get("sampled", 0)}
                for name, count in counts.items()
            ],
            "categories": [
                {"benchmark": name, "category": category, "items": n, "asked": count["sampled_categories"].get(category, 0)}
                for name, count in counts.items()
                for category, n in count.get("categories", {}).items()
            ],
            "kept out": [{"benchmark": name, "items and functions": n} for name, n in kept_out.items()],
        },
    )


def benchmark_matches(documents: list[str]) -> ArtifactAsset:
    """Return the asset that looks for the items in the document assets `documents`."""

    @artifact(
        key="benchmark_matches",
        group=GROUP,
        kinds={"parquet"},
        inputs=["benchmark_items", *documents],
        recipe=[f"evaluation.overlap.{field}" for field in ("n_gram", "shortest_item", "stock_items")],
    )
    def matches(build: Build) -> Report:
        """What documents still share with benchmark items after decontamination: the material of the clean subset."""
        from hephaestus_dag.evaluation.benchmarks import item_texts
        from hephaestus_dag.evaluation.bfcl.items import offered_signatures
        from hephaestus_dag.evaluation.overlap import ItemIndex, scan_documents

        config, items = build.recipe.evaluation, build.input("benchmark_items")
        index = ItemIndex(item_texts(items, config), offered_signatures(items), config.overlap)
        told = {name: scan_documents(index, build.input(name), build.folder / name, build.pool.map) for name in documents}
        return Report(
            headline=", ".join(f"{count['matches']:,} matches in {name}" for name, count in told.items()),
            rows=sum(count["matches"] for count in told.values()),
            tables={
                "matches": [{"documents": name, "matches": count["matches"]} for name, count in told.items()],
                "items too short to be judged": [{"benchmark": name, "items": count} for name, count in index.unjudged.items()],
            },
        )

    return matches
