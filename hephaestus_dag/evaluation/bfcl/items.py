"""The items of BFCL in a folder of their own: what is asked of a model, and what must not be in its training data.

``items.parquet``        single-turn items: question, official prompt, functions, a reference reply
``multi_turn.parquet``   conversations: the messages that each turn starts with, the answer's calls, the signatures of the
                         functions that are offered, one a line; and the functions of every simulated API (category
                         ``functions``)

Kept out of training data are questions, reference answers (as Python calls and as JSON) and functions (their JSON, and their
signatures), of every item, whether it is asked or not.
"""

import ast
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.curation.function_index import BenchmarkFunction
from hephaestus_dag.documents import signature
from hephaestus_dag.evaluation.bfcl.checker import Checker
from hephaestus_dag.evaluation.bfcl.config import SINGLE_TURN, BfclConfig
from hephaestus_dag.evaluation.bfcl.reference import render_answer

_FILES = ("items.parquet", "multi_turn.parquet")
_COLUMNS = ("benchmark", "category", "item_id", "question", "functions", "reference")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("benchmark", "category", "item_id", "question", "prompt", "functions", "reference")]
    + [("sampled", pa.bool_())]
)
_SCHEMAS = (_SCHEMA, _SCHEMA.append(pa.field("signatures", pa.string())))


def export_bfcl(config: BfclConfig, folder: Path, python: Path) -> dict[str, Any]:
    """Write every item into ``folder`` and return counts; ``python`` is that of the checker's ``environment``.

    ``sampled`` marks what ``config`` draws for evaluation. Items without an answer (relevance) have an empty reference.
    """
    with Checker(python) as checker:
        single = [_single_turn(item) for item in checker.ask({"command": "items", "categories": SINGLE_TURN})[0]]
        multi_turn = [_multi_turn(line) for line in checker.ask({"command": "multi_turn"})[0]]
    items = [row for row in single + multi_turn if row["category"] != "functions"]
    drawn: set[str] = set()
    for category in config.categories:
        pairs = [(category, row["item_id"]) for row in items if row["category"] == category]
        drawn |= draw(pairs, config.items_in(category), config.seed)
    for row in single + multi_turn:
        row["sampled"] = row["item_id"] in drawn
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows, schema in zip(_FILES, (single, multi_turn), _SCHEMAS, strict=True):
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / name, compression="zstd")
    return {
        "items": len(items),
        "sampled": len(drawn),
        "categories": dict(Counter(row["category"] for row in items)),
        "sampled_categories": dict(Counter(row["category"] for row in items if row["sampled"])),
    }


def _single_turn(item: dict[str, Any]) -> dict[str, Any]:
    truth = item["ground_truth"]
    return {
        "benchmark": "bfcl",
        "category": item["category"],
        "item_id": item["id"],
        "question": "\n".join(message["content"] for message in item["question"]),
        "prompt": json.dumps(item["messages"], ensure_ascii=False),
        "functions": json.dumps(item["functions"], ensure_ascii=False),
        "reference": render_answer(truth, item["functions"], item["language"]) if truth else "",
    }


def _multi_turn(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "benchmark": "bfcl",
        "category": line["category"],
        "item_id": line["id"],
        "question": "\n".join(message["content"] for message in line["question"]),
        "prompt": json.dumps(line["prompt"], ensure_ascii=False),
        "functions": json.dumps(line["functions"], ensure_ascii=False),
        "reference": "\n".join(call for turn in line["calls"] for call in turn),
        "signatures": "\n".join(signature(name, parameters) for name, parameters in line["offered"]),
    }


def draw(items: Sequence[tuple[str, str]], per_category: int | None, seed: int) -> set[str]:
    """Return the ids drawn from (category, id) pairs: at most ``per_category`` each, nested for growing sizes."""
    by_category: dict[str, list[str]] = {}
    for category, item_id in items:
        by_category.setdefault(category, []).append(item_id)
    rank = {item_id: hashlib.sha256(f"{seed}:{item_id}".encode()).hexdigest() for _, item_id in items}
    return {item_id for ids in by_category.values() for item_id in sorted(ids, key=lambda i: rank[i])[:per_category]}


def sampled_items(items: Path, per_category: int | None, seed: int) -> pa.Table:
    """Return the single-turn items with a reference reply, at most ``per_category`` of each category, in file order."""
    table = pq.read_table(items / "items.parquet")
    table = table.filter(pc.field("reference") != "")
    pairs = list(zip(table["category"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    drawn = draw(pairs, per_category, seed)
    return table.filter(pc.field("item_id").isin(sorted(drawn)))


def asked_items(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
    """Return the single-turn items that are asked, the conversations that are held, and the size of every whole category."""
    tables = [pq.read_table(folder / name) for name in _FILES]
    single, multi_turn = (table.filter(pc.field("sampled")).to_pylist() for table in tables)
    sizes = Counter(category for table in tables for category in table["category"].to_pylist())
    return single, multi_turn, dict(sizes)


def benchmark_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (item, text) for the questions and reference answers of the items in a folder."""
    for row in _rows(folder):
        name = f"{row['benchmark']}/{row['item_id']}"
        if row["question"]:
            yield name, row["question"]
        if row["reference"]:
            yield f"{name} (answer)", row["reference"]
            if as_json := json_calls(row["reference"]):
                yield f"{name} (answer)", as_json


def benchmark_functions(folder: Path) -> Iterator[BenchmarkFunction]:
    """Yield the functions that the items in a folder offer; what several items offer is named after the first."""
    seen: set[str] = set()
    ids: dict[str, str] = {}
    for row in _rows(folder):
        for function in json.loads(row["functions"]):
            text = json.dumps(function, ensure_ascii=False)
            if text not in seen:
                seen.add(text)
                same = signature(function["name"], function["parameters"].get("properties", {}))
                item_id = ids.setdefault(same, f"{row['benchmark']}/{row['item_id']} (function {function['name']})")
                yield BenchmarkFunction(item_id, same, function["description"], text)


def offered_signatures(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (item, signature) for every function that an item in a folder offers, at once or later in a conversation."""
    for row in _rows(folder):
        for function in json.loads(row["functions"]):
            called = signature(function["name"], function["parameters"].get("properties", {}))
            yield f"{row['benchmark']}/{row['item_id']}", called
    columns = ["benchmark", "item_id", "signatures"]
    for row in pq.read_table(folder / "multi_turn.parquet", columns=columns).to_pylist():
        yield from ((f"{row['benchmark']}/{row['item_id']}", called) for called in row["signatures"].splitlines())


def json_calls(reference: str) -> str:
    """Return calls written as Python, as JSON objects of name and arguments; empty when they are not Python."""
    try:
        tree = ast.parse(reference)
        calls = [node for statement in tree.body for node in _calls(getattr(statement, "value", None))]
        found = [
            {"name": ast.unparse(c.func), "arguments": {str(k.arg): ast.literal_eval(k.value) for k in c.keywords}}
            for c in calls
        ]
        return json.dumps(found, ensure_ascii=False) if found else ""
    except (SyntaxError, TypeError, ValueError):  # Java and JavaScript, and values that JSON cannot hold
        return ""


def _calls(node: ast.expr | None) -> list[ast.Call]:
    elements = node.elts if isinstance(node, ast.List) else [node]
    return [element for element in elements if isinstance(element, ast.Call)]


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for name in _FILES:
        yield from pq.read_table(folder / name, columns=list(_COLUMNS)).to_pylist()
