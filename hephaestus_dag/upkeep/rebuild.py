"""An asset made once more: in a scratch store, to compare it with what is stored, or in place of what is stored."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hephaestus_dag import events
from hephaestus_dag.artifacts import Store
from hephaestus_dag.identity import Identity
from hephaestus_dag.locks import lock
from hephaestus_dag.manifests import ArtifactError, DamagedArtifactError, read_manifest
from hephaestus_dag.store_contents import find_artifacts, named
from hephaestus_dag.training.follow import MetricsFollower
from hephaestus_dag.training.processes import end_group
from hephaestus_dag.upkeep.compare import FileDifference, compare
from hephaestus_dag.upkeep.verify import verify

if TYPE_CHECKING:
    from hephaestus_dag.definitions import Lineage

Watch = Callable[[dict[str, Any]], None]
"""Is told what `hephaestus_dag.events` says."""
_MATERIALIZE = (
    *(sys.executable, "-m", "dagster", "asset", "materialize", "-m", "hephaestus_dag.definitions"),
    *("--config-json", '{"execution": {"config": {"in_process": {}}}}', "--select"),
)
_MADE_ANEW = ("web_shards",)
_COPIED = ("answers",)


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """An artifact that was made once more."""

    path: Path
    """Of the stored artifact."""
    files: int
    num_bytes: int
    seconds: float
    """Wall time of the run."""
    seconds_before: float | None
    """What the stored artifact took; None when there was none."""
    differences: list[FileDifference] | None
    """Between the stored and the rebuilt artifact; None when there was none, or it could not be read."""


def check_rebuild(lineage: "Lineage", recipe: str, key: str, root: Path, scratch: Path | None, watch: Watch) -> Rebuilt:
    """Make an asset in a scratch store and compare it with the stored artifact, which stays as it is.

    Its inputs are linked, not copied. Models that were converted and environments that were installed are shared, answers of
    annotators are copied so that none is paid twice, and parsed web shards are made again. ``recipe`` is the name or path
    that ``lineage`` was made from, ``scratch`` the folder in which the scratch store is made and removed again.
    Raises ArtifactError when the asset, the stored artifact or an input is not there, or the asset fails.
    """
    store = Store(root)
    target = store.path(lineage.identity(_known(lineage, key)))
    if not target.exists():
        raise ArtifactError(_stale(lineage.identity(key), recipe, root))
    if store.bucket:
        store.bucket.fetch(target)
    manifest = read_manifest(target)
    _check_inputs(lineage, key, root)
    with tempfile.TemporaryDirectory(prefix="hephaestus-rebuild-", dir=scratch) as folder:
        other = Path(folder) / "store"
        _link(lineage, key, root, other)
        started = time.monotonic()
        _run(lineage.assets[key].page, recipe, other, _throw_away_home(Path(folder)), watch)
        rebuilt = other / target.relative_to(root)
        after = read_manifest(rebuilt)
        return Rebuilt(
            path=target,
            files=len(after["files"]),
            num_bytes=sum(entry["size"] for entry in after["files"]),
            seconds=time.monotonic() - started,
            seconds_before=manifest["seconds"],
            differences=compare(target, manifest, rebuilt, after),
        )


def rebuild(lineage: "Lineage", recipe: str, key: str, root: Path, watch: Watch) -> Rebuilt:
    """Make an asset again in its own store.

    The stored artifact, whole or damaged, is put aside until the new one is committed, and back when that fails.
    Raises ArtifactError when the asset or an input is not there, when it is being built at this moment, or when it fails.
    """
    store = Store(root)
    if store.bucket:
        raise ArtifactError(
            f"{store.bucket.bucket.url}: what is whole in object storage is not made again in place; add --check to compare it "
            "with what is made now, or remove it with `hephaestus prune`; what is damaged the next run makes again by itself"
        )
    target = store.path(lineage.identity(_known(lineage, key)))
    _check_inputs(lineage, key, root)
    started = time.monotonic()
    with _aside(root, key, target) as aside, tempfile.TemporaryDirectory() as folder:
        home = Path(os.environ.get("DAGSTER_HOME") or _throw_away_home(Path(folder)))
        home.mkdir(parents=True, exist_ok=True)  # Dagster asks for a folder that is there
        _run(lineage.assets[key].page, recipe, root, home, watch)
        after, before = read_manifest(target), _manifest_if_whole(aside)
        return Rebuilt(
            path=target,
            files=len(after["files"]),
            num_bytes=sum(entry["size"] for entry in after["files"]),
            seconds=time.monotonic() - started,
            seconds_before=before["seconds"] if before else None,
            differences=compare(aside, before, target, after) if before else None,
        )


@contextmanager
def _aside(root: Path, key: str, target: Path) -> Iterator[Path]:
    aside = target.with_name(f".aside-{target.name}")
    with lock(root, key, target.name, wait=False):
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)  # of an earlier rebuild that was killed once it was done
            target.rename(aside)
    try:
        yield aside
    finally:
        with lock(root, key, target.name):
            if target.exists():
                shutil.rmtree(aside, ignore_errors=True)
            elif aside.exists():
                aside.rename(target)


def _stale(identity: Identity, recipe: str, root: Path) -> str:
    """Say what is in the store instead of the artifact that an asset has today."""
    build = f"build it first with `hephaestus run {recipe}`"
    others = (
        [f"{identity.key}@{path.name}" for path in find_artifacts(root, identity.key)] if (root / identity.key).is_dir() else []
    )
    if not others:
        return f"{identity.key} is not in the store yet; {build}"
    reasons = Store(root).explain(identity)
    more = f" and {len(reasons) - 4} more" if len(reasons) > 4 else ""
    return (
        f"{identity.key} as today's code and the recipe {recipe} make it is not in the store: {'; '.join(reasons[:4])}{more}.\n"
        f"What is there ({', '.join(others[-3:])}) can only be made again with the code and the recipe that made it; "
        f"to compare two builds of today's, {build}"
    )


def _manifest_if_whole(folder: Path) -> dict[str, Any] | None:
    try:
        return read_manifest(folder)
    except ArtifactError:
        return None


def _known(lineage: "Lineage", key: str) -> str:
    if key not in lineage.assets:
        near = [name for name in lineage.assets if key in name.split("/")] or get_close_matches(key, lineage.assets, 5, 0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else f"; it has {', '.join(lineage.assets)}"
        raise ArtifactError(f"the recipe {lineage.recipe.name} has no asset {key}{hint}")
    return key


def _check_inputs(lineage: "Lineage", key: str, root: Path) -> None:
    """Raise ArtifactError unless all that a run of the asset reads is there whole."""
    names = {*lineage.assets[key].inputs, *lineage.assets[lineage.assets[key].page].inputs} - {key}
    folders = {name: Store(root).path(lineage.identity(name)) for name in sorted(names)}
    if missing := [name for name, folder in folders.items() if not folder.is_dir()]:
        raise ArtifactError(
            f"{key} is made from {', '.join(missing)}, not in the store {named(root)}; build it first: hephaestus run"
        )
    if bucket := Store(root).bucket:
        for folder in folders.values():
            bucket.fetch(folder)  # raises DamagedArtifactError
    elif damages := verify(root, list(folders.values())).damages:
        found = "\n".join(f"{damage.path} {damage.problem}; {damage.remedy}" for damage in damages)
        raise DamagedArtifactError(f"{key} is made from what is damaged:\n{found}")


def _link(lineage: "Lineage", key: str, root: Path, scratch: Path) -> None:
    """Give a scratch store all artifacts of a lineage that are there, but the one to be made, and the cache."""
    for name in lineage.assets:
        folder = Store(root).path(lineage.identity(name))
        if name != key and folder.is_dir():
            link = scratch / folder.relative_to(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder)
    cache = scratch / ".cache"
    cache.mkdir(parents=True)
    for entry in (root / ".cache").iterdir() if (root / ".cache").is_dir() else ():
        if entry.name in _COPIED:
            shutil.copytree(entry, cache / entry.name)
        elif entry.name not in _MADE_ANEW:
            (cache / entry.name).symlink_to(entry)


def _throw_away_home(folder: Path) -> Path:
    """Return a home for Dagster whose history nobody sees."""
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: { enabled: false }\n")
    return home


def _run(page: str, recipe: str, store: Path, home: Path, watch: Watch) -> None:
    """Materialise an asset in a process of its own. Raises ArtifactError, with what went wrong, when it fails."""
    command = [*_MATERIALIZE, page]
    descriptor, name = tempfile.mkstemp(prefix="hephaestus-rebuild-", suffix=".log")
    log, event_file = Path(name), home / f"{Path(name).stem}.events.jsonl"
    follower = MetricsFollower(event_file)
    event_file.touch()
    environment = {"HEPHAESTUS_STORE": str(store), "HEPHAESTUS_RECIPE": recipe, "DAGSTER_HOME": str(home.absolute())}
    environment = {**os.environ, **environment, events.VARIABLE: str(event_file.absolute())}
    failure, ended = "", False
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing outlives this process
    with os.fdopen(descriptor, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
    try:
        while not ended:
            ended = process.poll() is not None
            for event in follower.new_lines():
                watch(event)
                failure = event["headline"] if event["event"] == "failed" else failure
            time.sleep(0 if ended else 0.1)
    finally:
        if process.poll() is None:
            end_group(process, patience=20)
        if not ended:
            log.unlink()
        event_file.unlink()
        signal.signal(signal.SIGTERM, before)
    if process.returncode:
        failure = failure or "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise ArtifactError(f"{page} could not be made again: {failure}\nDagster's log: {log}")
    log.unlink()
