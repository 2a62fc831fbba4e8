"""BFCL, single turn, prompting mode: official prompts and verdicts around replies of our own generation.

Scores are named after the leaderboard version whose formula they use. The executable categories cannot run from the package
(their checker is gone, some call remote services) and multi-turn is another benchmark loop, so no "overall" of v1 to v4 is
claimed; ``v2-noexec`` is the mean of the v2 parts that remain.
"""

import hashlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.evaluation.bfcl.config import BFCL_CATEGORIES, BfclConfig
from hephaestus_dag.evaluation.bfcl.reference import render_answer
from hephaestus_dag.evaluation.config import EvaluationConfig
from hephaestus_dag.evaluation.prompts import prompt_sha
from hephaestus_dag.evaluation.scores import Benchmark, Group, write_scores

DRIVER = Path(__file__).with_name("driver.py")
ITEM_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("benchmark", "category", "item_id", "question", "prompt", "functions", "reference")]
    + [("sampled", pa.bool_())]
)
ROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "category", "prompt_sha", "reply")]
    + [("verdict", pa.bool_()), ("reason", pa.string()), ("new_tokens", pa.int32())]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemReply:
    """A model's reply to an item."""

    item_id: str
    category: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the official checker says of a reply."""

    item_id: str
    valid: bool
    reason: str
    decoded: str
    """The calls as the official decoder read them, a Python literal."""


def export_items(python: Path, folder: Path, config: BfclConfig) -> dict[str, Any]:
    """Write ``items.parquet``: every single-turn item, with its official prompt and its reference reply; return counts.

    ``sampled`` marks what ``config`` draws for evaluation. Items without an answer (relevance) have an empty reference.
    """
    rows = []
    for item in run_driver(python, {"command": "items", "categories": BFCL_CATEGORIES})[0]:
        truth = item["ground_truth"]
        rows.append(
            {
                "benchmark": "bfcl",
                "category": item["category"],
                "item_id": item["id"],
                "question": "\n".join(message["content"] for message in item["question"]),
                "prompt": json.dumps(item["messages"], ensure_ascii=False),
                "functions": json.dumps(item["functions"], ensure_ascii=False),
                "reference": render_answer(truth, item["functions"], item["language"]) if truth else "",
            }
        )
    drawn = draw([(row["category"], row["item_id"]) for row in rows], config.items_per_category, config.seed)
    for row in rows:
        row["sampled"] = row["category"] in config.categories and row["item_id"] in drawn
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, ITEM_SCHEMA), folder / "items.parquet", compression="zstd")
    return {
        "items": len(rows),
        "sampled": sum(row["sampled"] for row in rows),
        "categories": dict(Counter(row["category"] for row in rows)),
        "sampled_categories": dict(Counter(row["category"] for row in rows if row["sampled"])),
    }


def draw(items: Sequence[tuple[str, str]], per_category: int | None, seed: int) -> set[str]:
    """Return the ids drawn from (category, id) pairs: at most ``per_category`` each, nested for growing sizes."""
    by_category: dict[str, list[str]] = {}
    for category, item_id in items:
        by_category.setdefault(category, []).append(item_id)
    rank = {item_id: hashlib.sha256(f"{seed}:{item_id}".encode()).hexdigest() for _, item_id in items}
    return {item_id for ids in by_category.values() for item_id in sorted(ids, key=lambda i: rank[i])[:per_category]}


def score_replies(python: Path, replies: Sequence[ItemReply]) -> tuple[list[Verdict], list[str]]:
    """Return the official verdict on each reply, in order, and the names of the sandbox's protections in force.

    Raises RuntimeError with the checker's message when it fails as a whole, for example on an unknown item.
    """
    lines = [{"id": reply.item_id, "category": reply.category, "reply": reply.text} for reply in replies]
    answers, done = run_driver(python, {"command": "score"}, lines)
    verdicts = [
        Verdict(item_id=answer["id"], valid=answer["valid"], reason=answer["reason"], decoded=answer["decoded"])
        for answer in answers
    ]
    return verdicts, done["protections"]


def run_driver(
    python: Path, request: dict[str, Any], lines: Sequence[dict[str, Any]] = ()
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run the driver under the checker's Python, without our environment variables; return its lines and its last line."""
    text = "".join(json.dumps(line) + "\n" for line in [request, *lines])
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    # -P keeps this folder, whose names would shadow others, off the search path; -B leaves no caches beside the package.
    done = subprocess.run(
        [str(python), "-P", "-s", "-B", str(DRIVER)],
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or not answers or answers[-1].get("done") != len(answers) - 1:
        tail = "\n".join(done.stderr.strip().splitlines()[-6:])
        raise RuntimeError(f"the BFCL checker failed on {request['command']!r} (status {done.returncode}):\n{tail}")
    return answers[:-1], answers[-1]


def evaluate_bfcl(
    generator: Any, python: Path, items: Path, config: EvaluationConfig, folder: Path, progress: Any = None
) -> dict[str, Any]:
    """Run the sampled items of ``items/items.parquet`` on a model and write a score folder (see ``scores``).

    ``generator`` is a ``generation.Generator``; ``python`` comes from ``environment``. Returns the summary with the time
    spent and the sandbox's protections, which are not written: they differ from run to run.
    """
    table = pq.read_table(items / "items.parquet")
    rows = table.filter(table["sampled"]).to_pylist()
    prompts = [json.loads(row["prompt"]) for row in rows]
    replies = generator.generate(prompts, config.bfcl.max_new_tokens, config.bfcl.max_prompt_tokens, progress)
    answered = [
        ItemReply(item_id=row["item_id"], category=row["category"], text=reply.text)
        for row, reply in zip(rows, replies, strict=True)
        if not reply.failure
    ]
    verdicts, protections = score_replies(python, answered)
    by_id = {verdict.item_id: verdict for verdict in verdicts}
    scored = []
    for row, prompt, reply in zip(rows, prompts, replies, strict=True):
        verdict = by_id.get(row["item_id"])
        scored.append(
            {
                "item_id": row["item_id"],
                "category": row["category"],
                "prompt_sha": prompt_sha(prompt),
                "reply": reply.text,
                "verdict": verdict.valid if verdict else False,
                "reason": verdict.reason if verdict else reply.failure,
                "new_tokens": reply.num_new_tokens,
            }
        )
    num_calls = sum(verdict.decoded not in ("", "[]") for verdict in verdicts)
    official = {str(c): n for c, n in Counter(table["category"].to_pylist()).items()}
    summary = write_scores(
        folder,
        pa.Table.from_pylist(scored, ROW_SCHEMA),
        replace(bfcl_benchmark(official), note=call_note(num_calls, len(rows))),
        config.confidence,
        config.bootstrap_samples,
    )
    return summary | {
        "generation_seconds": round(sum(reply.seconds for reply in replies), 3),
        "too_long": sum(bool(reply.failure) for reply in replies),
        "stopped": sum(verdict.reason.startswith("stopped") for verdict in verdicts),
        "protections": protections,
    }


def call_note(num_calls: int, num_replies: int) -> str:
    """Say how many replies hold a call, and what the scores of a model without any are worth."""
    note = f"{num_calls:,} of {num_replies:,} replies hold a call that can be read"
    return note if num_calls else f"{note}; its irrelevance, and every mean over it, is what any model gets that never calls"


def bfcl_benchmark(official_counts: dict[str, int]) -> Benchmark:
    """Return the groups of BFCL that single-turn items allow, given the size of each whole category."""

    def mean(*parts: dict[str, float]) -> dict[str, float]:
        weights: dict[str, float] = {}
        for part in parts:
            for category, weight in part.items():
                weights[category] = weights.get(category, 0.0) + weight / len(parts)
        return weights

    def by_size(categories: Sequence[str]) -> dict[str, float]:
        total = sum(official_counts.get(category, 0) for category in categories) or 1
        return {category: official_counts.get(category, 0) / total for category in categories}

    only = {category: {category: 1.0} for category in BFCL_CATEGORIES}
    simple = mean(only["simple_python"], only["simple_java"], only["simple_javascript"])
    calls = (simple, only["multiple"], only["parallel"], only["parallel_multiple"])
    live = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
    irrelevance = mean(only["irrelevance"], only["live_irrelevance"])
    v2 = [mean(part, only[name]) for part, name in zip(calls, live, strict=True)]
    sizes = "weighted by the size of the whole category"
    return Benchmark(
        name="BFCL",
        metric="accuracy",
        higher_is_better=True,
        numerator="verdict",
        groups=(
            Group(
                name="BFCL AST non-live",
                definition="mean of simple (mean of Python, Java, JavaScript), multiple, parallel and parallel multiple",
                weights=mean(*calls),
            ),
            Group(name="BFCL AST live", definition=f"4 live AST categories, {sizes}", weights=by_size(live)),
            Group(name="BFCL irrelevance", definition="mean of non-live and live irrelevance", weights=irrelevance),
            Group(name="BFCL relevance", definition="live relevance", weights=only["live_relevance"]),
            Group(
                name="BFCL v3-noexec non-live",
                definition="mean of simple, multiple, parallel, parallel multiple and irrelevance",
                weights=mean(*calls, only["irrelevance"]),
            ),
            Group(
                name="BFCL v3 live",
                definition=f"6 live categories, {sizes}",
                weights=by_size([c for c in BFCL_CATEGORIES if c.startswith("live_")]),
            ),
            Group(
                name="BFCL v2-noexec",
                definition="mean of AST simple, multiple, parallel, parallel multiple (each the mean of non-live and live), "
                "irrelevance and relevance; without the executable categories",
                weights=mean(*v2, irrelevance, only["live_relevance"]),
            ),
        ),
        not_run={
            "BFCL v3 multi-turn": "its loop over simulated environments is not implemented",
            "BFCL v3 overall": "it is a mean over multi-turn too",
            "BFCL executable categories": "their checker is not in the package",
        },
    )


def sampled_items(items: Path, per_category: int | None, seed: int) -> pa.Table:
    """Return the items with a reference reply, at most ``per_category`` of each category, in file order."""
    table = pq.read_table(items / "items.parquet")
    table = table.filter(pc.field("reference") != "")
    pairs = list(zip(table["category"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    drawn = draw(pairs, per_category, seed)
    return table.filter(pc.field("item_id").isin(sorted(drawn)))
