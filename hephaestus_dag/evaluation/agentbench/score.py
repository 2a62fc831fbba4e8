"""AgentBench: the sampled items played by a model, and their scores."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from hephaestus_dag.evaluation.agentbench.config import AgentBenchConfig
from hephaestus_dag.evaluation.agentbench.items import sampled_items
from hephaestus_dag.evaluation.agentbench.overall import TASKS, overall_group
from hephaestus_dag.evaluation.agentbench.play import Played, play
from hephaestus_dag.evaluation.agentbench.task import Task, TaskItem, TaskLostError
from hephaestus_dag.evaluation.model import Model, Progress
from hephaestus_dag.evaluation.scores import Benchmark, Group, write_scores

NO_DATA = "agentbench.data is null; name the folder data of AgentBench's public repository"
ROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "category", "prompt_sha", "transcript")]
    + [("score", pa.float64()), ("reason", pa.string())]
    + [(name, pa.int32()) for name in ("turns", "prompt_tokens", "new_tokens")]
    + [("seconds", pa.float64()), ("environment_seconds", pa.float64())]
)


def evaluate_agentbench(
    model: Model,
    items: Path,
    config: AgentBenchConfig,
    folder: Path,
    tasks: Mapping[str, Task],
    progress: Progress | None = None,
    *,
    confidence: float = 0.95,
    num_samples: int = 2_000,
) -> dict[str, Any]:
    """Play the sampled items of a folder (``items``) and write a score folder (see ``scores``); return the summary.

    ``tasks`` are by short name. A task that lacks something is listed with its reason, and so are tasks that were not asked
    for. ``prompt_sha`` of a row is that of the first prompt. Raises TaskLostError when a whole environment dies, or is set up
    but does not run, or starts for no item: nothing is counted then.
    """
    asked = sampled_items(items)
    not_run = {name: reason for name in TASKS if (reason := _why_not(name, config, tasks, asked))}
    asked = [item for item in asked if item.task not in not_run]
    for name in {item.task: None for item in asked}:
        if reason := tasks[name].unavailable():
            raise TaskLostError(
                f"AgentBench {name} is set up but does not run: {reason}. Mend that, or take {name} out of "
                "evaluation.agentbench.tasks"
            )
    with ExitStack() as stack:
        entered = {name: stack.enter_context(tasks[name]) for name in {item.task: None for item in asked}}
        identities = {name: task.identity() for name, task in entered.items()}
        played = play(entered, asked, model, config, progress)
    for name in entered:
        mine = [one for one in played if one.item.task == name]
        if all(one.broken and not one.turns for one in mine):
            raise TaskLostError(f"AgentBench {name}: none of {len(mine)} items could start, the first for: {mine[0].broken}")
    failures = sum(bool(one.broken) for one in played)
    notes = [_note(*each) for each in identities.items()]
    if failures:
        notes.append(f"{failures:,} of {len(played):,} items failed by their environment and count as wrong")
    rows = [_row(one) for one in played]
    benchmark = agentbench_benchmark(tasks, asked, not_run, "; ".join(notes))
    summary = write_scores(folder, pa.Table.from_pylist(rows, ROW_SCHEMA), benchmark, confidence, num_samples)
    return summary | {
        "generation_seconds": round(sum(one.seconds for one in played), 3),
        "environment_seconds": round(sum(one.environment_seconds for one in played), 3),
        "environment_failures": failures,
    }


def agentbench_benchmark(
    tasks: Mapping[str, Task], asked: Sequence[TaskItem], not_run: Mapping[str, str], note: str
) -> Benchmark:
    """Return the groups: each task that was asked, and the score over them by its own name."""
    counts: dict[str, Counter[str]] = {}
    for item in asked:
        counts.setdefault(item.task, Counter())[item.category] += 1
    weights = {
        name: {f"{name}/{category}": weight for category, weight in tasks[name].weights(kinds).items()}
        for name, kinds in counts.items()
    }
    groups = [
        Group(name=tasks[name].title, definition=TASKS[name].metric, weights=each, metric=TASKS[name].metric)
        for name, each in weights.items()
    ]
    if weights:
        groups.append(overall_group(weights, {name: tasks[name].title.removeprefix("AgentBench ") for name in weights}))
    return Benchmark(
        key="agentbench",
        name="AgentBench v0.2",
        metric="score",
        higher_is_better=True,
        numerator="score",
        groups=tuple(groups),
        not_run={"AgentBench": NO_DATA}
        if NO_DATA in not_run.values()
        else {f"AgentBench {name}": reason for name, reason in not_run.items()},
        note=note,
    )


def _why_not(name: str, config: AgentBenchConfig, tasks: Mapping[str, Task], asked: Sequence[TaskItem]) -> str:
    if config.data is None:
        return NO_DATA
    if TASKS[name].never:
        return TASKS[name].never
    if name not in config.tasks:
        return f"{name} is not in agentbench.tasks"
    if name not in tasks:
        raise KeyError(f"agentbench.tasks: no environment was given for {name}")
    if reason := tasks[name].missing():
        return reason
    return "" if any(item.task == name for item in asked) else f"the exported items have none of {name}"


def _row(one: Played) -> dict[str, Any]:
    return {
        "item_id": one.item.item_id,
        "category": f"{one.item.task}/{one.item.category}",
        "prompt_sha": one.prompt_sha,
        "transcript": json.dumps(one.messages, ensure_ascii=False),
        "score": one.outcome.score,
        "reason": one.outcome.reason,
        "turns": one.turns,
        "prompt_tokens": one.prompt_tokens,
        "new_tokens": one.new_tokens,
        "seconds": one.seconds,
        "environment_seconds": round(one.environment_seconds, 4),
    }


def _note(name: str, identity: Mapping[str, Any]) -> str:
    return f"{name}: " + ", ".join(f"{key} {value}" for key, value in identity.items())
