"""Description files, and what their ``$ref`` point at: places in the same file, or in files beside it."""

import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson

from hephaestus_dag.sources.openapi.yaml import YamlError, load_yaml

SUFFIXES = (".json", ".yaml", ".yml")
LARGEST = 200_000_000
"""Bytes of a file above which it is not read (the largest known description has 47 million)."""

_LONGEST_CHAIN = 50


class DescriptionError(ValueError):
    """A file is not JSON or YAML; ``position`` says where."""

    def __init__(self, position: str, reason: str) -> None:
        super().__init__(reason)
        self.position = position


class MalformedError(ValueError):
    """A part of a description is not of the sort that belongs there."""


class UnresolvedError(LookupError):
    """A ``$ref`` points at nothing that can be read."""


class RemoteError(UnresolvedError):
    """A ``$ref`` points at the network."""


def mapping(value: Any, what: str) -> dict[str, Any]:
    """Return an object of a description, empty where it is left out.

    Raises MalformedError when it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is a {type(value).__name__}, not an object")
    return value


def sequence(value: Any, what: str) -> list[Any]:
    """Return a list of a description, empty where it is left out.

    Raises MalformedError when it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedError(f"{what} is a {type(value).__name__}, not a list")
    return value


def text(value: Any) -> str:
    """Return a text of a description, empty where there is none: nothing hangs on a description that is a number."""
    return value if isinstance(value, str) else ""


def load(path: Path) -> tuple[Any, list[tuple[int, str]]]:
    """Return the value of a JSON or YAML file, and the doubled keys of a YAML file: line and key.

    Raises DescriptionError for what is neither, OSError for what cannot be read.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise DescriptionError("file", f"too large: {size} bytes, the limit is {LARGEST}")
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise DescriptionError("file", "empty")
    try:
        return (orjson.loads(content), []) if path.suffix.lower() == ".json" else load_yaml(content)
    except orjson.JSONDecodeError as error:
        raise DescriptionError(f"line {error.lineno}", f"malformed JSON: {error.msg}") from None
    except YamlError as error:
        raise DescriptionError(f"line {error.line}", str(error)) from None


class Files:
    """A description and the files beside it, each read once and only when a reference asks for it."""

    def __init__(self, root: Path, name: str, model: Any) -> None:
        self.root = root.resolve()
        self.folder = posixpath.dirname(name)
        self._models: dict[str, Any] = {"": model}
        self._targets: dict[str, Any] = {}

    def resolve(self, value: Any) -> Any:
        """Return what a value is once references are followed; the value itself when it is none.

        Raises UnresolvedError when a reference points at nothing, or only at others in a circle.
        """
        for _ in range(_LONGEST_CHAIN):
            if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
                return value
            value = self.target(value["$ref"])
        raise UnresolvedError(f"unresolved reference: more than {_LONGEST_CHAIN} in a row")

    def target(self, reference: str) -> Any:
        """Return what a reference points at: ``#/components/schemas/Pet``, ``pet.yaml#/Pet``, ``../pet.json``.

        Raises UnresolvedError when that is nothing, or lies outside the source.
        """
        if reference not in self._targets:
            self._targets[reference] = self._find(reference)
        return self._targets[reference]

    def _find(self, reference: str) -> Any:
        file, _, pointer = reference.partition("#")
        if "://" in file:
            raise RemoteError(f"unresolved reference: {reference} is on the network")
        if file not in self._models:
            self._models[file] = self._load(unquote(file))
        found = self._models[file]
        pointer = unquote(pointer)
        if pointer and pointer[0] != "/":
            raise UnresolvedError(f"unresolved reference: {reference} is no JSON pointer")
        for step in pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (LookupError, TypeError, ValueError):
                raise UnresolvedError(f"unresolved reference: {reference}") from None
        return found

    def _load(self, file: str) -> Any:
        path = self.root / self.folder / file
        try:
            path = path.resolve()
            known = path.is_relative_to(self.root) and path.suffix.lower() in SUFFIXES and path.is_file()
        except (OSError, ValueError):  # what no file system takes for a name
            known = False
        if not known:
            raise UnresolvedError(f"unresolved reference: no file {file} in the source")
        try:
            model, _ = load(path)
        except (DescriptionError, OSError) as error:
            raise UnresolvedError(f"unresolved reference: {file} is unreadable: {error}") from None
        _relate(model, file)
        return model


def _relate(model: Any, file: str) -> None:
    """Rewrite the references of a file beside the description so that they, too, start from the description."""
    pending, seen = [model], set[int]()
    while pending:
        value = pending.pop()
        if id(value) in seen or not isinstance(value, dict | list):
            continue
        seen.add(id(value))  # an alias of YAML is one object in several places
        if isinstance(value, list):
            pending += value
            continue
        pending += value.values()
        reference = value.get("$ref")
        if isinstance(reference, str) and "://" not in reference:
            other, mark, pointer = reference.partition("#")
            place = posixpath.normpath(posixpath.join(posixpath.dirname(file), other)) if other else file
            value["$ref"] = f"{place}{mark}{pointer}"
