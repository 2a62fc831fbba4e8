"""Turn the folders of finished cells into the runs table that the law is fitted to: a row for each token budget."""

import json
from collections.abc import Sequence
from pathlib import Path

from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.scaling.branches import TABLE
from hephaestus_dag.scaling.runs import Run, write_runs
from hephaestus_dag.scaling.sweep import Cell


def gather_runs(cells: Sequence[Cell], folders: Sequence[Path], stores: Sequence[Path], path: Path) -> list[Run]:
    """Write the runs table of some cells, given their folders and the token stores they drew on.

    A branch that diverged is kept with its reason instead of losses.
    """
    unique = _unique_tokens(stores)
    runs = []
    for cell, folder in zip(cells, folders, strict=True):
        for branch in json.loads((folder / TABLE).read_text()):
            runs.append(
                Run(
                    cell=f"{cell.name}-{branch['tokens']}",
                    params=cell.rung.params,
                    tokens=branch["tokens"],
                    flops=6 * cell.rung.params * branch["tokens"],
                    shares={domain: branch["shares"].get(domain, 0.0) for domain in cell.shares},
                    losses=branch["losses"],
                    seed=cell.seed,
                    status=branch["status"],
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
