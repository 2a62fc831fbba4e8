"""Score texts with the quality classifier. Scores stand beside documents: a threshold moves without scoring again."""

import functools
import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import count_documents, document_files
from hephaestus_dag.map_over import MapOver, in_order
from hephaestus_dag.quality.fasttext_model import prepare, probabilities

SCORE_SCHEMA = pa.schema([("document_id", pa.string()), ("quality_score", pa.float32())])


def open_classifier(folder: Path) -> tuple[Any, int]:
    """Return the fastText model of a folder, and the number of characters that it reads. The last one stays in memory."""
    status = (folder / "quality.bin").stat()
    return load_classifier(folder, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=1)
def load_classifier(folder: Path, modified: int, inode: int) -> tuple[Any, int]:
    """Load a classifier; the last two arguments make a rebuilt file in the same place another one."""
    import fasttext

    settings = json.loads((folder / "classifier.json").read_text())
    return fasttext.load_model(str(folder / "quality.bin")), settings["max_characters"]


def score_texts(classifier: Path, texts: Sequence[str]) -> np.ndarray:
    """Return P(positive) of each text as float32, 0 to 1. ``classifier`` is the folder of ``train_classifier``."""
    model, max_characters = open_classifier(classifier)
    return probabilities(model, (prepare(text[:max_characters]) for text in texts))


def score_batch(batch: pa.RecordBatch, classifier: Path) -> pa.RecordBatch:
    """Return document_id and quality_score for a batch with the columns id and text."""
    scores = score_texts(classifier, batch.column("text").to_pylist())
    return pa.record_batch([batch.column("id"), pa.array(scores, pa.float32())], schema=SCORE_SCHEMA)


def score_file(classifier: Path, file: str) -> list[pa.RecordBatch]:
    """Return document_id and quality_score of a document shard, in batches."""
    batches = pq.ParquetFile(file).iter_batches(2_048, columns=["id", "text"], use_threads=False)
    return [score_batch(batch, classifier) for batch in batches]


def score_documents(
    documents: Path,
    classifier: Path,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    map_over: MapOver = in_order,
) -> dict[str, Any]:
    """Score every document of a folder, and write ``scores.parquet`` in the order of the documents, batch by batch.

    ``map_over`` maps a function over document shards, such as the compute resource's. Returns the count and the quartiles
    of the scores. Raises ValueError when there is no document.
    """
    total = count_documents(documents)
    if not total:
        raise ValueError("there are no documents to score: retrieval found nothing, lower random_pair_quantile")
    folder.mkdir(parents=True, exist_ok=True)
    scores, done = np.empty(total, dtype=np.float32), 0
    with pq.ParquetWriter(folder / "scores.parquet", SCORE_SCHEMA, compression="zstd") as writer:
        for part in chain.from_iterable(map_over(partial(score_file, classifier), document_files(documents))):
            writer.write_batch(part)
            scores[done : done + part.num_rows] = part.column("quality_score").to_numpy()
            done += part.num_rows
            if progress:
                progress(done, total)
    return {"documents": total, "quartiles": np.quantile(scores, (0.25, 0.5, 0.75)).tolist()}
