"""Jobs and schedules."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from hephaestus_dag.recipe import ExecutionConfig

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
    """Return the jobs: everything, the seed corpus alone, and the part that the schedule re-runs."""
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
