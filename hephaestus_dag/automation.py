"""Jobs, schedules and sensors."""

import hashlib
from collections.abc import Callable

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from hephaestus_dag.artifacts import canonical_json
from hephaestus_dag.recipe import ExecutionConfig, Recipe
from hephaestus_dag.sources.reading.distributions import MissingPackageError

RETRIEVAL_GROUPS = ("web_retrieval", "quality")


def executor(config: ExecutionConfig) -> dg.ExecutorDefinition:
    """Return the executor: a process per step, forked from one that has the definitions loaded, so a step starts at once."""
    return dg.multiprocess_executor.configured(
        {
            "max_concurrent": config.max_concurrent,
            "start_method": {"forkserver": {"preload_modules": ["hephaestus_dag.definitions"]}},
        }
    )


def jobs(config: ExecutionConfig) -> list[UnresolvedAssetJobDefinition]:
    """Return the jobs: everything, the seed corpus alone, and the part that schedule and sensor re-run."""
    run_here = executor(config)
    retrieval = dg.AssetSelection.groups(*RETRIEVAL_GROUPS)
    return [
        dg.define_asset_job(
            "hephaestus",
            selection=dg.AssetSelection.all(),
            description="The whole graph: from documents to the benchmark report.",
            executor_def=run_here,
        ),
        dg.define_asset_job(
            "build_seed_corpus",
            selection=dg.AssetSelection.assets("seed_corpus").upstream(),
            description="Read the sources and curate what they hold.",
            executor_def=run_here,
        ),
        dg.define_asset_job(
            "retrieval",
            selection=retrieval,
            description="Search the web corpus again and filter what is found.",
            executor_def=run_here,
        ),
    ]


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
    """Return the sensors; each is switched on in the UI. ``load`` reads the recipe that runs are made with, afresh."""

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

    return [new_web_shards]


def web_state(recipe: Recipe) -> str:
    """Return a hash of what the web sources are and hold. Files are listed and new ones digested; nothing is parsed.

    Installed packages count as they were when this process first looked: a code location is reloaded after pip.
    Raises OSError, ValueError or MissingPackageError, in words, for a source that cannot be listed now.
    """
    sources = {source.name: source.content() for source in recipe.web_retrieval.web_corpus}
    return hashlib.sha256(canonical_json(sources).encode()).hexdigest()
