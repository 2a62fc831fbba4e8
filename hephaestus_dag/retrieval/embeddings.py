"""Vectors of a documents folder.

    embeddings.npy      float32 (distinct documents, dimension)
    ids.parquet         document_id, one row per vector, in the same order
    embeddings.json     the encoder, and for each shard its key, first row and number of rows

A shard's vectors depend on that shard alone, so those of an earlier folder are copied when its key (the hash of the
documents it adds) is known: a grown corpus costs only what is new, and gives the same bytes as from scratch.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import document_files
from hephaestus_dag.retrieval.encoder import Encoder

ID_SCHEMA = pa.schema([("document_id", pa.string())])


def embed_documents(
    documents: Path,
    encoder: Encoder,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    earlier: Sequence[Path] = (),
) -> dict[str, Any]:
    """Encode each distinct document of a documents folder, and write vectors and ids into ``folder``.

    ``earlier`` names folders that this function wrote before; those of another encoder are passed over.
    Returns counts: documents, repeated (left out), dimension, encoded, copied.
    """
    known = known_shards(earlier, encoder)
    files = document_files(documents)
    total = sum(pq.read_metadata(file).num_rows for file in files)
    seen: set[str] = set()
    ids: list[str] = []
    parts: list[np.ndarray] = []
    shards: list[dict[str, Any]] = []
    copied = read = 0
    for file in files:
        new_ids, texts = new_documents(file, seen)
        key = hashlib.sha256("".join(new_ids).encode()).hexdigest()
        if key in known:
            source, first = known[key]
            parts.append(np.array(np.load(source / "embeddings.npy", mmap_mode="r")[first : first + len(new_ids)]))
            copied += len(new_ids)
        else:
            report = (lambda done, _, offset=read: progress(offset + done, total)) if progress else None
            parts.append(encoder.encode(texts, report))
        shards.append({"key": key, "first": len(ids), "rows": len(new_ids)})
        ids += new_ids
        read += pq.read_metadata(file).num_rows
        if progress:
            progress(read, total)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "embeddings.npy", np.concatenate(parts))
    pq.write_table(pa.table({"document_id": ids}, schema=ID_SCHEMA), folder / "ids.parquet", compression="zstd")
    (folder / "embeddings.json").write_text(json.dumps({"encoder": encoder.identity, "shards": shards}, indent=2) + "\n")
    return {
        "documents": len(ids),
        "repeated": total - len(ids),
        "dimension": encoder.dimension,
        "encoded": len(ids) - copied,
        "copied": copied,
    }


def new_documents(file: str, seen: set[str]) -> tuple[list[str], list[str]]:
    """Return ids and texts of a shard's documents that are not in ``seen``, and add them to it."""
    table = pq.read_table(file, columns=["id", "text"])
    ids, texts = [], []
    for identity, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
        if identity not in seen:
            seen.add(identity)
            ids.append(identity)
            texts.append(text)
    return ids, texts


def known_shards(earlier: Sequence[Path], encoder: Encoder) -> dict[str, tuple[Path, int]]:
    """Return for each shard key in earlier folders of the same encoder where its vectors lie."""
    known: dict[str, tuple[Path, int]] = {}
    for folder in earlier:
        content = json.loads((folder / "embeddings.json").read_text())
        if content["encoder"] == encoder.identity:
            known |= {shard["key"]: (folder, shard["first"]) for shard in content["shards"]}
    return known


def open_embeddings(folder: Path) -> tuple[np.ndarray, list[str]]:
    """Return the vectors (memory-mapped) and their document ids.

    Raises ValueError when the two files do not belong together.
    """
    vectors = np.load(folder / "embeddings.npy", mmap_mode="r")
    ids = pq.read_table(folder / "ids.parquet")["document_id"].to_pylist()
    if len(ids) != len(vectors):
        raise ValueError(f"{folder}: {len(vectors)} vectors but {len(ids)} ids; the folder is damaged, build it again")
    return vectors, ids
