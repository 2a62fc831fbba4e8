"""Jobs, the schedule and the sensors."""

import hashlib
from collections.abc import Callable
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster_shared.error import SerializableErrorInfo

from hephaestus_dag.artifacts import canonical_json
from hephaestus_dag.failures import VARIABLE, failure_message, send
from hephaestus_dag.recipe import ExecutionConfig, Recipe
from hephaestus_dag.scored_models import scored_models
from hephaestus_dag.sources.reading.distributions import MissingPackageError
from hephaestus_dag.variants import Variants


def executor(config: ExecutionConfig) -> dg.ExecutorDefinition:
    """Return the executor: a process per step, forked from one that has the definitions loaded, so a step starts at once."""
    most = ExecutionConfig.model_fields["max_concurrent"].description

    @dg.configured(
        dg.multiprocess_executor,
        config_schema={"max_concurrent": dg.Field(int, default_value=config.max_concurrent, description=most)},
    )
    def multiprocess(chosen: dict[str, Any]) -> dict[str, Any]:
        return {**chosen, "start_method": {"forkserver": {"preload_modules": ["hephaestus_dag.preload"]}}}

    return multiprocess


def jobs(recipe: Recipe) -> list[UnresolvedAssetJobDefinition]:
    """Return the jobs. Those that build what they need say so; the others work on what is there and name what is not."""
    run_here = executor(recipe.execution)

    def job(name: str, selection: dg.AssetSelection, description: str) -> UnresolvedAssetJobDefinition:
        return dg.define_asset_job(name, selection, description=description, executor_def=run_here)

    groups = dg.AssetSelection.groups
    report = dg.AssetSelection.assets("benchmark_report")
    ablations = [name for name in recipe.variants if name != reference(recipe)]
    models = [*scored_models(recipe, Variants(recipe))]
    scores = [score.split("/") for model in models for score in model.scores]
    return [
        job("hephaestus", dg.AssetSelection.all(), "The whole graph: from documents to the benchmark report."),
        job("seed_corpus", groups("seed_corpus").upstream(), "Reads the sources and curates what they hold."),
        job(
            "retrieval",
            groups("web_retrieval", "quality"),
            "Searches the web corpus again and filters what is found. Works with the seed corpus that is there.",
        ),
        job(
            "scaling_law",
            groups("scaling_law").upstream(),
            "Trains the proxies and fits the law, with all that they need.",
        ),
        job(
            "train",
            groups("training").upstream(),
            "Trains the checkpoints of every variant, with all that they need.",
        ),
        job(
            "evaluate",
            groups("evaluation", "benchmarks"),
            "Scores the checkpoints that are there and writes the report. Trains nothing: a missing checkpoint is named.",
        ),
        job(
            "score",
            dg.AssetSelection.assets(*scores).upstream(),
            "Scores every model of the recipe, with all that it needs. For a model that is not trained here, neither the web "
            "nor a proxy is; the report, which tells what models were trained on, is left to `evaluate`.",
        ),
        job(
            "ablations",
            dg.AssetSelection.key_prefixes(*ablations) | report if ablations else report,
            f"What sets the other variants apart from {reference(recipe)}: their mixtures, checkpoints and scores, and the "
            "report. What they share with it is taken as it is there.",
        ),
        *(
            job(
                f"score_{model.name}",
                dg.AssetSelection.assets(*(key.split("/") for key in model.results)).upstream(),
                f"Trains and scores {model.name} alone, with all that it needs: one part of a longer comparison.",
            )
            for model in models
            if model.model
        ),
    ]


def reference(recipe: Recipe) -> str:
    """Return the variant that the others are compared with."""
    return recipe.evaluation.reference_variant or next(iter(recipe.variants))


def schedules(config: ExecutionConfig) -> list[dg.ScheduleDefinition]:
    """Return the schedules; each is switched on in the UI."""
    return [
        dg.ScheduleDefinition(
            name="weekly_retrieval",
            job_name="retrieval",
            cron_schedule=config.weekly_retrieval,
            description="Re-runs retrieval and the quality filter; what has not changed is reused.",
        )
    ]


def sensors(config: ExecutionConfig, load: Callable[[], Recipe]) -> list[dg.SensorDefinition]:
    """Return the sensors. ``load`` reads the recipe that runs are made with, afresh."""

    @dg.sensor(
        name="new_web_shards",
        job_name="retrieval",
        minimum_interval_seconds=config.web_sensor_seconds,
        description="Re-runs retrieval and the quality filter when a web source has other files than at the last look; "
        "the same files never start a second run. Move files into a source when they are complete.",
    )
    def new_web_shards(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            state = web_state(load())
        except (MissingPackageError, OSError, ValueError) as error:  # a mount that is gone, a recipe that is being edited
            return dg.SkipReason(f"the web sources cannot be looked at: {error}")
        if state == context.cursor:
            return dg.SkipReason("the web sources hold what they held at the last look")
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=state)], cursor=state)

    @dg.run_failure_sensor(
        name="failed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells of every run that failed and is not tried again: in the daemon's log, and to ${VARIABLE}.",
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run = context.dagster_run
        if run.tags.get("dagster/will_retry") == "true":
            return dg.SkipReason(f"run {run.run_id} failed and is tried again")
        steps = {event.step_key: event.step_failure_data.error for event in context.get_step_failure_events()}
        what, error = next(iter(steps.items()), (run.job_name, None))
        why = said_by(error) if error else context.failure_event.message or ""
        others = f" (and {len(steps) - 1} more)" if len(steps) > 1 else ""
        text = failure_message(f"{run.job_name}: {what}{others}", why, run.run_id, context.instance.storage_directory())
        context.log.error(text)
        send(text)
        return None

    return [new_web_shards, failed_runs]


def said_by(error: SerializableErrorInfo) -> str:
    """Return the error that a step's own code raised: Dagster wraps it into its own."""
    while error.cause and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    return error.message


def web_state(recipe: Recipe) -> str:
    """Return a hash of what the web sources are and hold. Files are listed and new ones digested; nothing is parsed.

    Installed packages count as they were when this process first looked: a code location is reloaded after pip.
    Raises OSError, ValueError or MissingPackageError, in words, for a source that cannot be listed now.
    """
    sources = {source.name: source.content() for source in recipe.web_retrieval.web_corpus}
    return hashlib.sha256(canonical_json(sources).encode()).hexdigest()
