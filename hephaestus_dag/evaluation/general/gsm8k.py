"""GSM8K (Cobbe et al., 2021): word problems of grade-school arithmetic, as lm-eval's ``gsm8k_cot`` asks and judges them.

That task brings its own eight worked examples (Wei et al., 2022), so no training split is needed. A reply is right when its
last number is (lm-eval's filter ``flexible-extract``); its stricter filter, which wants "The answer is", is told in the note.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.general.config import Gsm8kConfig
from hephaestus_dag.evaluation.general.generated import (
    asked_items,
    read_items,
    records_of,
    reply_row,
    write_items,
    write_single_score,
)
from hephaestus_dag.evaluation.model import Model, Progress
from hephaestus_dag.evaluation.references import Reference, drawn

FILE = "gsm8k.parquet"
TASK = "gsm8k/gsm8k-cot.yaml"
DEFINITION = "share of questions whose reply ends with the right number, after eight worked examples"
MISSING = "needs its questions: set evaluation.gsm8k.location to a folder with test.jsonl (fields question and answer)"
_CALCULATION = re.compile(r"<<[^>]*>>")


def export_gsm8k(config: Gsm8kConfig, folder: Path) -> dict[str, Any]:
    """Write ``gsm8k.parquet`` and return counts; nothing without a location. Raises ValueError for a record of other fields."""
    if config.test is None:
        return {}
    rows = [
        {"item_id": str(number), "question": record["question"], "answer": record["answer"]}
        for number, record in enumerate(records_of(config.test, ("question", "answer")))
    ]
    return write_items(folder / FILE, rows, config.num_items, config.seed)


def gsm8k_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (item, text) for every question and every worked answer."""
    for row in read_items(folder / FILE):
        yield f"gsm8k/{row['item_id']}", row["question"]
        yield f"gsm8k/{row['item_id']} (answer)", worked_answer(row["answer"])


def gsm8k_references(folder: Path, config: BenchmarkLossConfig) -> Iterator[Reference]:
    """Yield worked answers after their questions, with no examples before them."""
    rows = read_items(folder / FILE)
    yield from drawn(
        (
            Reference(
                item_id=f"gsm8k/{row['item_id']}",
                category="gsm8k/answers",
                prompt=f"Question: {row['question']}\nAnswer:",
                target=f" {worked_answer(row['answer'])}",
            )
            for row in rows
        ),
        config,
    )


def worked_answer(answer: str) -> str:
    """Return a published answer as a person writes it: without calculator marks, the number in a sentence of its own."""
    steps, _, number = _CALCULATION.sub("", answer).rpartition("####")
    return f"{steps.strip()}\nThe answer is {number.strip()}.".strip()


def evaluate_gsm8k(
    model: Model,
    items: Path,
    config: Gsm8kConfig,
    folder: Path,
    progress: Progress | None = None,
    **statistics: Any,
) -> dict[str, Any]:
    """Write the score folder of a model's replies and return its summary; ``statistics`` are those of `write_scores`."""
    asked = asked_items(items / FILE)
    rows, strict = _rows(model, asked, config, progress) if asked else ([], 0)
    note = f"{strict} of {len(rows)} replies are right in the examples' own words (lm-eval's strict-match)" if rows else ""
    return write_single_score(folder, rows, "gsm8k", "GSM8K 8-shot", "accuracy", DEFINITION, MISSING, note, **statistics)


def _rows(
    model: Model, asked: list[dict[str, Any]], config: Gsm8kConfig, progress: Progress | None
) -> tuple[list[dict[str, Any]], int]:
    """Return the rows, and how many replies pass lm-eval's strict filter."""
    from hephaestus_dag.evaluation.general.lm_eval_model import LmEvalModel, as_prompt, packaged_task, run_task

    through = LmEvalModel(model, config.max_new_tokens, progress)
    documents = [{"question": row["question"], "answer": row["answer"]} for row in asked]
    samples = run_task(through, packaged_task(TASK), documents, chat=config.prompt == "chat")
    judged = [sample for sample in samples if sample["filter"] == "flexible-extract"]
    strict = sum(bool(sample["exact_match"]) for sample in samples if sample["filter"] == "strict-match")
    rows = []
    for number, (row, sample) in enumerate(zip(asked, judged, strict=True)):
        found = sample["filtered_resps"][0]
        reason = "" if sample["exact_match"] else f"its last number is {found}, right is {sample['target']}"
        prompt = as_prompt(sample["arguments"][0][0])
        rows.append(reply_row("gsm8k", row["item_id"], prompt, through.replies[number], reason))
    return rows, strict
