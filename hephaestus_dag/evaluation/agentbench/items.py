"""AgentBench's items in a folder of their own: what is asked of a model, and what must not be in its training data.

``agentbench.parquet`` has every item of both splits whose data are at hand, of all tasks; ``sampled`` marks what is asked.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.evaluation.agentbench.config import AgentBenchConfig
from hephaestus_dag.evaluation.agentbench.task import Task, TaskItem
from hephaestus_dag.evaluation.bfcl.items import draw
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.references import Reference, drawn

FILE = "agentbench.parquet"
SPLITS = ("dev", "test")
_JSON = ("content", "opening")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("task", "split", "category", "item_id", "question", "reference", "target", *_JSON)]
    + [("sampled", pa.bool_())]
)


def export_agentbench(config: AgentBenchConfig, folder: Path, tasks: Mapping[str, Task]) -> dict[str, Any]:
    """Write ``agentbench.parquet`` and return counts, versions (a hash of each task's items) and missing data by task.

    ``tasks`` are all whose items are to be kept out of training data; those of ``config.tasks`` are asked. Without
    ``config.data`` nothing is written. Raises FileNotFoundError with the remedy when data of a task that could run is missing.
    """
    if config.data is None:
        return {}
    found, missing = read_data(config, tasks)
    items = [each for task_items in found.values() for each in task_items]
    asked = [item for split, item in items if split == config.split and item.task in config.tasks]
    chosen = draw([(f"{item.task}/{item.category}", item.item_id) for item in asked], config.items_per_category, config.seed)
    rows = [_row(split, item) | {"sampled": item.item_id in chosen} for split, item in items]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), folder / FILE, compression="zstd")
    return {
        "items": len(rows),
        "sampled": len(chosen),
        "categories": dict(Counter(_category(row) for row in rows)),
        "sampled_categories": dict(Counter(_category(row) for row in rows if row["sampled"])),
        "versions": versions(found),
        "missing": missing,
    }


def read_data(
    config: AgentBenchConfig, tasks: Mapping[str, Task]
) -> tuple[dict[str, list[tuple[str, TaskItem]]], dict[str, str]]:
    """Return (split, item) pairs by task, and what is missing of the others. Raises like `export_agentbench`."""
    items: dict[str, list[tuple[str, TaskItem]]] = {}
    missing: dict[str, str] = {}
    for name, task in tasks.items() if config.data else ():
        assert config.data
        try:
            items[name] = [(split, item) for split in SPLITS for item in task.read_items(config.data, split)]
        except FileNotFoundError as error:
            if name in config.tasks and not task.missing():
                raise
            missing[name] = str(error)
    return items, missing


def versions(items: Mapping[str, list[tuple[str, TaskItem]]]) -> dict[str, str]:
    """Return a hash of each task's items."""
    texts = {name: json.dumps([asdict(item) for _, item in pairs]) for name, pairs in items.items()}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()}


def sampled_items(folder: Path) -> list[TaskItem]:
    """Return the items to ask, in order; none when none were exported."""
    return [_item(row) for row in _rows(folder) if row["sampled"]]


def agentbench_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (item, text) for the questions and the references of all items."""
    for row in _rows(folder):
        yield f"agentbench/{row['item_id']}", row["question"]
        if row["reference"]:
            yield f"agentbench/{row['item_id']} (answer)", row["reference"]


def agentbench_references(folder: Path, config: BenchmarkLossConfig) -> Iterator[Reference]:
    """Yield the right first replies of the sampled items that have one: SQL, a command, or the answer itself."""
    items = (_item(row) for row in _rows(folder) if row["sampled"] and row["target"])
    yield from drawn(
        (
            Reference(
                item_id=f"agentbench/{item.item_id}",
                category=f"agentbench/{item.task}/{item.category}",
                prompt=list(item.opening),
                target=item.target,
            )
            for item in items
        ),
        config,
    )


def _rows(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / FILE).to_pylist() if (folder / FILE).exists() else []


def _category(row: Mapping[str, Any]) -> str:
    return f"{row['task']}/{row['category']}"


def _row(split: str, item: TaskItem) -> dict[str, Any]:
    return asdict(item) | {"split": split} | {name: json.dumps(getattr(item, name), ensure_ascii=False) for name in _JSON}


def _item(row: Mapping[str, Any]) -> TaskItem:
    plain = {name: row[name] for name in ("task", "category", "item_id", "question", "reference", "target")}
    return TaskItem(**plain, **{name: json.loads(row[name]) for name in _JSON})
