"""The questions of MMLU: reading them, drawing from them, and what training data must not hold of them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.evaluation.benchmark_files import Record
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.general.config import MmluConfig
from hephaestus_dag.evaluation.general.mmlu_areas import area_of
from hephaestus_dag.evaluation.kept_out import with_choices
from hephaestus_dag.evaluation.references import Reference, drawn

LETTERS = ("A", "B", "C", "D")
FILE = "mmlu.parquet"
ITEM_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("benchmark", "category", "item_id", "question")]
    + [("choices", pa.list_(pa.string())), ("answer", pa.int8()), ("split", pa.string()), ("sampled", pa.bool_())]
)


def export_mmlu(config: MmluConfig, folder: Path) -> dict[str, Any]:
    """Write ``mmlu.parquet``, the questions and few-shot examples, and return counts; nothing without a location.

    ``sampled`` marks what is asked. Raises ValueError naming a record that is no question, and like
    `BenchmarkFiles.records`.
    """
    if config.test is None:
        return {}
    rows: list[dict[str, Any]] = []
    sources = {"test": config.test, "dev": config.dev}
    for split, source in sources.items():
        numbers: Counter[str] = Counter()
        try:
            for place, record in source.records() if source else ():
                if record.get("question") != "question":  # a header that was repeated among the rows
                    question = _question(record, f"mmlu: {place}")
                    subject = question["category"]
                    rows.append({**question, "benchmark": "mmlu", "item_id": f"{subject}_{numbers[subject]}", "split": split})
                    numbers[subject] += 1
        except FileNotFoundError:
            if split == "test":
                raise
    asked = stratified_draw(
        [(row["category"], row["item_id"]) for row in rows if row["split"] == "test"], config.num_items, config.seed
    )
    for row in rows:
        row["sampled"] = row["split"] == "test" and row["item_id"] in asked
    pq.write_table(pa.Table.from_pylist(rows, ITEM_SCHEMA), folder / FILE, compression="zstd")
    return {
        "items": sum(row["split"] == "test" for row in rows),
        "sampled": len(asked),
        "examples": sum(row["split"] == "dev" for row in rows),
    }


def stratified_draw(items: Sequence[tuple[str, str]], num_items: int | None, seed: int) -> set[str]:
    """Return the ids drawn from (stratum, id) pairs, the same share of each stratum; larger draws contain smaller ones.

    A stratum of N items gives its places by (rank + 1/2) / N, that is by Sainte-Laguë: unlike largest remainders, no stratum
    loses a place when the draw grows.
    """
    sizes = Counter(stratum for stratum, _ in items)
    taken: Counter[str] = Counter()
    order = []
    for digest, stratum, item_id in sorted((hashlib.sha256(f"{seed}:{i}".encode()).hexdigest(), s, i) for s, i in items):
        order.append(((taken[stratum] + 0.5) / sizes[stratum], digest, item_id))
        taken[stratum] += 1
    return {item_id for _, _, item_id in sorted(order)[:num_items]}


def mmlu_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (item, text) for every question; one that is too short to be found alone comes with its choices too."""
    for row in mmlu_items(folder, "test"):
        name = f"mmlu/{row['item_id']}"
        yield name, row["question"]
        yield from ((name, text) for text in with_choices(row["question"], row["choices"]))


def mmlu_references(folder: Path, config: BenchmarkLossConfig) -> Iterator[Reference]:
    """Yield right choices as texts after their questions, without the letters, drawn by area (``mmlu/stem``, ...).

    The letters alone would stay at two bits until a model is good enough to choose.
    """
    yield from drawn(
        (
            Reference(
                item_id=f"mmlu/{row['item_id']}",
                category=f"mmlu/{area_of(row['category'])}",
                prompt=f"Question: {row['question'].strip()}\nAnswer:",
                target=f" {row['choices'][row['answer']]}",
            )
            for row in mmlu_items(folder, "test")
        ),
        config,
    )


def mmlu_items(folder: Path, split: str) -> list[Record]:
    """Return the questions (``test``) or examples (``dev``) that were exported; none where nothing was."""
    path = folder / FILE
    return pq.read_table(path, filters=[("split", "=", split)]).to_pylist() if path.exists() else []


def _question(record: Record, place: str) -> dict[str, Any]:
    """Return category, question, choices and answer of a record, in any of the spellings in use."""
    lettered = next((keys for keys in (LETTERS, tuple(f"answer_{x.lower()}" for x in LETTERS)) if keys[0] in record), ())
    choices = record.get("choices") or [record.get(key) for key in lettered]
    answer = record.get("answer", record.get("correct_answer"))
    number = LETTERS.index(answer) if answer in LETTERS else answer
    subject = record.get("subject", record.get("topic"))
    right = {
        "question": isinstance(record.get("question"), str),
        "choices": isinstance(choices, list) and len(choices) == len(LETTERS) and None not in choices,
        "answer": isinstance(number, int) and 0 <= number < len(LETTERS),
        "subject": isinstance(subject, str) and bool(subject),
    }
    if wrong := [field for field, is_right in right.items() if not is_right]:
        raise ValueError(
            f"{place}: {wrong[0]} is missing or wrong in {json.dumps(record, default=str)[:200]}; a record has question, "
            "subject, choices (four, or A to D) and answer (0 to 3, or A to D)"
        )
    return {
        "question": record["question"],
        "choices": [str(choice) for choice in choices],
        "answer": number,
        "category": str(subject).strip().lower().replace(" ", "_"),
    }
