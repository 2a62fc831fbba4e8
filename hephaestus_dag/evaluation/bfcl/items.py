"""The texts and functions of BFCL that must not be in training data: of every item, whether it is asked or not.

Kept out are questions, reference answers (as Python calls and as JSON) and functions (their JSON, and their signatures).
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.curation.function_index import BenchmarkFunction
from hephaestus_dag.documents import signature
from hephaestus_dag.evaluation.bfcl.score import run_driver

_FILES = ("items.parquet", "multi_turn.parquet")
_COLUMNS = ("benchmark", "category", "item_id", "question", "functions", "reference")


def export_multi_turn(python: Path, folder: Path) -> int:
    """Write ``multi_turn.parquet``: the multi-turn items, which are not evaluated but kept out; return how many."""
    rows = [
        {
            "benchmark": "bfcl",
            "category": line["category"],
            "item_id": line["id"],
            "question": "\n".join(message["content"] for message in line["question"]),
            "functions": json.dumps(line["functions"], ensure_ascii=False),
            "reference": "\n".join(line["calls"]),
        }
        for line in run_driver(python, {"command": "multi_turn"})[0]
    ]
    schema = pa.schema([(name, pa.string()) for name in _COLUMNS])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "multi_turn.parquet", compression="zstd")
    return len(rows)


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
