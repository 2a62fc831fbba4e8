"""How the artifacts of a recipe stand in a store: which are there, which will be built, and which fields that is because of.

Nothing is hashed: an artifact counts as there when its manifest is sealed and its files have their sizes, however large
the store is. ``hephaestus verify`` checks the bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from hephaestus_dag.bucket_store import BucketStore
from hephaestus_dag.identity import Identity, differences
from hephaestus_dag.manifests import (
    MANIFEST,
    ArtifactError,
    DamagedArtifactError,
    MissingArtifactError,
    read_manifest,
    wrong_files,
)
from hephaestus_dag.sources.reading.distributions import MissingPackageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a run will do about an asset, and why."""

    action: Literal["reuse", "rebuild", "build", "unknown"]
    reasons: tuple[str, ...] = ()
    """What changed in the asset itself, a field each."""
    causes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Asset that it depends on -> what changed in that one."""
    compared: Path | None = None
    """The artifact in the store that these are the changes since: the one most alike, the newest of such."""


def standings(
    store: Path,
    inputs: Mapping[str, Sequence[str]],
    identify: Callable[[str], Identity],
    missing: Mapping[str, str],
    incomplete: bool,
) -> dict[str, Standing]:
    """Return how every asset stands, by key.

    ``inputs`` are those of every asset, ``missing`` says which of them read something that is not here: their identities,
    and those of all that follows, cannot be known. An error of ``identify`` is such a reason only where the recipe is
    ``incomplete``, that is, where any of its inputs is missing.
    """
    reader = _Reader(store)
    found: dict[str, Standing] = {}

    def stand(key: str) -> Standing:
        if key not in found:
            for name in inputs[key]:
                stand(name)
            found[key] = judge(key)
        return found[key]

    def judge(key: str) -> Standing:
        if key in missing:
            return Standing(action="unknown", reasons=(missing[key],))
        if unknown := [name for name in inputs[key] if found[name].action == "unknown"]:
            return Standing(action="unknown", reasons=(f"what {', '.join(unknown)} will be is not known",))
        try:
            identity = identify(key)
        except (ImportError, MissingPackageError, OSError, ValueError) as error:
            if not incomplete:
                raise
            return Standing(action="unknown", reasons=(str(error),))
        reader.identities[key] = identity
        return reader.standing(identity)

    for key in inputs:
        stand(key)
    return found


class _Reader:
    """Reads manifests, each once."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.bucket = BucketStore.of(store)
        if self.bucket:
            self.bucket.mirror()
        self.identities: dict[str, Identity] = {}
        self._manifests: dict[Path, dict[str, Any]] = {}
        self._causes: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}

    def standing(self, identity: Identity) -> Standing:
        """Return how an artifact stands whose inputs are known."""
        path = self.store / identity.key / identity.fingerprint[:12]
        try:
            manifest = self._manifest(path)
            if manifest["fingerprint"] != identity.fingerprint:
                return Standing(action="rebuild", reasons=(f"{path} holds another artifact",))
            found = self.bucket.wrong_files(path, manifest) if self.bucket else wrong_files(path, manifest)
            wrong = [f"{file} {problem}" for file, problem in found]
            return Standing(action="rebuild", reasons=tuple(wrong)) if wrong else Standing(action="reuse")
        except DamagedArtifactError as error:
            return Standing(action="rebuild", reasons=(str(error),))
        except MissingArtifactError:
            return self._why(identity)

    def _why(self, identity: Identity) -> Standing:
        """Compare with the artifact in the store that differs least, the newest of such."""
        folders = [path.parent for path in (self.store / identity.key).glob(f"[0-9a-f]*/{MANIFEST}")]
        earlier = []
        for folder in sorted(folders, key=lambda folder: (folder / MANIFEST).stat().st_mtime, reverse=True):
            try:
                earlier.append((folder, self._manifest(folder)["identity"]))
            except ArtifactError:
                continue
        if not earlier:
            return Standing(action="build", reasons=("first build",))
        folder, before = min(earlier, key=lambda each: len(differences(each[1], asdict(identity))))
        own, causes = self._changes(before, identity)
        reasons = own if own or causes else ("the artifact was removed",)
        return Standing(action="rebuild", reasons=reasons, causes=causes, compared=folder)

    def _changes(self, before: dict[str, Any], after: Identity) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Return what changed between two identities of an asset: in itself, and in each asset that it depends on."""
        now = {"code": after.code, "values": after.values}
        own = differences({"code": before["code"], "values": before["values"]}, now)
        own += [f"input {name} is new" for name in after.inputs if name not in before["inputs"]]
        own += [f"input {name} is none any more" for name in before["inputs"] if name not in after.inputs]
        causes: dict[str, tuple[str, ...]] = {}
        for name, fingerprint in after.inputs.items():
            old = before["inputs"].get(name, fingerprint)
            if old != fingerprint:
                causes |= self._caused(name, old)
        return tuple(own), causes

    def _caused(self, key: str, old: str) -> dict[str, tuple[str, ...]]:
        """Return what changed in an input, and in what it depends on, since it had another fingerprint."""
        if (key, old) not in self._causes:
            try:
                own, causes = self._changes(self._manifest(self.store / key / old[:12])["identity"], self.identities[key])
                self._causes[key, old] = {**({key: own} if own else {}), **causes}
            except ArtifactError:
                self._causes[key, old] = {key: ("changed; what it was before is not in the store any more",)}
        return self._causes[key, old]

    def _manifest(self, path: Path) -> dict[str, Any]:
        if path not in self._manifests:
            self._manifests[path] = read_manifest(path)
        return self._manifests[path]
