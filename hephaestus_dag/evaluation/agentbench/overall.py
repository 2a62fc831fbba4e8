"""AgentBench's tasks, and the score over several of them: the mean of each task's score over its weight.

Weights and published numbers are those of the paper (Liu et al., "AgentBench: Evaluating LLMs as Agents", 2023): a task's
weight is the mean score of the models tested there, in points from 0 to 100.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hephaestus_dag.evaluation.scores import Group

DEFINITION = "mean over the tasks of score in points / the task's published weight"


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What is published about a task."""

    title: str
    metric: str
    weight: float
    num_dev: int
    num_test: int
    never: str = ""
    """Why the task is not run here at all; empty where it can be."""


TASKS: dict[str, TaskFacts] = {
    "OS": TaskFacts("operating system", "success rate", 10.8, 26, 144),
    "DB": TaskFacts("database", "success rate", 13.0, 60, 300),
    "KG": TaskFacts("knowledge graph", "F1", 13.9, 20, 150),
    "DCG": TaskFacts(
        "digital card game",
        "reward",
        12.0,
        12,
        20,
        "needs game binaries that are published without a licence of their own",
    ),
    "LTP": TaskFacts("lateral thinking puzzles", "game progress", 3.5, 20, 50, "needs a large language model as its judge"),
    "HH": TaskFacts("house holding (ALFWorld)", "success rate", 13.0, 20, 50),
    "WS": TaskFacts("web shopping (WebShop)", "reward", 30.7, 80, 200),
    "WB": TaskFacts("web browsing (Mind2Web)", "step success rate", 11.6, 31, 177),
}
"""By short name, in the published order."""


def overall_name(labels: Mapping[str, str]) -> str:
    """Return the name of the score over tasks, given task → label: it lists them unless all eight are there."""
    if set(labels) == set(TASKS) and all(label == task for task, label in labels.items()):
        return "AgentBench overall"
    return f"AgentBench[{','.join(sorted(labels.values()))}]"


def overall_score(scores: Mapping[str, float]) -> float:
    """Return the score over tasks, given task → score from 0 to 1."""
    return sum(share * scores[task] for task, share in task_shares(scores).items())


def task_shares(tasks: Mapping[str, object]) -> dict[str, float]:
    """Return what a task's score (0 to 1) is multiplied with before the products are added up."""
    return {task: 100 / TASKS[task].weight / len(tasks) for task in tasks}


def overall_group(weights: Mapping[str, Mapping[str, float]], labels: Mapping[str, str]) -> Group:
    """Return the group over tasks, given task → category → weight in the task's score, and task → label."""
    shares = task_shares(weights)
    return Group(
        name=overall_name(labels),
        definition=DEFINITION,
        weights={
            category: shares[task] * weight for task, categories in weights.items() for category, weight in categories.items()
        },
        metric="mean of score / weight",
    )
