"""How long `hephaestus find` takes in a store of many documents, which is made for it in a temporary folder and removed.

    .venv/bin/python benchmarks/find.py [--documents 10000000] [--folder DIR] [--json OUT]

The store has the shape of a finished run: a source's documents (all), a curated corpus (95 % of them, and why the rest is not
there), a token store with its ledger, a mixture that shows about half of its windows, a checkpoint and a score. Documents have
ids of 128 random bits, one of 20 sources, one of five licences, an origin, and a text of 74 characters; ten million take about
1 GB. Token files are sparse, since `find` reads no token. Each question opens the store anew; files are in the page
cache, where writing them put them.

Searching a passage reads all texts, so it is told in MB of text per second, on texts of 2,000 characters.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.artifacts import Identity, Report, Store, Workspace
from hephaestus_dag.curation.removed import REMOVED_SCHEMA
from hephaestus_dag.documents import SCHEMA
from hephaestus_dag.mixture.config import Component, MixtureConfig
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.plan import plan_mixture
from hephaestus_dag.mixture.store import LEDGER_SCHEMA, Stream, file_sha256, stream_name
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph
from hephaestus_dag.provenance.find import find
from hephaestus_dag.provenance.found import Found
from hephaestus_dag.provenance.question import Question, open_database

PER_SHARD, TOKENS, LENGTH, REMOVED = 20_000, 40, 1_024, 20
"""Documents of a shard, tokens of a document, tokens of a sequence; and of how many documents one is removed."""
SOURCES = [f"source{number}" for number in range(20)]
LICENSES = {"Apache-2.0": 0.5, "MIT": 0.3, "BSD-3-Clause": 0.15, "CC-BY-4.0": 0.0499, "GPL-3.0-only": 0.0001}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000, help="documents of the source, a multiple of 20,000")
    parser.add_argument("--folder", type=Path, help="where the store is made (default: the system's temporary folder)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root, began = Path(folder), time.perf_counter()
        one = make_store(root / "store", options.documents)
        size = sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())
        print(f"{options.documents:,} documents, {size / 1e9:.2f} GB on disk, made in {time.perf_counter() - began:.0f} s")
        print(f"{os.cpu_count()} CPU cores\n{'question':36} {'seconds':>8} {'CPU s':>8}  answer")
        figures = [
            measured(root / "store", name, question)
            for name, question in {
                "id": Question(document=one),
                "id, first 12 digits": Question(document=one[:12]),
                "licence of 0.01 %": Question(license="GPL-3.0-only"),
                "licence of 50 %": Question(license="Apache-2.0"),
                "source (5 %)": Question(source="source7"),
                "origin (one shard)": Question(origin="package2=="),
            }.items()
        ]
        figures.append(text_speed(root / "texts"))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def measured(root: Path, name: str, question: Question) -> dict[str, Any]:
    """Ask a question; print and return the seconds, and those of all CPU cores together."""
    spent = time.process_time()
    seconds, found = timed(root, question)
    spent = time.process_time() - spent
    kept = {each.artifact.partition("@")[0]: each.kept for each in found.corpora}
    shown = max((each.tokens for each in found.models), default=0)
    assert found.scores, f"{name}: the score was not reached"
    print(f"{name:36} {seconds:8.2f} {spent:8.2f}  kept {kept['seed_corpus']:,}, {shown:,} tokens shown")
    return {"question": name, "seconds": seconds, "cpu_seconds": spent, "found": asdict(found)}


def timed(root: Path, question: Question) -> tuple[float, Found]:
    """Return the seconds from nothing opened to the answer."""
    began = time.perf_counter()
    found = find(question, ArtifactGraph(root), open_database())
    return time.perf_counter() - began, found


def make_store(root: Path, count: int) -> str:
    """Write a store with ``count`` documents, and return the id of one that is trained on."""
    store, rng = Store(root), np.random.default_rng(0)

    def raw(workspace: Workspace) -> Report:
        (workspace.folder / "documents").mkdir()
        for number in range(count // PER_SHARD):
            write_shard(workspace.folder, number, shard(rng, number))
        return Report(headline=f"{count:,} documents")

    made = built(store, "text_documents", raw)

    def curated(workspace: Workspace) -> Report:
        (workspace.folder / "documents").mkdir()
        with pq.ParquetWriter(workspace.folder / "removed.parquet", REMOVED_SCHEMA, compression="zstd") as removed:
            for number, file in enumerate(sorted((root / "text_documents").rglob("part-*.parquet"))):
                table = pq.read_table(file)
                write_shard(workspace.folder, number, table.filter(pa.array(np.arange(PER_SHARD) % REMOVED > 0)))
                gone = table["id"].take(pa.array(np.arange(0, PER_SHARD, REMOVED))).combine_chunks()
                same = {"step": "near_duplicates", "reason": "near duplicate", "evidence": "another (Jaccard 0.8)"}
                removed.write_batch(batch(REMOVED_SCHEMA, {"document_id": gone, **same}))
        return Report(headline="95 % kept")

    made |= built(store, "seed_corpus", curated, made)

    def tokenized(workspace: Workspace) -> Report:
        write_tokens(root / "seed_corpus", workspace.folder)
        return Report(headline="tokens")

    made |= built(store, "tokenized_seed", tokenized, {"seed_corpus": made["seed_corpus"]})
    folder = next((root / "tokenized_seed").glob("[0-9a-f]*"))
    tokens = count * TOKENS // 2 // LENGTH * LENGTH
    config = MixtureConfig(tokens=tokens, sequence_length=LENGTH, components=(Component(domain="text", share=1),), max_epochs=4)

    def planned(workspace: Workspace) -> Report:
        plan_mixture(config, [folder], workspace.folder)
        return Report(headline="half of the windows")

    stores = {"tokenized_seed": made["tokenized_seed"]}
    made |= built(store, "mixed_corpus", planned, stores)

    def trained(workspace: Workspace) -> Report:
        (workspace.folder / "model").mkdir()
        (workspace.folder / "model" / "config.json").write_text("{}")
        summary = {"sequences": tokens // LENGTH, "steps": tokens // LENGTH // 8, "sequence_length": LENGTH}
        (workspace.folder / "summary.json").write_text(json.dumps(summary))
        return Report(headline="a checkpoint")

    made |= built(store, "hephaestus/stage1_checkpoint", trained, stores | {"mixed_corpus": made["mixed_corpus"]})
    model = {"hephaestus/stage1_checkpoint": made["hephaestus/stage1_checkpoint"]}
    built(store, "hephaestus/bfcl_scores", lambda workspace: Report(headline="a score"), model)
    (mixture,) = (root / "mixed_corpus").glob("[0-9a-f]*")
    return MixtureLoader(mixture, [folder]).documents_of(0)[0].document_id


def built(store: Store, key: str, write: Callable[[Workspace], Report], inputs: dict[str, str] | None = None) -> dict[str, str]:
    """Build an artifact and return its fingerprint by its key."""
    return {key: store.build(Identity(key=key, code="benchmark", inputs=inputs or {}), write).artifact.fingerprint}


def shard(rng: np.random.Generator, number: int) -> pa.Table:
    """Return documents whose ids are random bits, as those of texts are."""
    ids = np.frombuffer(rng.bytes(16 * PER_SHARD).hex().encode(), "S32").astype(str)
    columns: dict[str, Any] = {
        "id": ids,
        "text": [f"{each} and what is said about it, in words" for each in ids[::-1]],
        "source": np.array(SOURCES)[rng.integers(0, len(SOURCES), PER_SHARD)],
        "origin": [f"package{number}==1.0/folder/file{each}.md" for each in range(PER_SHARD)],
        "license": np.array(list(LICENSES))[rng.choice(len(LICENSES), PER_SHARD, p=list(LICENSES.values()))],
        "domain": "text",
        "kind": "prose",
    }
    return pa.Table.from_batches([batch(SCHEMA, columns)])


def batch(schema: pa.Schema, columns: dict[str, Any]) -> pa.RecordBatch:
    """Return columns, single texts for the same in all rows, as a batch; what is not given is empty."""
    rows = len(next(iter(columns.values())))
    filled = (columns.get(name, "") for name in schema.names)
    arrays = [pa.repeat(each, rows) if isinstance(each, str) else pa.array(each) for each in filled]
    return pa.record_batch([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)


def write_shard(folder: Path, number: int, table: pa.Table) -> None:
    pq.write_table(table, folder / "documents" / f"part-{number:05d}.parquet", compression="zstd")


def write_tokens(corpus: Path, folder: Path) -> None:
    """Write ledger and store.json of a corpus, and token files without content."""
    files = sorted(corpus.rglob("part-*.parquet"))
    (folder / "streams").mkdir()
    streams = {}
    with pq.ParquetWriter(folder / "ledger.parquet", LEDGER_SCHEMA, compression="zstd") as ledger:
        documents = pa.concat_tables(pq.read_table(file, columns=["id", "source"]) for file in files)
        for source in sorted(SOURCES):
            ids = documents.filter(pc.field("source") == source)["id"].combine_chunks()
            name, rows = stream_name("text", "train", source), len(ids)
            columns = {"document_id": ids, "stream": name, "domain": "text", "split": "train", "source": source}
            columns |= {"offset": np.arange(rows) * TOKENS, "length": np.full(rows, TOKENS)}
            ledger.write_batch(batch(LEDGER_SCHEMA, columns))
            with (folder / "streams" / f"{name}.bin").open("wb") as file:
                file.truncate(2 * rows * TOKENS)
            tokens = rows * TOKENS
            streams[name] = Stream(
                domain="text",
                split="train",
                source=source,
                tokens=tokens,
                documents=rows,
                bytes=2 * tokens,
                masked=False,
                sha256="",
            )
    head = {"dtype": "uint16", "vocab_size": 8192, "tokenizer": "", "ledger_sha256": file_sha256(folder / "ledger.parquet")}
    told = {name: asdict(stream) for name, stream in streams.items()}
    (folder / "store.json").write_text(json.dumps(head | {"streams": told}))


def text_speed(root: Path) -> dict[str, Any]:
    """Search a passage in texts of 2,000 characters; print and return MB of text per second."""
    rng, shards = np.random.default_rng(1), 10
    words = np.array([f"{word}{number}" for word in ("call", "list", "page", "agent", "the", "of") for number in range(500)])

    def write(workspace: Workspace) -> Report:
        (workspace.folder / "documents").mkdir()
        for number in range(shards):
            table = shard(rng, number).slice(0, 5_000)
            texts = [" ".join(words[row]) for row in rng.integers(0, len(words), (5_000, 280))]
            texts[-1] += " the passage that is looked for" if number == shards - 1 else ""
            write_shard(workspace.folder, number, table.set_column(1, "text", pa.array(texts)))
        return Report(headline="texts")

    built(Store(root), "text_documents", write)
    size = sum(len("".join(pq.read_table(f, columns=["text"])["text"].to_pylist())) for f in root.rglob("part-*.parquet"))
    seconds, found = min((timed(root, Question(text="passage that is looked for")) for _ in range(3)), key=lambda each: each[0])
    assert found.documents == 1
    print(f"{'passage of text':36} {seconds:8.2f} {'':8}  {size / 1e6:,.0f} MB of text, {size / 1e6 / seconds:,.0f} MB/s")
    return {"question": "text", "seconds": seconds, "megabytes": size / 1e6}


if __name__ == "__main__":
    main()
