"""Evaluation: what every variant is worth, beside models behind endpoints (paper section 7)."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from assets.artifact import ArtifactAsset, Build, artifact
from assets.benchmarks import DRIVER
from assets.evaluation_identity import calculation, environments, program_judge, question_judge
from hephaestus_dag.artifacts import Report
from hephaestus_dag.evaluation.bfcl.environment import environment_fingerprint
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scored_models import ScoredModel

GROUP = "evaluation"
STATISTICS = ["evaluation.bootstrap_samples", "evaluation.confidence"]
FORMAT = "evaluation.prompt_format"
ENGINE = "evaluation.engine"
"""What generates replies: a field of those scores alone that generate any."""
AGENTBENCH_RULES = [
    f"evaluation.agentbench.{field}" for field in ("tasks", "max_new_tokens", "max_prompt_tokens", "item_seconds", "database")
]
"""Without the limits of each environment, which are in `environments`."""
ENVIRONMENT_PROGRAMS = [
    f"hephaestus_dag.evaluation.agentbench.{name}" for name in ("os_launcher", "os_supervisor", "supervise", "alfworld_games")
]
SANDBOX = "hephaestus_dag.evaluation.sandbox"
GENERAL_RULES = [
    *(f"evaluation.gsm8k.{field}" for field in ("prompt", "max_new_tokens")),
    *(f"evaluation.human_eval.{field}" for field in ("prompt", "max_new_tokens", "cpu_seconds", "wall_seconds")),
]
"""Without the items, which are an input."""


def score_asset(
    scored: ScoredModel,
    name: str,
    fields: Sequence[str],
    inputs: Sequence[str] = (),
    outside: Callable[[Recipe], Mapping[str, Any]] = lambda recipe: {},
    programs: Sequence[str] = (),
) -> Callable[[Callable[[Build], Report]], ArtifactAsset]:
    """Declare a score of a model; `fields`, `inputs` and `outside` are what it depends on besides what every score does."""
    return artifact(
        key=f"{scored.name}/{name}",
        group=GROUP,
        kinds={"huggingface", "parquet"},
        inputs=[*scored.inputs, *inputs],
        recipe=[*fields, FORMAT, *STATISTICS],
        outside=lambda recipe: {**outside(recipe), **calculation(scored, recipe, ENGINE in fields), **scored.identity(recipe)},
        programs=programs,
        trains=True,
    )


@contextmanager
def asked(build: Build, scored: ScoredModel, examples: Sequence[Any], engine: str = "huggingface") -> Iterator[Any]:
    """Yield a model that keeps every answer; an interrupted build, or one with other scoring code, asks nothing twice."""
    from hephaestus_dag.evaluation.answers import RecordedModel

    journal = build.work / "answers.jsonl"
    earlier = [path / journal.name for path in build.earlier()]
    with ExitStack() as stack:
        identity, load = loader(build, scored, examples, engine, stack)
        model = stack.enter_context(RecordedModel(load, identity, journal, earlier))
        yield model
    shutil.copyfile(journal, build.folder / journal.name)
    build.log(f"{model.asked:,} answers generated, {model.recorded:,} found from earlier")


def loader(
    build: Build, scored: ScoredModel, examples: Sequence[Any], engine: str, stack: ExitStack
) -> tuple[Mapping[str, Any], Callable[[], Any]]:
    """Return the identity of a model, and what loads it; a server that this starts ends with the stack."""
    from hephaestus_dag.evaluation.endpoint import EndpointModel
    from hephaestus_dag.evaluation.huggingface import HuggingFaceModel
    from hephaestus_dag.evaluation.huggingface_identity import huggingface_identity
    from hephaestus_dag.evaluation.vllm_server import vllm_identity, vllm_model

    config = build.recipe.evaluation
    if not scored.model:
        served = EndpointModel(config.endpoints[scored.name], examples=examples)
        return served.identity, lambda: served
    folder = build.input(scored.model) / "model"
    chosen: dict[str, Any] = {"prompt_format": config.prompt_format, "examples": examples, "dtype": config.dtype}
    if engine == "vllm":
        log = build.work / "vllm.log"
        return vllm_identity(folder, **chosen), lambda: stack.enter_context(vllm_model(folder, log, **chosen))
    chosen["device"] = build.device
    batches: dict[str, Any] = {"batch_size": config.batch_size, "batch_tokens": config.batch_tokens}
    return huggingface_identity(folder, **chosen), lambda: HuggingFaceModel(folder, **chosen, **batches)


def bfcl_scores(scored: ScoredModel) -> ArtifactAsset:
    """Return the asset that scores a model on the function-calling leaderboard."""

    @score_asset(
        scored,
        "bfcl_scores",
        fields=["evaluation.bfcl", ENGINE],
        outside=lambda recipe: {"bfcl_checker": environment_fingerprint()},
        programs=[DRIVER],
    )
    def scores(build: Build) -> Report:
        """The Berkeley Function-Calling Leaderboard, v2 and v3 (paper section 7), by its official checker.

        One row for each item, with reply or conversation, verdict and reason.
        """
        from hephaestus_dag.evaluation.bfcl.environment import ensure_environment
        from hephaestus_dag.evaluation.bfcl.score import evaluate_bfcl
        from hephaestus_dag.evaluation.few_shot import FUNCTION_CALLS

        checker, items = ensure_environment(build.cache / "bfcl"), build.input("benchmark_items")
        with asked(build, scored, FUNCTION_CALLS, build.recipe.evaluation.engine) as model:
            summary = evaluate_bfcl(model, checker, items, build.recipe.evaluation, build.folder, build.progress)
        return score_report(summary)

    return scores


def agentbench_scores(scored: ScoredModel) -> ArtifactAsset:
    """Return the asset that lets a model act in AgentBench's environments."""

    @score_asset(
        scored,
        "agentbench_scores",
        fields=[*AGENTBENCH_RULES, ENGINE],
        outside=environments,
        programs=ENVIRONMENT_PROGRAMS,
    )
    def scores(build: Build) -> Report:
        """AgentBench (paper section 7): an agent in environments such as a database, by the protocol of v0.2.

        One row for each item, with the conversation, its score and the reason.
        """
        from hephaestus_dag.evaluation.agentbench.score import evaluate_agentbench
        from hephaestus_dag.evaluation.agentbench.tasks import agentbench_tasks
        from hephaestus_dag.evaluation.few_shot import SQL_AGENT

        config = build.recipe.evaluation
        tasks = agentbench_tasks(config.agentbench, build.resources.database.address)
        with asked(build, scored, SQL_AGENT, build.recipe.evaluation.engine) as model:
            items = build.input("benchmark_items")
            summary = evaluate_agentbench(
                model, items, config.agentbench, build.folder, tasks, build.progress, **statistics_of(build)
            )
        return score_report(summary)

    return scores


def mmlu_scores(scored: ScoredModel) -> ArtifactAsset:
    """Return the asset that asks a model multiple-choice questions."""

    @score_asset(scored, "mmlu_scores", fields=["evaluation.mmlu.num_shots"], outside=question_judge)
    def scores(build: Build) -> Report:
        """MMLU (paper section 7): multiple-choice questions of 57 subjects through lm-eval.

        One row for each question, with the log-likelihoods of its letters.
        """
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

    @score_asset(
        scored,
        "general_scores",
        fields=[*GENERAL_RULES, ENGINE],
        outside=program_judge,
        programs=[SANDBOX],
    )
    def scores(build: Build) -> Report:
        """Arithmetic and programming: GSM8K through lm-eval, HumanEval in a sandbox.

        One row for each problem, with reply, verdict and reason.
        """
        from hephaestus_dag.evaluation.few_shot import QUESTIONS
        from hephaestus_dag.evaluation.general.gsm8k import evaluate_gsm8k
        from hephaestus_dag.evaluation.general.human_eval import evaluate_human_eval

        config, items, chosen = build.recipe.evaluation, build.input("benchmark_items"), statistics_of(build)
        with asked(build, scored, QUESTIONS, build.recipe.evaluation.engine) as model:
            gsm8k = evaluate_gsm8k(model, items, config.gsm8k, build.folder / "gsm8k", build.progress, **chosen)
            programs = evaluate_human_eval(
                model, items, config.human_eval, build.folder / "human_eval", build.progress, **chosen
            )
        return score_report(gsm8k, programs)

    return scores


def benchmark_loss(scored: ScoredModel) -> ArtifactAsset:
    """Return the asset that measures a model's loss on reference answers and held-out documents."""

    @score_asset(scored, "benchmark_loss", fields=["evaluation.benchmark_loss"], inputs=["tokenized_seed"])
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
