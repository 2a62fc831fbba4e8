"""What decides the content of a shard, as a name: equal names hold equal documents, today and in a month.

That is the settings of the source that look at single items, the code and the libraries that read them, and for each item
its name and the version of its content.
"""

import hashlib
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

from hephaestus_dag.artifacts import canonical_json
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.record_files import file_of

SELF_CONTAINED = frozenset(
    {
        "html_pages",
        "mcp_tools",
        "python_code",
        "python_comments",
        "python_modules",
        "python_topics",
        "records",
        "text_files",
        "tldr_pages",
        "tool_lists",
        "warc",
    }
)
"""Kinds whose items are files, or pieces of one, and which read nothing beside it: no included file, no licence next to it."""
_ELSEWHERE = {"location", "max_documents", "packages", "weight"}
"""Settings that choose among items or documents: another value leaves what is read from an item as it was."""
_LIBRARIES = ("fastwarc", "resiliparse")
"""Libraries whose version shows in the text that is read."""


def item_versions(source: SourceConfig, items: Sequence[str]) -> list[str]:
    """Return what tells the content of each item from its content at another time.

    Empty where the item's name says that: it carries the version of a package or the revision of a data set. A file has its
    digest, one behind a URL its size and tag. An item that is more than a file stands and falls with its whole source.
    """
    root = source.roots()[0]  # several roots are packages
    if root.pinned:
        return [""] * len(items)
    if source.kind not in SELF_CONTAINED or source.form == "dataset":
        return [root.identity()[1]] * len(items)
    versions = root.versions()
    return [versions.get(file_of(item).removeprefix(f"{root.label}/"), b"gone").hex() for item in items]


def shard_key(source: SourceConfig, reader: str, items: Sequence[str], versions: Sequence[str]) -> str:
    """Return the hash of everything that decides what some items of a source give; ``reader`` is the version of the code."""
    return hashlib.sha256(
        canonical_json(
            {
                "source": source.model_dump(mode="json", exclude=_ELSEWHERE) | {"form": source.form},
                "reader": [reader, *_libraries()],
                "items": [[item, version] for item, version in zip(items, versions, strict=True)],
            }
        ).encode()
    ).hexdigest()


@cache
def _libraries() -> list[str]:
    python = ".".join(platform.python_version_tuple()[:2])
    return [f"python {python}", *(f"{name} {version(name)}" for name in _LIBRARIES)]
