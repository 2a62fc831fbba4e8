"""The sample of web pages that is annotated: equal parts from every stratum of retrieval scores and from the rest.

Within a stratum the pages are drawn by a hash of their id, and the strata take turns. So a smaller sample is the beginning of
a larger one, and most of a sample stays as it is when the web corpus grows: answers that were paid for serve again.
"""

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.documents import read_document_table, read_documents
from hephaestus_dag.quality.config import AnnotationConfig

NOT_RETRIEVED = "not retrieved"


def strata_names(num_strata: int) -> list[str]:
    """Return the names of the strata, highest scores first, and of the pages that were not retrieved."""
    return [*(f"score {number} of {num_strata}" for number in range(1, num_strata + 1)), NOT_RETRIEVED]


def draw_sample(web_corpus: Path, retrieved: Path, config: AnnotationConfig) -> dict[str, str]:
    """Return document id → stratum for the pages to annotate, in the order in which they are drawn.

    The retrieved pages form strata of equal size by best score. What a small stratum lacks, the others give. Raises ValueError
    when pages were retrieved that the web corpus does not hold.
    """
    table = pq.read_table(retrieved, columns=["document_id", "best_score"])
    table = table.sort_by([("best_score", "descending"), ("document_id", "ascending")])
    found, everything = table["document_id"], read_document_table(web_corpus, ["id"])["id"].unique()
    if strangers := table.filter(~pc.field("document_id").isin(everything))["document_id"].to_pylist():
        raise ValueError(f"{retrieved.name} names documents that the web corpus lacks, such as {min(strangers)}")
    others = pa.table({"id": everything}).filter(~pc.field("id").isin(found.combine_chunks()))["id"]
    *names, rest = strata_names(config.num_strata)
    edges = [len(found) * number // config.num_strata for number in range(config.num_strata + 1)]
    members = {name: found.slice(start, end - start) for name, start, end in zip(names, edges, edges[1:], strict=False)}
    drawn = {name: draw(_values(ids), config.num_samples, config.seed) for name, ids in {**members, rest: others}.items()}
    return dict(islice(take_turns(drawn), config.num_samples))


def draw(ids: Iterable[str], count: int, seed: int) -> list[str]:
    """Return ``count`` ids (all, when there are fewer) by the hash of seed and id, least first."""
    return heapq.nsmallest(count, ids, key=lambda identity: hashlib.blake2b(f"{seed} {identity}".encode()).digest())


def take_turns(strata: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield (id, stratum), one of each stratum in turn; a stratum that has run out is passed over."""
    for row in zip_longest(*strata.values()):
        yield from ((identity, name) for name, identity in zip(strata, row, strict=True) if identity is not None)


def read_texts(documents: Path, wanted: Iterable[str]) -> dict[str, str]:
    """Return id → text for the wanted ids, in their order."""
    ids, texts = list(wanted), dict[str, str]()
    is_wanted = pc.field("id").isin(pa.array(ids, pa.string()))
    for batch in read_documents(documents, ["id", "text"]):
        rows = pa.Table.from_batches([batch]).filter(is_wanted)
        texts |= zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True)
    return {identity: texts[identity] for identity in ids}


def _values(ids: pa.ChunkedArray) -> Iterator[str]:
    """Yield values without making all of them Python objects at once."""
    for start in range(0, len(ids), 65_536):
        yield from ids.slice(start, 65_536).to_pylist()
