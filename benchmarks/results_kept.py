"""What stays of one variant of a finished run: a small folder in git, to be read, and compared with others item by item.

``run.json``            recipe, variant, seed, machine, hours, and every artifact behind the scores with fingerprint and content
``recipe.json``         all values of the recipe
``scores/<benchmark>/`` a score folder (see `hephaestus_dag.evaluation.scores`) with the columns that statistics need
``stages/<number>/``    what the training of a stage says about itself
``overlap/``            which items its training documents overlap with; of a variant that was trained
``trace.json``          what ``hephaestus trace`` answers of the score, and of a right item; of a variant that was trained
``items.json``          some items of BFCL with question, expected and given answer, for a person

Weights stay in the store: from these folders runs of several sessions and machines are put side by side.
"""

import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from results_items import NO_CALL, some_items

from hephaestus_dag.costs.measured import agreeing_artifacts
from hephaestus_dag.evaluation.scores import Scores, read_scores
from hephaestus_dag.manifests import read_manifest
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node
from hephaestus_dag.provenance.item import trace_item
from hephaestus_dag.provenance.question import open_database
from hephaestus_dag.provenance.trace import trace
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scored_models import ScoredModel, scored_models
from hephaestus_dag.variants import Variants

PACKAGES = ("torch", "transformers", "deepspeed", "lm_eval")
CLOCK = {"seconds": "training seconds", "processes": "processes"}
"""What a checkpoint's report says and its summary.json, which holds no time, does not."""


class ResultsError(ValueError):
    """Results that cannot be kept or shown; the message says what to run."""


def keep(recipe: Recipe, name: str, store: Path, into: Path, machine: str = "") -> tuple[list[Path], list[str]]:
    """Keep each variant of a recipe that a store has all scores of in ``into/<recipe>/<variant>``, in place of what is there.

    Of several artifacts the newest with the recipe's values counts. ``name`` is what commands call the recipe, ``machine`` says
    where it ran, if not here. Returns the folders, and in words which variants are not there.
    Raises ResultsError when none is, ArtifactError when the store holds nothing.
    """
    graph, kept, lacking = ArtifactGraph(store), list[Path](), list[str]()
    for model in (each for each in scored_models(recipe, Variants(recipe)) if each.model):
        command = f"hephaestus run {name} --job score_{model.name}"
        found = agreeing_artifacts(store, recipe, model.results)
        if missing := [key for key in model.results if key not in found]:
            lacking.append(f"{model.name}: {store} has no {', '.join(missing)} of {recipe.name}; run `{command}`")
            continue
        nodes = {key: graph.nodes[manifest["fingerprint"]] for key, manifest in found.items()}
        folder, whole = into / recipe.name / f".{model.name}", into / recipe.name / model.name
        shutil.rmtree(folder, ignore_errors=True)
        _keep_scores(model, nodes, graph, folder)
        facts = {
            "recipe": recipe.name,
            "commands": [command, f"python benchmarks/results.py keep {name}"],
            "variant": model.name,
            "seed": recipe.mixture.seed if model.checkpoints else None,
            "caveat": recipe.caveat,
            "backbone": recipe.training.backbone.model or "trained here from scratch",
            "machine": machine or this_machine(),
            "software": {package: found for package in PACKAGES if (found := _version(package))},
        }
        way = _behind(nodes.values(), graph)
        facts |= {"stages": _keep_stages(model, way, folder), **_artifacts(way)}
        _write(folder / "recipe.json", recipe.model_dump(mode="json"))
        _write(folder / "run.json", facts)
        shutil.rmtree(whole, ignore_errors=True)
        folder.rename(whole)
        kept.append(whole)
    if not kept:
        raise ResultsError("\n".join(lacking))
    return kept, lacking


def _keep_scores(model: ScoredModel, nodes: Mapping[str, Node], graph: ArtifactGraph, folder: Path) -> None:
    for key in model.scores:
        node = nodes[key]
        for path in sorted((node.path / file).parent for file in node.files if Path(file).name == "summary.json"):
            read = read_scores(path)
            _slim(read, folder / "scores" / read.summary["key"])
            if read.summary["key"] == "bfcl":
                items = some_items(read, next(each.path for each in graph.inputs(node) if each.key == "benchmark_items"))
                _write(folder / "items.json", items)
                if model.checkpoints:
                    _write(folder / "trace.json", _traced(node, graph, items))
    if model.checkpoints:
        (folder / "overlap").mkdir()
        found = nodes[model.overlap].path
        pq.write_table(
            pq.read_table(found / "overlap.parquet", columns=["item", "share", "seen"]), folder / "overlap/overlap.parquet"
        )
        shutil.copyfile(found / "overlap.json", folder / "overlap/overlap.json")


def _traced(score: Node, graph: ArtifactGraph, items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is behind a score, and which documents lie nearest to one of its right items, a call where there is one."""
    right = sorted((item for item in items if item["right"]), key=lambda item: item["expected"] == NO_CALL)
    found = asdict(trace(score, graph, open_database())) | {"others": []}
    if right:
        item = trace_item(f"bfcl/{right[0]['item_id']}", score, graph, open_database())
        found["item"] = {"name": item.item, "nearest": item.nearest, "shown": item.shown, "compared": item.compared}
    return found


def _slim(scores: Scores, folder: Path) -> None:
    """Write a score folder without replies."""
    columns = ["item_id", "category", scores.summary["numerator"], scores.summary["denominator"]]
    rows = scores.rows.select([column for column in columns if column]).sort_by(
        [("category", "ascending"), ("item_id", "ascending")]
    )
    folder.mkdir(parents=True)
    pq.write_table(rows, folder / "rows.parquet", compression="zstd", compression_level=19)
    _write(folder / "summary.json", scores.summary)


def _keep_stages(model: ScoredModel, way: Iterable[Node], folder: Path) -> list[dict[str, Any]]:
    by_key, stages = {node.key: node for node in way}, []
    for number, key in enumerate(model.checkpoints, 1):
        node, place = by_key[key], folder / "stages" / str(number)
        place.mkdir(parents=True)
        shutil.copyfile(node.path / "summary.json", place / "summary.json")
        stages.append({"checkpoint": key, **{name: node.report.figures.get(title) for name, title in CLOCK.items()}})
    return stages


def _artifacts(way: Iterable[Node]) -> dict[str, Any]:
    """Return the artifacts by key, and the seconds that it took to build them, by what they are."""
    artifacts, seconds = {}, {"data": 0.0, "training": 0.0, "scores": 0.0}
    for node in way:
        manifest = read_manifest(node.folder)
        artifacts[node.key] = {"fingerprint": node.fingerprint[:12], "content": manifest["content"][:12]}
        seconds["scores" if node.is_score else "training" if node.is_model else "data"] += manifest["seconds"]
    return {"seconds": {name: round(each, 1) for name, each in seconds.items()}, "artifacts": artifacts}


def _behind(nodes: Iterable[Node], graph: ArtifactGraph) -> list[Node]:
    """Return some artifacts with everything that they were made of and that is still there, by key."""
    found, open_ = dict[str, Node](), [*nodes]
    while open_:
        node = open_.pop()
        if node.fingerprint not in found:
            found[node.fingerprint] = node
            open_ += graph.inputs(node)
    return sorted(found.values(), key=lambda node: node.key)


def this_machine() -> str:
    """Return in words what this machine is: processor, the cores that may be used, memory, GPU."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    named = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    cores = f"{len(os.sched_getaffinity(0))} cores of {next(named, platform.processor() or platform.machine())}"
    gpu = [torch.cuda.get_device_name(0)] if torch.cuda.is_available() else []
    return ", ".join([cores, f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory", *gpu])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
