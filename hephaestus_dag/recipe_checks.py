"""What the validation of single values cannot see: whether what a recipe names is there, and whether its parts agree."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from hephaestus_dag.curation.language import language_model
from hephaestus_dag.documents import DOMAINS
from hephaestus_dag.evaluation.agentbench.config import DATA
from hephaestus_dag.evaluation.benchmark_files import CHECKOUT
from hephaestus_dag.evaluation.general.config import Gsm8kConfig, HumanEvalConfig, MmluConfig
from hephaestus_dag.evaluation.kept_out import KeptOutConfig, check_kept_out
from hephaestus_dag.evaluation.vllm_server import missing_vllm
from hephaestus_dag.models import is_folder, model_identity
from hephaestus_dag.quality.rubric import load_rubric
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scaling.sweep import plan_starts, plan_sweep
from hephaestus_dag.scaling.sweep_config import BENCHMARK
from hephaestus_dag.sources import TRAJECTORY_KINDS
from hephaestus_dag.sources.config import SourceConfig, check_available

Where = tuple[int | str, ...]
Problem = tuple[Where, str]

SOURCES = (
    ("seed_corpus", "tool_documentation"),
    ("seed_corpus", "function_calling_trajectories"),
    ("seed_corpus", "code_documents"),
    ("seed_corpus", "text_documents"),
    ("web_retrieval", "web_corpus"),
)
ANNOTATOR = ("quality", "annotation", "annotator")
RUBRICS = (("quality", "annotation", "rubric"), ("quality", "annotation", "recheck_rubric"))
PLACED = {"mmlu": MmluConfig, "gsm8k": Gsm8kConfig, "human_eval": HumanEvalConfig}
"""Benchmarks of the evaluation that have a location."""
MODELS = (
    ("web_retrieval", "retrieval", "encoder", "model"),
    ("web_retrieval", "retrieval", "first_pass", "model"),
    ("mixture", "tokenizer", "model"),
    ("training", "backbone", "model"),
)


def missing_inputs(raw: Any) -> list[Problem]:
    """Return what the plain values of a recipe name that is not there, with the place in the file.

    Plain values, so that what is missing is listed together with what is invalid; an invalid source is left out here.
    """
    return [*_missing_documents(raw), *_missing_models(raw), *_missing_benchmarks(raw)]


def misplaced_sources(raw: Any) -> list[Problem]:
    """Return the sources of a recipe that stand in the wrong section or carry another one's name."""
    found: list[Problem] = []
    names: set[str] = set()
    for where, source in _sources(raw):
        if (source.kind in TRAJECTORY_KINDS) != (where[-2] == "function_calling_trajectories"):
            what = "trajectories" if source.kind in TRAJECTORY_KINDS else "documents"
            found.append(((*where, "kind"), f"{source.kind} reads {what}, which do not belong here; move the source"))
        if source.name in names:
            found.append(((*where, "name"), f"source {source.name!r} is named twice; give each source its own name"))
        names.add(source.name)
    return found


def _sources(raw: Any) -> Iterator[tuple[Where, SourceConfig]]:
    """Yield the valid sources with their places."""
    for path in SOURCES:
        sources = _at(raw, path)
        for i, value in enumerate(sources if isinstance(sources, list) else []):
            with suppress(ValidationError):
                yield (*path, i), SourceConfig.model_validate(value)


def _missing_documents(raw: Any) -> Iterator[Problem]:
    for where, source in _sources(raw):
        yield from ((where, text) for text in check_available(source))


def _missing_models(raw: Any) -> Iterator[Problem]:
    served = _at(raw, (*ANNOTATOR, "kind")) == "openai"
    for path in [*MODELS, *([] if served else [(*ANNOTATOR, "model")]), *RUBRICS]:
        name = _at(raw, path)
        try:
            if isinstance(name, str) and path in RUBRICS:
                load_rubric(name)
            elif isinstance(name, str) and not is_folder(name):
                model_identity(name)
        except (ModuleNotFoundError, OSError, ValueError) as error:
            yield path, str(error)


def _missing_benchmarks(raw: Any) -> Iterator[Problem]:
    path = ("evaluation", "kept_out")
    benchmarks = _at(raw, path)
    for i, value in enumerate(benchmarks if isinstance(benchmarks, list) else []):
        try:
            config = KeptOutConfig.model_validate(value)
        except ValidationError:
            continue
        yield from (((*path, i), text) for text in check_kept_out(config))
    for name, kind in PLACED.items():
        with suppress(ValidationError):
            config = kind.model_validate(_at(raw, ("evaluation", name)) or {})
            yield from ((("evaluation", name, "location"), text) for text in config.problems())
    path = ("evaluation", "agentbench", "data")
    if isinstance(data := _at(raw, path), str) and not (CHECKOUT / data).is_dir():
        yield path, f"{CHECKOUT / data} is not there: {DATA}; or null, to leave AgentBench out"
    if _at(raw, ("evaluation", "engine")) == "vllm" and (problem := missing_vllm()):
        yield ("evaluation", "engine"), problem
    languages = ("seed_corpus", "curation", "languages")
    try:
        if _at(raw, languages):
            language_model()
    except ModuleNotFoundError as error:
        yield languages, str(error)


def _at(raw: Any, path: Where) -> Any:
    for part in path:
        raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def contradictions(recipe: Recipe) -> list[Problem]:
    """Return what one part of a recipe says against another, with the place in the file."""
    return [
        *_backbone(recipe),
        *_batches(recipe),
        *_sweep(recipe),
        *_objective(recipe),
        *_reference(recipe),
        *_heldout(recipe),
        *_components(recipe),
        *_placement(recipe),
    ]


def _backbone(recipe: Recipe) -> Iterator[Problem]:
    model, tokenizer = recipe.training.backbone.model, recipe.mixture.tokenizer.model
    if model and model != tokenizer:
        yield (
            ("mixture", "tokenizer"),
            f"the backbone {model} needs its own tokenizer; write tokenizer: {{ train: null, model: {model} }}",
        )
    shape = recipe.training.backbone.shape
    longest = max(recipe.mixture.sequence_length, recipe.mixture.instruction.sequence_length)
    if shape and shape.max_position_embeddings < longest:
        yield (
            ("training", "backbone", "shape", "max_position_embeddings"),
            f"{shape.max_position_embeddings} is less than the longest training sequence, {longest}; raise it",
        )


def _batches(recipe: Recipe) -> Iterator[Problem]:
    for path in ("backbone", "training"), ("stage1",), ("stage2",), ("stage3",):
        config = recipe.section(".".join(("training", *path)))
        try:
            if config:
                placement = recipe.execution.launcher.for_batch(config.global_batch_sequences)
                config.micro_batches(placement.num_processes)
        except ValueError as error:
            yield ("training", *path), str(error)


def _objective(recipe: Recipe) -> Iterator[Problem]:
    """Check that the law's objective is over losses that the sweep measures."""
    law = recipe.scaling_law
    measured = {*DOMAINS, *([BENCHMARK] if law.sweep.benchmark_items else [])}
    named = {"objective": law.fit.objective}
    if law.fit.general_loss:
        named["general_loss"] = law.fit.general_loss.weights
    for field, weights in named.items():
        for name in sorted(set(weights) - measured):
            said = f"the proxies have no loss {name!r}; choose from {', '.join(sorted(measured))}"
            remedy = ", or set scaling_law.sweep.benchmark_items" if name == BENCHMARK else ""
            yield ("scaling_law", "fit", field), said + remedy


def _sweep(recipe: Recipe) -> Iterator[Problem]:
    """Check that every cell can be trained."""
    law, execution = recipe.scaling_law, recipe.execution
    if law.cells_at_once > execution.max_concurrent:
        said = f"{law.cells_at_once} cells at once need an execution.max_concurrent of as many, not {execution.max_concurrent}"
        yield ("scaling_law", "cells_at_once"), f"{said}; raise it, or lower this"
    try:
        for cell in (*plan_starts(law.sweep), *plan_sweep(law.sweep)):
            config = cell.branches(recipe.training.proxy, recipe.mixture.sequence_length)[0]
            config.micro_batches(execution.launcher.for_batch(config.global_batch_sequences).num_processes)
    except ValueError as error:
        yield ("scaling_law", "sweep"), str(error)


def _components(recipe: Recipe) -> Iterator[Problem]:
    seed = [name for path in SOURCES[:4] for name in _source_names(recipe, path)]
    known = {"stage1_components": [*seed, *_source_names(recipe, SOURCES[4])], "stage2_components": seed}
    for field, names in known.items():
        for i, component in enumerate(getattr(recipe.mixture, field) or ()):
            if component.source not in (None, *names):
                yield ("mixture", field, i, "source"), _unknown_source(component.source, names)
    recorded = _source_names(recipe, SOURCES[1])
    for i, name in enumerate(recipe.mixture.instruction.sources or ()):
        if name not in recorded:
            yield ("mixture", "instruction", "sources", i), _unknown_source(name, recorded)


def _placement(recipe: Recipe) -> Iterator[Problem]:
    """Check that settings of another machine are not given beside a kind or an engine that nobody chose: this one's."""
    launcher, compute = recipe.execution.launcher, recipe.execution.compute
    if launcher.kind is None:
        for kind in ("slurm", "ray", "kubernetes"):
            if kind in launcher.model_fields_set and getattr(launcher, kind) is not None:
                said = f"settings of a kind that is not chosen, so jobs would run here; write kind: {kind} beside them"
                yield ("execution", "launcher", kind), f"{said}, or kind: local to keep them unused"
    if compute.address and "engine" not in compute.model_fields_set:
        said = f"{compute.address} is a Ray cluster, but data steps would run here; write engine: ray beside it"
        yield ("execution", "compute", "address"), f"{said}, or engine: local to keep it unused"


def _unknown_source(name: str | None, names: list[str]) -> str:
    return f"{name!r} is no source of this kind; choose from {', '.join(names)}"


def _source_names(recipe: Recipe, path: tuple[str, str]) -> list[str]:
    return [source.name for source in recipe.section(".".join(path))]


def _heldout(recipe: Recipe) -> Iterator[Problem]:
    if not recipe.mixture.token_store.heldout_share:
        yield ("mixture", "token_store", "heldout_share"), "training is judged on held-out documents; keep a share above 0"


def _reference(recipe: Recipe) -> Iterator[Problem]:
    name = recipe.evaluation.reference_variant
    if name is not None and name not in recipe.variants:
        yield (
            ("evaluation", "reference_variant"),
            f"{name!r} is not a variant; choose from {', '.join(recipe.variants)}",
        )
