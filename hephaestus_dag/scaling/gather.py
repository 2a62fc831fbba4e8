"""Turn the folders of finished proxy runs into the runs table that the law is fitted to."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.scaling.runs import Run, write_runs
from hephaestus_dag.scaling.sweep import Cell


def gather_runs(cells: Sequence[Cell], folders: Sequence[Path], stores: Sequence[Path], path: Path) -> list[Run]:
    """Write the runs table of some cells, given their training output folders and the token stores they drew on.

    A cell whose losses are not all numbers is kept with its reason instead of losses.
    """
    unique = _unique_tokens(stores)
    runs = []
    for cell, folder in zip(cells, folders, strict=True):
        summary = json.loads((folder / "summary.json").read_text())
        losses = {domain: summary["heldout"][domain]["bits_per_byte"] for domain in cell.shares}
        finite = all(math.isfinite(loss) for loss in losses.values())
        runs.append(
            Run(
                cell=cell.name,
                params=cell.rung.params,
                tokens=summary["tokens"],
                flops=6 * cell.rung.params * summary["tokens"],
                shares=dict(cell.shares),
                losses=losses if finite else dict.fromkeys(losses, math.nan),
                seed=cell.seed,
                status="ok" if finite else "diverged: a held-out loss is not a number",
                unique=unique,
            )
        )
    write_runs(path, runs)
    return runs


def _unique_tokens(stores: Sequence[Path]) -> dict[str, float | None]:
    unique: dict[str, float | None] = {}
    for folder in stores:
        for stream in TokenStore(folder).streams.values():
            if stream.split == "train":
                unique[stream.domain] = (unique.get(stream.domain) or 0.0) + stream.tokens
    return unique
