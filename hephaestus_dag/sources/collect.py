"""Read all sources of one kind of document into one folder, in parallel, and count what was found."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from hephaestus_dag.documents import Document, DocumentWriter, Reject
from hephaestus_dag.sources import chunk, describe, keep_sample, list_items, load_kind, read_items
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.trajectories import Trajectory, write_trajectories

Progress = Callable[[int, int], None] | None


class MapOver(Protocol):
    """Runs a picklable function over items, on one machine or many, and gives the results in order."""

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any], progress: Progress = None) -> Iterator[Any]:
        """Yield ``function(item)`` for every item."""
        ...


@dataclass(kw_only=True)
class Collected:
    """What reading the sources found and what was kept of it."""

    num_parsed: int = 0
    """Documents read, before sampling."""
    num_documents: int = 0
    """Documents kept."""
    num_characters: int = 0
    num_rejects: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    sources: list[dict[str, Any]] = field(default_factory=list)
    """Per source: items, documents parsed and kept, rejects."""
    reject_reasons: Counter[str] = field(default_factory=Counter)
    sample: list[dict[str, str]] = field(default_factory=list)
    """The beginning of the first documents of each source."""


def collect_documents(sources: Sequence[SourceConfig], folder: Path, map_over: MapOver, progress: Progress = None) -> Collected:
    """Write the documents of all sources into `folder`; a source's sample is drawn from all that it holds."""
    collected = Collected()
    with DocumentWriter(folder) as writer:
        for source in sources:
            items = list_items(source)
            chunks = chunk(items, max(1, len(items) // 64))
            found = [item for part in map_over(partial(read_items, source), chunks, progress) for item in part]
            _add(collected, writer, source, len(items), found, keep_sample(found, source.max_documents))
    return _finish(collected, writer)


def collect_trajectories(
    sources: Sequence[SourceConfig],
    synthetic: Iterable[Trajectory],
    folder: Path,
    map_over: MapOver,
    progress: Progress = None,
) -> Collected:
    """Write recorded and synthetic trajectories as documents, and in structured form beside them."""
    collected = Collected()
    kept: dict[str, Trajectory] = {}
    with DocumentWriter(folder) as writer:
        for source in sources:
            items = list_items(source)
            chunks = chunk(items, max(1, len(items) // 64))
            found = [item for part in map_over(partial(read_trajectories, source), chunks, progress) for item in part]
            trajectories = {t.to_document().id: t for t in found if isinstance(t, Trajectory)}
            documents = [item.to_document() if isinstance(item, Trajectory) else item for item in found]
            sample = keep_sample(documents, source.max_documents)
            kept |= {d.id: trajectories[d.id] for d in sample if isinstance(d, Document)}
            _add(collected, writer, source, len(items), documents, sample)
        made = list(synthetic)
        kept |= {t.to_document().id: t for t in made}
        writer.write(t.to_document() for t in made)
        if made:
            collected.sources.append({"source": "synthetic", "kind": "synthetic_calls", "parsed": len(made), "kept": len(made)})
    write_trajectories(folder / "trajectories.parquet", list(kept.values()))
    return _finish(collected, writer)


def read_trajectories(config: SourceConfig, items: Sequence[str]) -> list[Trajectory | Reject]:
    """Read units of work of a trajectory source; whatever goes wrong inside one sets that one aside."""
    kind: Any = load_kind(config.kind)
    found: list[Trajectory | Reject] = []
    for item in items:
        try:
            found += kind.read_item(config, item)
        except Exception as error:  # one bad item is set aside and counted, never the end of the run
            found.append(Reject(source=config.name, origin=item, position="file", reason=describe(error)))
    return found


def _add(
    collected: Collected,
    writer: DocumentWriter,
    source: SourceConfig,
    num_items: int,
    found: Sequence[Document | Reject],
    sample: Sequence[Document | Reject],
) -> None:
    writer.write(sample)
    parsed = sum(isinstance(item, Document) for item in found)
    kept = [item for item in sample if isinstance(item, Document)]
    collected.num_parsed += parsed
    collected.sources.append(
        {
            "source": source.name,
            "kind": source.kind,
            "items": num_items,
            "parsed": parsed,
            "kept": len(kept),
            "set aside": len(found) - parsed,
        }
    )
    collected.sample += [
        {"origin": document.origin, "license": document.license, "text": document.text[:200]} for document in kept[:3]
    ]


def _finish(collected: Collected, writer: DocumentWriter) -> Collected:
    collected.num_documents = writer.num_documents
    collected.num_characters = writer.num_characters
    collected.num_rejects = len(writer.rejects)
    collected.by_kind = writer.by_kind
    collected.reject_reasons = Counter(reject.reason.split(":")[0] for reject in writer.rejects)
    return collected
