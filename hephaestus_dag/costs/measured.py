"""What artifacts in a store tell about a recipe: those that were made from its values, whichever code made them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hephaestus_dag.artifacts import MANIFEST
from hephaestus_dag.costs.book import Measured
from hephaestus_dag.costs.sizes import CHARACTERS_PER_TOKEN
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_checks import SOURCES
from hephaestus_dag.scaling.sweep import plan_starts, plan_sweep

Manifest = dict[str, Any]


def measured_artifacts(store: Path, recipe: Recipe, keys: Iterable[str]) -> dict[str, Measured]:
    """Return what the newest artifact of each key holds, of those that `agreeing_artifacts` finds."""
    return {key: _sizes(manifest) for key, manifest in agreeing_artifacts(store, recipe, keys).items()}


def agreeing_artifacts(store: Path, recipe: Recipe, keys: Iterable[str]) -> dict[str, Manifest]:
    """Return the manifest of the newest artifact of each key, of those whose recipe values, and those of all their inputs,
    agree.

    Versions of code, packages and models are not compared: an artifact of another version still tells the size.
    """
    agreeing = _Agreeing(store, recipe)
    found = {}
    for key in keys:
        paths = sorted((store / key).glob(f"[0-9a-f]*/{MANIFEST}"), key=lambda path: path.stat().st_mtime, reverse=True)
        manifest = next((each for path in paths if (each := agreeing.manifest(key, path.parent.name))), None)
        if manifest:
            found[key] = manifest
    return found


class _Agreeing:
    """Finds manifests that agree with a recipe."""

    def __init__(self, store: Path, recipe: Recipe) -> None:
        self.store, self.recipe = store, recipe
        sweep = recipe.scaling_law.sweep
        planned = {"proxy_backbones": plan_starts(sweep), "proxy_runs": plan_sweep(sweep)}
        self.cells = {f"{key}/{cell.name}": cell.model_dump(mode="json") for key, cells in planned.items() for cell in cells}
        self.known: dict[tuple[str, str], Manifest | None] = {}

    def manifest(self, key: str, fingerprint: str) -> Manifest | None:
        """Return the manifest of an artifact that agrees, inputs included; else None."""
        if (key, fingerprint) not in self.known:
            self.known[key, fingerprint] = self._read(key, fingerprint)
        return self.known[key, fingerprint]

    def _read(self, key: str, fingerprint: str) -> Manifest | None:
        try:
            text = (self.store / key / fingerprint / MANIFEST).read_text()
            manifest = json.loads(text.rpartition("\n")[0])
            identity = manifest["identity"]
        except (OSError, ValueError, KeyError):
            return None
        agrees = all(self._agrees(key, name, value) for name, value in identity["values"].items())
        inputs = identity["inputs"].items()
        return manifest if agrees and all(self.manifest(name, made[:12]) for name, made in inputs) else None

    def _agrees(self, key: str, name: str, value: Any) -> bool:
        """Compare one value of an identity with the recipe; what the recipe does not say agrees."""
        if name == "cell":
            return value == self.cells.get(key)
        for section in map(".".join, SOURCES):
            sources = {source.name: source for source in self.recipe.section(section)}
            if name == section:
                return value == list(sources)
            if name.startswith(f"{section}."):
                source = sources.get(name.removeprefix(f"{section}."))
                said = source.model_dump(mode="json", exclude={"location", "weight"}) if source else None
                return isinstance(value, dict) and said == {field: each for field, each in value.items() if field != "input"}
        if name.partition(".")[0] not in type(self.recipe).model_fields:
            return True
        try:
            return value == self.recipe.value(name)
        except (AttributeError, KeyError, TypeError):
            return False


def _sizes(manifest: Manifest) -> Measured:
    report = manifest["report"]
    figures = report["figures"]
    tokens, characters = figures.get("tokens", figures.get("tokens_in")), figures.get("characters")
    return Measured(
        documents=report["rows"],
        tokens=float(tokens) if tokens is not None else characters / CHARACTERS_PER_TOKEN if characters is not None else None,
        num_bytes=sum(file["size"] for file in manifest["files"]),
        seconds=manifest["seconds"],
    )
