"""Near-duplicates of a corpus whose signatures do not fit into memory: bundles of components, each settled by one worker.

Components of documents that share a band (see `components`) are dealt to bundles. The texts of each bundle's documents are
brought together, and `find_near_duplicates` decides about them as it does about a whole corpus. The clusters are the same:
nothing that it decides about a document depends on other components. A worker holds its bundle, and a component is never
divided.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.curation.components import EDGE, ENTRY, Sent, components, least
from hephaestus_dag.curation.config import NearDuplicateConfig
from hephaestus_dag.curation.ids import first_half, look_up, packed, unpacked
from hephaestus_dag.curation.near_duplicates import (
    CLUSTER_SCHEMA,
    NearDuplicates,
    band_hashes,
    find_near_duplicates,
    signatures,
)
from hephaestus_dag.map_over import MapOver
from hephaestus_dag.shuffle import Exchange, exchange, in_groups, parts_for
from hephaestus_dag.whole_folder import whole_folder

TEXT_BYTES = 400_000_000
"""Documents whose texts a worker deals to bundles at a time; it holds them twice."""
ROW_GROUP = 1_048_576
"""Rows of a batch of clusters, as many as of a row group in Parquet: other batches would make other bytes of the same rows."""
COUNTS = b"candidates", b"compared"
APART = np.uint64(0x9E3779B97F4A7C15)
"""What keeps equal values of different bands apart."""
MEMBER = np.dtype([("cluster", "S16"), ("document_id", "S16"), ("jaccard", "f8")])


def find_in_bundles(
    documents: Sequence[Path],
    known: Sequence[Path],
    work: Path,
    config: NearDuplicateConfig,
    map_over: MapOver,
) -> NearDuplicates:
    """Find the near-duplicates among the documents of ``known``, which all stay, and of ``documents``.

    What is finished lies in ``work``, where a call after a stop finds it: 16 bytes for each band of each document, what
    `components` leaves there, and the texts of the documents that share a band.
    """
    before, new = (in_groups(files, list(map(_num_bytes, files)), TEXT_BYTES) for files in (known, documents))
    groups = list(enumerate([*before, *new]))
    parts = parts_for(sum(pq.read_metadata(file).num_rows for file in [*known, *documents]))
    bands = exchange(_Bands(config, parts), groups, work / "bands", parts, map_over)
    found = components(bands, work, map_over)
    asked = exchange(_Ask(parts), groups, work / "asked", parts, map_over)
    answers = exchange(_Answer(found.edges, asked), range(parts), work / "answers", len(groups), map_over)
    deal = _Deal(answers, parts_for(found.documents), work / "texts")
    for _ in map_over(deal, [group for group in groups if not deal.dealt(group[0]).exists()]):
        pass
    settle = _Settle(deal, len(before), len(groups), config, work / "settled")
    settled = list(map_over(settle, range(deal.bundles)))
    counts = [[int((pq.read_schema(path).metadata)[name]) for name in COUNTS] for path in settled]
    candidates, compared = (sum(each) for each in zip(*counts, strict=True))
    num_documents = bands.num_rows() // config.num_bands
    return NearDuplicates(_in_order(settled, work, map_over), num_documents, candidates, compared)


def _in_order(settled: Sequence[Path], work: Path, map_over: MapOver) -> pa.Table:
    """Sort the clusters of all bundles into a file, and return the table that it maps."""
    sent = exchange(_Members(len(settled)), settled, work / "members", len(settled), map_over)
    waiting = np.empty(0, MEMBER)
    with pa.ipc.new_file(str(work / "clusters.arrow"), CLUSTER_SCHEMA) as writer:
        for rows in map_over(_Sort(sent), range(sent.parts)):
            waiting = np.concatenate([waiting, rows])
            while len(waiting) >= ROW_GROUP:
                writer.write_batch(_batch(waiting[:ROW_GROUP]))
                waiting = waiting[ROW_GROUP:]
        if len(waiting):
            writer.write_batch(_batch(waiting))
    return pa.ipc.open_file(pa.memory_map(str(work / "clusters.arrow"))).read_all()


def _batch(rows: np.ndarray) -> pa.RecordBatch:
    columns = [unpacked(rows["cluster"]), unpacked(rows["document_id"]), rows["jaccard"]]
    return pa.record_batch(columns, schema=CLUSTER_SCHEMA)


def _num_bytes(file: Path) -> int:
    """Return the bytes of a file's documents, or of their bands where these are more."""
    metadata = pq.read_metadata(file)
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return max(size, 800 * metadata.num_rows)


@dataclass(frozen=True)
class _Bands:
    """Sends every band of a group's documents to the part of its value.

    Bands have 64 bits here: with the 32 of a signature each of 170 million documents has one in common with another by
    chance, and most of the corpus would be one component.
    """

    config: NearDuplicateConfig
    parts: int

    def __call__(self, group: tuple[int, Sequence[Path]]) -> Sent:
        found = [np.empty(0, ENTRY)]
        for file in group[1]:
            for batch in pq.ParquetFile(file).iter_batches(4_096, columns=["id", "text"], use_threads=False):
                bands, has_any = band_hashes(batch.column("text").to_pylist(), self.config)
                entries = np.empty((int(has_any.sum()), self.config.num_bands), ENTRY)
                entries["key"] = bands[has_any] + np.arange(self.config.num_bands, dtype=np.uint64) * APART
                entries["node"] = first_half(packed(batch.column("id")))[has_any, None]
                found.append(entries.reshape(-1))
        entries = np.concatenate(found)
        return entries, (entries["key"] >> np.uint64(32)) % np.uint64(self.parts)


@dataclass(frozen=True)
class _Ask:
    """Sends the documents of a group to the parts that know their components."""

    parts: int

    def __call__(self, group: tuple[int, Sequence[Path]]) -> Sent:
        number, files = group
        nodes = first_half(np.concatenate([packed(pq.read_table(file, columns=["id"])["id"]) for file in files]))
        asked = np.empty(len(nodes), EDGE)
        asked["node"], asked["other"] = nodes, number
        return asked, nodes % np.uint64(self.parts)


@dataclass(frozen=True)
class _Answer:
    """Sends back to each group the components of those of its documents that are in one."""

    edges: Exchange
    asked: Exchange

    def __call__(self, number: int) -> Sent:
        edges, starts, lowest = least(self.edges.received(number))
        asked = self.asked.received(number)
        places, there = look_up(edges["node"][starts], asked["node"])
        answers = np.empty(len(places), EDGE)
        answers["node"], answers["other"] = asked["node"][there], lowest[places]
        return answers, asked["other"][there]


@dataclass(frozen=True)
class _Deal:
    """Writes the texts of a group's documents that are in a component, one record batch for each bundle."""

    answers: Exchange
    bundles: int
    folder: Path

    def dealt(self, number: int) -> Path:
        """Return the folder of a group's texts."""
        return self.folder / f"{number:06d}"

    def __call__(self, group: tuple[int, Sequence[Path]]) -> None:
        number, files = group
        answers, starts, lowest = least(self.answers.received(number))
        nodes = answers["node"][starts]
        schema = pa.schema([("id", pa.string()), ("text", pa.large_string())])
        tables, bundle = [schema.empty_table()], [np.empty(0, np.int64)]
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(4_096, columns=["id", "text"], use_threads=False):
                places, there = look_up(nodes, first_half(packed(batch.column("id"))))
                tables.append(pa.Table.from_batches([batch.take(pa.array(there))]).cast(schema))
                bundle.append((lowest[places] % np.uint64(self.bundles)).astype(np.int64))
        bundle = np.concatenate(bundle)
        rows = pa.concat_tables(tables).combine_chunks().take(pa.array(np.argsort(bundle, kind="stable")))
        ends = np.cumsum(np.bincount(bundle, minlength=self.bundles)).tolist()
        compressed = pa.ipc.IpcWriteOptions(compression="zstd")
        with (
            whole_folder(self.dealt(number)) as staging,
            pa.ipc.new_file(str(staging / "texts.arrow"), schema, options=compressed) as writer,
        ):
            for first, last in pairwise([0, *ends]):
                columns = [pa.concat_arrays(column.slice(first, last - first).chunks) for column in rows.columns]
                writer.write_batch(pa.record_batch(columns, schema=schema))


@dataclass(frozen=True)
class _Settle:
    """Finds the near-duplicates of a bundle, and returns the file of its clusters."""

    dealt: _Deal
    num_known: int
    """Groups of documents that are known; they come first."""
    num_groups: int
    config: NearDuplicateConfig
    folder: Path

    def __call__(self, bundle: int) -> Path:
        folder = self.folder / f"{bundle:06d}"
        file = folder / "clusters.parquet"
        if folder.exists():
            return file
        read = partial(self._batches, range(self.num_groups), bundle)
        known = (i for batch in self._batches(range(self.num_known), bundle) for i in batch.column("id").to_pylist())
        with whole_folder(folder) as staging:
            signed = (signatures(batch, self.config) for batch in read())
            found = find_near_duplicates(signed, read, self.config, staging, known)
            counts = dict(zip(COUNTS, (str(found.num_candidates), str(found.num_compared)), strict=True))
            pq.write_table(found.clusters.replace_schema_metadata(counts), staging / file.name, compression="zstd")
        return file

    def _batches(self, groups: Sequence[int], bundle: int) -> Iterator[pa.RecordBatch]:
        for number in groups:
            with pa.memory_map(str(self.dealt.dealt(number) / "texts.arrow")) as source:
                batch = pa.ipc.open_file(source).get_batch(bundle)
                if batch.num_rows:
                    yield batch


@dataclass(frozen=True)
class _Members:
    """Sends the members of a bundle's clusters where their cluster lies, so that parts are in order."""

    parts: int

    def __call__(self, file: Path) -> Sent:
        table = pq.read_table(file)
        rows = np.empty(len(table), MEMBER)
        rows["cluster"], rows["document_id"] = packed(table["cluster"]), packed(table["document_id"])
        rows["jaccard"] = table["jaccard"].to_numpy()
        return rows, (first_half(rows["cluster"]).byteswap() >> np.uint64(32)) * np.uint64(self.parts) >> np.uint64(32)


@dataclass(frozen=True)
class _Sort:
    """Sorts the members of one part by cluster; those of one cluster are in order already."""

    sent: Exchange

    def __call__(self, number: int) -> np.ndarray:
        rows = self.sent.received(number)
        return rows[np.argsort(rows["cluster"], kind="stable")]
