"""Removes near-duplicates across all sources: MinHash bands propose pairs, the exact Jaccard similarity decides.

There are two phases. `signatures` is a function of one batch of documents, to be mapped over shards by any number of
processes. `find_near_duplicates` sees the signatures of the whole corpus (about 120 bytes a document), reads the documents
that share a band with another once more, and decides.

Documents are visited in a fixed order: the longest first, of equally long ones the smallest id first. One is removed when its
exact similarity with a document that was visited before *and is kept* reaches the threshold; that one represents it. So a
cluster is a star around its longest document, a chain of similar documents never takes out one that is unlike what is kept,
and neither the order of the input nor the number of workers changes the result. Documents that are *known* are kept whatever
they resemble, and come first.

Thousands of documents may share a band (boilerplate). Each is then compared with at most ``most_compared`` kept ones: those
that share the most bands, of equals the closest in length. Pairs grow with the documents, not with their square.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hephaestus_dag.curation.config import NearDuplicateConfig
from hephaestus_dag.curation.ids import look_up, packed, unpacked
from hephaestus_dag.curation.removed import Verdict, part
from hephaestus_dag.curation.shingles import ShingleFile, Shingles, chunks, jaccard

CLUSTER_SCHEMA = pa.schema([("cluster", pa.string()), ("document_id", pa.string()), ("jaccard", pa.float64())])


def signature_schema(config: NearDuplicateConfig) -> pa.Schema:
    """Return the schema of signatures: 120 bytes a document with the defaults."""
    bands = pa.list_(pa.uint32(), config.num_bands)
    return pa.schema([("document_id", pa.binary(16)), ("characters", pa.int32()), ("bands", bands)])


@dataclass(frozen=True)
class NearDuplicates:
    """What `find_near_duplicates` decided; as a step of curation it removes every document but the representatives."""

    clusters: pa.Table
    """Rows of ``CLUSTER_SCHEMA``, one per document that has a near-duplicate: id of the cluster's representative, id of the
    document, their exact similarity (1 in the representative's own row, which comes first). Sorted by cluster and document."""
    num_documents: int
    """Signatures that were given."""
    num_candidates: int
    """Different documents that share a band with another."""
    num_compared: int
    """Pairs whose exact similarity was computed."""
    name: str = "near_duplicates"

    @property
    def removed(self) -> dict[str, tuple[str, float]]:
        """Representative and similarity of each removed document, by id."""
        clusters, ids, similarities = (column.to_pylist() for column in self.clusters.columns)
        return {i: (cluster, s) for cluster, i, s in zip(clusters, ids, similarities, strict=True) if i != cluster}

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows whose evidence is the kept document and the similarity with it."""
        ids, rows = self._removed_rows
        places, there = look_up(ids, packed(batch.column("id")))
        verdicts: list[Verdict | None] = [None] * batch.num_rows
        for row, by in zip(there.tolist(), self.clusters.take(pa.array(rows[places])).to_pylist(), strict=True):
            verdicts[row] = Verdict("near duplicate", f"{by['cluster']} (Jaccard {by['jaccard']:.3f})")
        return part(batch, self.name, verdicts)

    @cached_property
    def _removed_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the removed documents, sorted, and their rows in the clusters: 24 bytes each."""
        found, rows, first = [np.empty(0, "S16")], [np.empty(0, np.int64)], 0
        for batch in self.clusters.to_batches(65_536):
            ids = packed(batch.column("document_id"))
            removed = np.flatnonzero(ids != packed(batch.column("cluster")))
            found.append(ids[removed])
            rows.append(removed + first)
            first += batch.num_rows
        ids = np.concatenate(found)
        order = np.argsort(ids)
        return ids[order], np.concatenate(rows)[order]


def signatures(batch: pa.RecordBatch, config: NearDuplicateConfig) -> pa.RecordBatch:
    """Return the signatures of a batch with columns ``id`` and ``text``, as `signature_schema` has them.

    Documents with fewer than ``n_gram`` words have none.
    """
    texts: list[str] = batch.column("text").to_pylist()
    bands, has_shingles = band_hashes(texts, config)
    short = (bands >> np.uint64(32)).astype(np.uint32)
    columns = [
        _binary_ids(batch.column("id")),
        pa.array([len(text) for text in texts], pa.int32()),
        pa.FixedSizeListArray.from_arrays(pa.array(short.reshape(-1)), config.num_bands),
    ]
    return pa.record_batch(columns, schema=signature_schema(config)).filter(pa.array(has_shingles))


def band_hashes(texts: Sequence[str], config: NearDuplicateConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return the 64-bit hashes of the bands of texts, of shape (texts, bands), and which texts have any."""
    bands, has_shingles = [np.zeros((0, config.num_bands), np.uint64)], [np.zeros(0, np.bool_)]
    for chunk in chunks(texts):
        shingles = Shingles.of(chunk, config.n_gram)
        bands.append(shingles.bands(config.num_bands, config.rows_per_band))
        has_shingles.append(np.diff(shingles.offsets) > 0)
    return np.concatenate(bands), np.concatenate(has_shingles)


def find_near_duplicates(
    signature_batches: Iterable[pa.RecordBatch],
    read_documents: Callable[[], Iterable[pa.RecordBatch]],
    config: NearDuplicateConfig,
    scratch: Path | None = None,
    known: Iterable[str] = (),
) -> NearDuplicates:
    """Find the near-duplicates among all documents that have signatures; those with the ids ``known`` all stay.

    ``read_documents`` yields the same documents again (columns ``id`` and ``text``; others are passed over). It is called
    once, and not at all when no two documents share a band. The shingles of those that do go into an unnamed file in
    ``scratch`` (None: the system's folder for temporary files) of about the size of their texts. Copies of one text count
    as one document. Raises ValueError when a document does not come again.
    """
    known_ids = np.frombuffer(bytes.fromhex("".join(known)), "S16")
    candidates = _Candidates.among(signature_batches, config.num_bands, known_ids)
    ids = candidates.ids
    with tempfile.TemporaryFile(dir=scratch) as handle:
        shingles = ShingleFile(handle, len(ids))
        if len(ids):
            _put_shingles(shingles, ids, read_documents(), config.n_gram)
            handle.flush()
        representatives, similarities, num_compared = _representatives(candidates, shingles, config)
    removed = np.flatnonzero(representatives >= 0)
    kept = np.unique(representatives[removed])
    columns = [
        pa.array(unpacked(ids[np.concatenate([kept, representatives[removed]])]), pa.string()),
        pa.array(unpacked(ids[np.concatenate([kept, removed])]), pa.string()),
        pa.array(np.concatenate([np.ones(len(kept)), similarities[removed]]), pa.float64()),
        pa.array(np.repeat([0, 1], [len(kept), len(removed)])),
    ]
    clusters = pa.table(columns, [*CLUSTER_SCHEMA.names, "place"])
    clusters = clusters.sort_by([("cluster", "ascending"), ("place", "ascending"), ("document_id", "ascending")])
    return NearDuplicates(clusters.select(CLUSTER_SCHEMA.names), candidates.num_documents, len(ids), num_compared)


class _Candidates(NamedTuple):
    """The documents that share a band with another, in the order of visits; all arrays have one row for each."""

    num_documents: int
    ids: np.ndarray
    buckets: np.ndarray
    """Of shape (documents, bands). A bucket is a value of a band that several documents have, numbered from 1; 0 is none."""
    capacities: np.ndarray
    """Documents in each bucket; none in bucket 0."""
    known: np.ndarray
    """Which documents stay in any case."""

    @classmethod
    def among(cls, batches: Iterable[pa.RecordBatch], num_bands: int, known_ids: np.ndarray) -> "_Candidates":
        columns = bytearray(), bytearray(), bytearray()
        for batch in batches:
            for column, values in zip(columns, batch.columns, strict=True):
                column += _content(values.flatten() if pa.types.is_fixed_size_list(values.type) else values)
        ids, characters = np.frombuffer(columns[0], "S16"), np.frombuffer(columns[1], np.int32)
        buckets = np.frombuffer(columns[2], np.uint32).reshape(-1, num_bands)
        capacities = [np.zeros(1, np.int64)]
        num_buckets = 0
        for band in range(num_bands if len(ids) else 0):
            order = np.argsort(buckets[:, band])
            values = buckets[order, band]
            sizes = np.diff(np.flatnonzero(values[1:] != values[:-1]) + 1, prepend=0, append=len(values))
            shared = sizes > 1
            buckets[order, band] = np.repeat(np.where(shared, num_buckets + np.cumsum(shared), 0), sizes)
            capacities.append(sizes[shared])
            num_buckets += len(capacities[-1])
        rows = np.flatnonzero(buckets.any(axis=1))
        known = np.isin(ids, known_ids)
        rows = rows[np.lexsort((ids[rows], -characters[rows], ~known[rows]))]
        fresh = np.ones(len(rows), np.bool_)
        fresh[1:] = ids[rows[1:]] != ids[rows[:-1]]
        rows = rows[fresh]
        return cls(len(ids), ids[rows], buckets[rows], np.concatenate(capacities), known[rows])


def _put_shingles(shingles: ShingleFile, ids: np.ndarray, batches: Iterable[pa.RecordBatch], n_gram: int) -> None:
    """Put the shingles of the documents that have one of the ids; their rows are the places of the ids."""
    order = np.argsort(ids)
    for batch in batches:
        found = packed(batch.column("id"))
        places = order[np.minimum(np.searchsorted(ids, found, sorter=order), len(ids) - 1)]
        wanted = ids[places] == found
        rows = iter(places[wanted].tolist())
        for chunk in chunks(batch.column("text").filter(pa.array(wanted)).to_pylist()):
            for hashes in Shingles.of(chunk, n_gram).sets():
                shingles.put(next(rows), hashes)
    if missing := np.flatnonzero(shingles.sizes == 0).tolist():
        raise ValueError(
            f"{len(missing)} documents with signatures were not read again, such as {unpacked(ids[missing[:1]])[0]}"
        )


def _representatives(
    candidates: _Candidates, shingles: ShingleFile, config: NearDuplicateConfig
) -> tuple[np.ndarray, np.ndarray, int]:
    """Visit documents in order; return the row of each one's representative (-1: it is kept), the similarity, and the pairs.

    ``members`` holds the kept documents of every bucket, each bucket in a stretch of its own that begins at ``starts``.
    """
    buckets, capacities = candidates.buckets, candidates.capacities
    starts = np.cumsum(capacities) - capacities
    counts = np.zeros(len(capacities), np.int32)
    members = np.zeros(int(capacities.sum()), np.uint32)
    representatives, similarities = np.full(len(buckets), -1, np.int64), np.zeros(len(buckets))
    num_compared = 0
    for row, own in enumerate(buckets):
        own = own[own > 0]
        ends = starts[own] + counts[own]
        # The kept documents that came last into a bucket are the closest in length.
        begins = np.maximum(starts[own], ends - config.most_compared).tolist()
        near = [members[begin:end] for begin, end in zip(begins, ends.tolist(), strict=True) if end > begin]
        if near and not candidates.known[row]:
            hashes = shingles.get(row)
            for other in _most_alike(np.concatenate(near), row, shingles.sizes, config):
                num_compared += 1
                similarity = jaccard(hashes, shingles.get(other))
                if similarity >= config.min_jaccard:
                    representatives[row], similarities[row] = other, similarity
                    break
        if representatives[row] < 0:
            members[ends] = row
            counts[own] += 1
    return representatives, similarities, num_compared


def _most_alike(near: np.ndarray, row: int, sizes: np.ndarray, config: NearDuplicateConfig) -> list[int]:
    """Return the documents to compare a row with: of those whose size allows it, those with the most bands in common."""
    others, bands = np.unique(near, return_counts=True)
    possible = np.minimum(sizes[others], sizes[row]) / np.maximum(sizes[others], sizes[row]) >= config.min_jaccard
    others, bands = others[possible], bands[possible]
    return others[np.lexsort((-others.astype(np.int64), -bands))][: config.most_compared].tolist()


def _binary_ids(ids: pa.Array) -> pa.Array:
    digits = bytes.fromhex("".join(ids.to_pylist()))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(ids), [None, pa.py_buffer(digits)])


def _content(values: pa.Array) -> memoryview:
    """Return the bytes of an array of fixed width without nulls."""
    width = values.type.bit_width // 8
    buffer = values.buffers()[1]
    return memoryview(buffer)[values.offset * width : (values.offset + len(values)) * width] if buffer else memoryview(b"")
