"""BFCL's reference replies: targets of the benchmark loss."""

import json
from collections.abc import Iterator
from pathlib import Path

from hephaestus_dag.evaluation.bfcl.items import sampled_items
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.references import Reference


def bfcl_references(folder: Path, config: BenchmarkLossConfig) -> Iterator[Reference]:
    """Yield the reference replies of the single-turn items in ``items.parquet``, after the official prompts."""
    for row in sampled_items(folder, config.items_per_category, config.seed).to_pylist():
        yield Reference(
            item_id=f"bfcl/{row['item_id']}",
            category=f"bfcl/{row['category']}",
            prompt=json.loads(row["prompt"]),
            target=row["reference"],
        )
