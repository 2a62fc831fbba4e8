"""What scores depend on besides the values of the recipe: number formats, releases of packages, environments of agents."""

import sys
from typing import Any

from hephaestus_dag.evaluation.installed import release
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scored_models import ScoredModel
from resources.database import DatabaseServer

LM_EVAL = release("lm_eval")
"""What asks and judges; empty where it is not installed."""


def calculation(scored: ScoredModel, recipe: Recipe, generates: bool) -> dict[str, Any]:
    """Return the numbers that a model of our own calculates with, and the release of vLLM where that generates."""
    from hephaestus_dag.evaluation.huggingface_identity import number_format

    if not scored.model:
        return {}
    if generates and recipe.evaluation.engine == "vllm":
        from hephaestus_dag.evaluation.vllm_server import vllm_release

        return {"number_format": number_format("vllm", recipe.evaluation.dtype), "vllm": vllm_release()}
    device = "cuda" if recipe.execution.launcher.num_gpus else "cpu"
    return {"number_format": number_format(device, recipe.evaluation.dtype)}


def question_judge(recipe: Recipe) -> dict[str, str]:
    """Return the release of lm-eval."""
    return {"lm_eval": LM_EVAL}


def program_judge(recipe: Recipe) -> dict[str, str]:
    """Return the release of lm-eval, and of the Python that runs programs."""
    return {**question_judge(recipe), "python": f"{sys.version_info.major}.{sys.version_info.minor}"}


def environments(recipe: Recipe) -> dict[str, Any]:
    """Return of each environment that is asked for what it lacks, since what installs that changes the scores, or its rules."""
    from hephaestus_dag.evaluation.agentbench.tasks import agentbench_tasks

    config, server = recipe.evaluation.agentbench, DatabaseServer(**recipe.execution.database.model_dump())
    if config.data is None:
        return {"environments": {}}
    tasks = agentbench_tasks(config, server.address)
    return {"environments": {name: tasks[name].missing() or dict(tasks[name].identity()) for name in config.tasks}}
