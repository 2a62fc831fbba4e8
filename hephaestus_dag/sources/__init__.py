"""Where documents come from: one module per kind of source, each with ``list_items`` and ``read_item``.

A new kind is a new module in ``tools``, ``trajectories``, ``code`` or ``text``; its file name is the name of the kind. An
*item* is the readable origin of one unit of work, such as ``botocore==1.44.5/ec2/2016-11-15``. Kinds are imported on first
use, so that looking at a recipe stays cheap.
"""

import hashlib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from hephaestus_dag.documents import Document, Reject

if TYPE_CHECKING:
    from hephaestus_dag.sources.config import SourceConfig
    from hephaestus_dag.trajectories import Trajectory

FAMILIES = ("code", "text", "tools", "trajectories")
"""Folders beside this file; every module in them is a kind of source of that name."""

KINDS: dict[str, str] = {
    module.name: f"{__name__}.{family}.{module.name}"
    for family in FAMILIES
    for module in pkgutil.iter_modules([str(Path(__file__).parent / family)])
}
"""Kind of source -> the module that reads it."""

TRAJECTORY_KINDS = frozenset(kind for kind, module in KINDS.items() if ".trajectories." in module)
"""Kinds that read trajectories; the others read documents."""


class Kind(Protocol):
    """What the module of a kind offers."""

    def list_items(self, config: "SourceConfig") -> list[str]:
        """Return the units of work of a source, sorted."""
        ...

    def read_item(self, config: "SourceConfig", item: str) -> Iterator[Document | Reject]:
        """Yield what one unit of work holds."""
        ...


def load_kind(kind: str) -> Kind:
    """Import the module of a kind.

    Raises KeyError for a kind that is not in ``KINDS``.
    """
    return cast(Kind, importlib.import_module(KINDS[kind]))


def list_items(config: "SourceConfig") -> list[str]:
    """Return the units of work of a source.

    Raises ValueError when there are none: a source that yields nothing is a mistake in the recipe.
    """
    items = load_kind(config.kind).list_items(config)
    if not items:
        raise ValueError(
            f"source {config.name!r}: nothing of kind {config.kind!r} in {config.where}; correct location, packages or exclude"
        )
    return items


def read_items(config: "SourceConfig", items: Sequence[str]) -> list[Document | Reject]:
    """Read units of work of a source of documents; whatever goes wrong inside one sets that one aside.

    Documents longer than ``config.max_characters`` and empty ones become rejects.
    """
    return [found if isinstance(found, Reject) else bounded(config, found) for found in _read(config, items)]


def read_trajectories(config: "SourceConfig", items: Sequence[str]) -> list["Trajectory | Reject"]:
    """Read units of work of a source of trajectories; whatever goes wrong inside one sets that one aside.

    A trajectory whose calls do not fit its tools, or whose turns make no sense, becomes a reject.
    """
    from hephaestus_dag.sources.dialogues.validation import checked

    return [checked(config, item, found) for item in items for found in _read(config, [item])]


def _read(config: "SourceConfig", items: Sequence[str]) -> Iterator[Any]:
    kind = load_kind(config.kind)
    for item in items:
        try:
            yield from kind.read_item(config, item)
        except Exception as error:  # one bad item is set aside and counted, never the end of the run
            yield Reject(source=config.name, origin=item, position="file", reason=describe(error))


def describe(error: Exception) -> str:
    """Return an error in words, without the path of this machine that an OSError names."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {text}"


def bounded(config: "SourceConfig", document: Document) -> Document | Reject:
    """Return a document, or the reason why its text cannot stay: empty, too long, or not UTF-8."""
    reason = None
    if not document.text.strip():
        reason = "empty"
    elif len(document.text) > config.max_characters:
        reason = f"too large: {len(document.text)} characters, max_characters is {config.max_characters}"
    elif not document.text.isascii():
        try:
            document.text.encode()
        except UnicodeEncodeError as error:  # a lone surrogate can neither be hashed nor stored
            reason = f"not UTF-8: {error.reason} at character {error.start}"
    if reason is None:
        return document
    return Reject(source=document.source, origin=document.origin, position="document", reason=reason)


def sample_ids(ids: Iterable[str], max_documents: int | None, seed: int = 0) -> list[str] | None:
    """Return the ids of at most ``max_documents`` different documents, or None when that is all of them.

    The sample is drawn by a seeded hash of the document id, so it does not depend on the order of reading, and a
    larger sample contains a smaller one. (The plain id decides the held-out split and must not decide this too.)
    """
    given = list(ids)
    if max_documents is None or len(given) <= max_documents:
        return None
    return sorted(set(given), key=partial(_sample_key, seed))[:max_documents]


def _sample_key(seed: int, document_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{document_id}".encode(), digest_size=8).digest()
