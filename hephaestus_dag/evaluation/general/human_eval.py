"""HumanEval (Chen et al., 2021): Python functions from their docstrings, one greedy program each (pass@1).

A plain prompt is the head of the function; what follows it, up to the stop texts of lm-eval 0.4.13 (MIT; tasks/humaneval), is
its body. A chat is asked in the words of lm-eval's ``humaneval_instruct``; the program is the code block of the reply. Programs
run with their tests in ``code_sandbox``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hephaestus_dag.evaluation.benchmark_files import Record
from hephaestus_dag.evaluation.code_sandbox import run_programs
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.general.config import HumanEvalConfig
from hephaestus_dag.evaluation.general.generated import (
    asked_items,
    read_items,
    records_of,
    reply_row,
    write_items,
    write_single_score,
)
from hephaestus_dag.evaluation.model import Model, Progress, Prompt
from hephaestus_dag.evaluation.references import Reference, drawn

FILE = "humaneval.parquet"
FIELDS = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
DEFINITION = "share of problems whose first, greedy program passes all tests"
MISSING = f"needs its problems: set evaluation.human_eval.location to a folder with test.jsonl (fields {', '.join(FIELDS)})"
STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
REQUEST = "Write a solution to the following problem and make sure that it passes the tests:\n```python\n{prompt}\n```\n"
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def export_human_eval(config: HumanEvalConfig, folder: Path) -> dict[str, Any]:
    """Write ``humaneval.parquet`` and return counts; nothing without a location.

    Raises ValueError for a record of other fields.
    """
    if config.test is None:
        return {}
    rows = [
        {"item_id": record["task_id"].replace("/", "_"), **{field: record[field] for field in FIELDS}}
        for record in records_of(config.test, FIELDS)
    ]
    return write_items(folder / FILE, rows, config.num_items, config.seed)


def human_eval_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (item, text) for every problem and its solution."""
    for row in read_items(folder / FILE):
        yield f"humaneval/{row['item_id']}", row["prompt"]
        yield f"humaneval/{row['item_id']} (answer)", row["canonical_solution"]


def human_eval_references(folder: Path, config: BenchmarkLossConfig) -> Iterator[Reference]:
    """Yield the published solutions after the heads of their functions."""
    rows = read_items(folder / FILE)
    yield from drawn(
        (
            Reference(
                item_id=f"humaneval/{row['item_id']}",
                category="humaneval/solutions",
                prompt=row["prompt"],
                target=row["canonical_solution"],
            )
            for row in rows
        ),
        config,
    )


def evaluate_human_eval(
    model: Model,
    items: Path,
    config: HumanEvalConfig,
    folder: Path,
    progress: Progress | None = None,
    **statistics: Any,
) -> dict[str, Any]:
    """Write the score folder of a model's programs and return its summary; ``statistics`` are those of `write_scores`."""
    asked = asked_items(items / FILE)
    chat = config.prompt == "chat"
    prompts: list[Prompt] = [
        [{"role": "user", "content": REQUEST.format(prompt=row["prompt"])}] if chat else row["prompt"] for row in asked
    ]
    replies = model.generate(prompts, config.max_new_tokens, stop=() if chat else STOP, progress=progress) if asked else []
    programs = [
        f"{program(row, reply.text, chat)}\n\n{row['test']}\n\ncheck({row['entry_point']})\n"
        for row, reply in zip(asked, replies, strict=True)
    ]
    rows = [
        reply_row("humaneval", row["item_id"], prompt, reply, reason)
        for row, prompt, reply, reason in zip(
            asked, prompts, replies, run_programs(programs, config.cpu_seconds, config.wall_seconds), strict=True
        )
    ]
    return write_single_score(folder, rows, "humaneval", "HumanEval", "pass@1", DEFINITION, MISSING, **statistics)


def program(row: Record, reply: str, chat: bool) -> str:
    """Return the program that a reply makes of a problem, without its tests."""
    if not chat:
        return row["prompt"] + reply
    block = _BLOCK.search(reply)
    code = block[1] if block else reply
    if f"def {row['entry_point']}(" not in code:
        return row["prompt"] + code
    # What stands above the function (imports, helpers) is given, and a reply may leave it out.
    return row["prompt"].partition(f"def {row['entry_point']}(")[0] + code
