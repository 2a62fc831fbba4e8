"""The ring between an asset function and the store: identity, reuse, reports in the UI, notes for the terminal.

An asset is declared with `artifact` and stays free of Dagster: it gets a `Build` and returns a `Report`. Its lineage is
declared beside it (inputs, recipe values, outside inputs), so that the identity of every artifact of a recipe is known
before anything runs.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import getdoc
from pathlib import Path
from typing import Any

import dagster as dg

from assets.showing_pace import Pace
from hephaestus_dag import events
from hephaestus_dag.artifacts import (
    Artifact,
    ArtifactError,
    Built,
    Identity,
    Report,
    Store,
    Workspace,
    differences,
)
from hephaestus_dag.code_version import edited_since, function_version
from hephaestus_dag.missing_programs import check_programs
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.training.gpus import check_gpus, num_gpus
from resources.compute import ComputePool
from resources.store import ArtifactStore
from resources.trainer import DeepSpeedTrainer


@dataclass(frozen=True, kw_only=True)
class CheckDeclaration:
    """A check that an asset reports about itself."""

    name: str
    description: str
    blocking: bool = True


@dataclass(kw_only=True)
class Build:
    """What an asset function gets to work with."""

    key: str
    recipe: Recipe
    folder: Path
    """Becomes the artifact."""
    work: Path
    """Survives an interrupted build."""
    inputs: Mapping[str, Artifact]
    earlier: Callable[[], list[Path]]
    """Finds whole artifacts of the same asset with other fingerprints, newest last."""
    cache: Path
    """Converted models and environments made from packages."""
    log: Callable[[str], None]
    warn: Callable[[str], None]
    """Says what whoever watches the run should know at once: in the log and, as it happens, in the terminal."""
    observe: Callable[[Mapping[str, Any], Mapping[str, str]], None]
    """Shows values, and pictures or texts in Markdown, on the asset's page while it is being built."""
    resources: Any
    _pace: Pace = field(default_factory=Pace, init=False)

    def input(self, key: str) -> Path:
        """Return the folder of an input artifact."""
        return self.inputs[key].path

    @property
    def pool(self) -> ComputePool:
        """Runs functions over shards."""
        self.resources.compute.check_shared(self.work)
        return self.resources.compute

    @property
    def model_map(self) -> Callable[..., Iterator[Any]]:
        """Maps a function over shards with a model in each worker, on a GPU where the recipe has one."""
        return partial(self.pool.map, gpus=1 if self.device == "cuda" else 0)

    @property
    def device(self) -> str:
        """Where models of this step run."""
        launcher = self.recipe.execution.launcher
        # where others launch the training jobs, the GPUs are theirs, and this machine may have none
        return "cuda" if launcher.num_gpus and (launcher.launched_by == "local" or num_gpus()) else "cpu"

    @property
    def trainer(self) -> DeepSpeedTrainer:
        """Runs training jobs."""
        return self.resources.trainer

    def progress(self, done: int, total: int) -> None:
        """Note how far the build has come; now and then the log says so, with the speed and the time left."""
        events.emit("progress", self.key, done=done, total=total)
        if line := self._pace.line(done, total):
            self.log(line)


@dataclass(frozen=True, kw_only=True)
class ArtifactAsset:
    """An asset and its declared lineage."""

    key: str
    group: str
    function: Callable[[Build], Report]
    kinds: frozenset[str]
    inputs: tuple[str, ...]
    """Asset keys whose artifacts it reads."""
    recipe: tuple[str, ...]
    """Dotted recipe fields whose values decide its content."""
    outside: Callable[[Recipe], Mapping[str, Any]] | None
    """Versions of what it reads from outside the graph."""
    programs: tuple[str, ...]
    """Modules that it runs in a process of their own."""
    checks: tuple[CheckDeclaration, ...]
    trains: bool
    """Whether it occupies the accelerator."""
    priority: int
    """Of two assets that could start, the one with the higher priority does."""
    description: str
    page: str
    """Key of the asset on whose page it shows how far it is: another one's where it has no page of its own."""

    def values(self, recipe: Recipe) -> dict[str, Any]:
        """Return the recipe values and outside versions of the identity, by dotted name."""
        found = {name: recipe.value(name) for name in self.recipe}
        return {**found, **(self.outside(recipe) if self.outside else {})}

    @property
    def code(self) -> str:
        """Code version of the asset's function and the programs it starts."""
        return function_version(self.function, self.programs)


def artifact(
    *,
    group: str,
    key: str = "",
    kinds: Iterable[str] = (),
    inputs: Iterable[str] = (),
    recipe: Iterable[str] = (),
    outside: Callable[[Recipe], Mapping[str, Any]] | None = None,
    programs: Iterable[str] = (),
    checks: Iterable[CheckDeclaration] = (),
    trains: bool = False,
    priority: int = 0,
    description: str = "",
    page: str = "",
) -> Callable[[Callable[[Build], Report]], ArtifactAsset]:
    """Declare an asset; its key is the function's name and its description the docstring, unless given."""

    def declare(function: Callable[[Build], Report]) -> ArtifactAsset:
        return ArtifactAsset(
            key=key or function.__name__,
            group=group,
            function=function,
            kinds=frozenset(kinds),
            inputs=tuple(inputs),
            recipe=tuple(recipe),
            outside=outside,
            programs=tuple(programs),
            checks=tuple(checks),
            trains=trains,
            priority=priority,
            description=description or getdoc(function) or "",
            page=page or key or function.__name__,
        )

    return declare


class Lineage:
    """All assets of one recipe, and the identity of each, fixed when the graph is loaded.

    Where inputs of the recipe are missing, ``fixed=False`` leaves each identity to whoever asks for it.
    """

    def __init__(self, recipe: Recipe, assets: Iterable[ArtifactAsset], *, fixed: bool = True) -> None:
        self.recipe = recipe
        self.assets = {asset.key: asset for asset in assets}
        self._identities: dict[str, Identity] = {}
        for key in self.assets if fixed else ():
            self.identity(key)

    def identity(self, key: str) -> Identity:
        """Return the identity of an asset's artifact, found by walking its inputs."""
        if key not in self._identities:
            asset = self.assets[key]
            self._identities[key] = Identity(
                key=key,
                code=asset.code,
                values=asset.values(self.recipe),
                inputs={name: self.identity(name).fingerprint for name in asset.inputs},
            )
        return self._identities[key]

    def local_version(self, key: str) -> str:
        """Return what Dagster shows as the code version: it changes with the asset's own code and recipe values."""
        identity = self.identity(key)
        return Identity(key=key, code=identity.code, values=identity.values).fingerprint[:12]

    def build(self, key: str, context: Any) -> Built:
        """Build one asset's artifact, or find it, inside a Dagster step."""
        return build(self.assets[key], self.identity(key), self, context)


def build(asset: ArtifactAsset, identity: Identity, lineage: Lineage, context: Any) -> Built:
    """Build the artifact of an identity, or find it, telling the log and the terminal."""
    resource: ArtifactStore = context.resources.store
    store: Store = resource.store
    log: Callable[[str], None] = context.log.info

    def warn(text: str) -> None:
        events.emit("warning", asset.key, text=text)
        context.log.warning(text)

    def observe(values: Mapping[str, Any], texts: Mapping[str, str]) -> None:
        metadata = {**values, **{title: dg.MetadataValue.md(text) for title, text in texts.items()}}
        context.log_event(dg.AssetObservation(asset_key=dg.AssetKey(asset.page.split("/")), metadata=metadata))

    def write(workspace: Workspace) -> Report:
        selected = {key.to_user_string() for key in context.job_def.asset_layer.selected_asset_keys}
        check_gpus(lineage, selected, store.root)
        check_programs(lineage, selected, store.root)
        if changed := differences(dict(identity.values), asset.values(lineage.recipe), "values"):
            raise ValueError(f"{asset.key}: what it reads changed since this run began ({'; '.join(changed)}): start it again")
        if edited := edited_since(asset.function, asset.programs):
            raise ValueError(f"{asset.key}: its code was edited since this run began ({', '.join(edited)}): start it again")
        log(f"building {store.path(identity)}: {'; '.join(workspace.reasons)}")
        job = Build(
            key=asset.key,
            recipe=lineage.recipe,
            folder=workspace.folder,
            work=workspace.work,
            inputs={name: _open_input(store, lineage.identity(name)) for name in asset.inputs},
            earlier=partial(store.earlier, identity),
            cache=resource.cache,
            log=log,
            warn=warn,
            observe=observe,
            resources=context.resources,
        )
        report = asset.function(job)
        titles = [*report.figures, *report.tables, *report.pictures]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"{asset.key} reports two things as {' and '.join(twice)}; the UI would show only one of them")
        return report

    if threads := lineage.recipe.execution.threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch and FAISS when they load, in this step's process
    events.emit("start", asset.key)
    started = time.monotonic()
    try:
        built = store.build(identity, write)
    except BaseException as error:
        events.emit("failed", asset.key, seconds=time.monotonic() - started, headline=f"{type(error).__name__}: {error}")
        raise
    report = built.artifact.report
    events.emit(
        "end",
        asset.key,
        seconds=time.monotonic() - started,
        headline=report.headline,
        path=str(built.artifact.path),
        reused=built.reused,
        reasons=built.reasons,
        failed_checks=[check.name for check in report.checks if not check.passed],
    )
    log(f"{'reused' if built.reused else 'built'} {built.artifact.path}: {report.headline}")
    return built


def _open_input(store: Store, identity: Identity) -> Artifact:
    try:
        return store.open(identity)
    except ArtifactError as error:
        raise ArtifactError(f"input {identity.key} cannot be read: {error}; materialise {identity.key} again") from error
