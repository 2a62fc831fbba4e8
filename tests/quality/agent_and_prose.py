"""A small world for the classifier: pages about tools and pages of prose, told apart by their words alone."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import Document, DocumentWriter, document_id
from hephaestus_dag.quality.classifier import train_classifier
from hephaestus_dag.quality.config import ClassifierConfig
from hephaestus_dag.quality.scoring import score_documents
from hephaestus_dag.retrieval.queries import QUERY_SCHEMA
from hephaestus_dag.retrieval.vectors import write_vectors

TOOL_WORDS = ["get", "post", "endpoint", "string", "integer", "request", "token", "header", "json", "(", "client:"]
PROSE_WORDS = ["river", "winter", "old", "king", "garden", "story", "bread", "mountain", "song", "evening", "war", "harvest"]
SMALL = {"dim": 8, "bucket": 1_000, "epochs": 10, "lr": 0.5, "min_count": 1, "search": {"trials": 0}}
ENCODER = {"model": "by hand"}


def texts(words: list[str], number: int, seed: int) -> list[str]:
    chooser = random.Random(seed)
    return [" ".join(chooser.choices(words, k=20)) + "\n" + " ".join(chooser.choices(words, k=10)) for _ in range(number)]


SEED = texts(TOOL_WORDS, 120, 1)
GOOD, BAD, OTHER = texts(TOOL_WORDS, 120, 2), texts(PROSE_WORDS, 120, 3), texts(PROSE_WORDS, 120, 4)
ANNOTATED = 100  # Of the good pages, and of the bad ones.


def write_pages(folder: Path, pages: Sequence[str], documents_per_shard: int = 20_000) -> Path:
    with DocumentWriter(folder, documents_per_shard) as writer:
        writer.write(
            Document(text=text, domain="agent", kind="page", source=folder.name, origin=f"page {number}", license="MIT")
            for number, text in enumerate(pages)
        )
    return folder


def write_annotations(path: Path, good: Iterable[str], bad: Iterable[str], unknown: Iterable[str] = ()) -> None:
    rows = [(document_id(t), label) for group, label in ((good, True), (bad, False), (unknown, None)) for t in group]
    columns = {"document_id": [i for i, _ in rows], "good": [label for _, label in rows]}
    pq.write_table(
        pa.table(columns, schema=pa.schema([("document_id", pa.string()), ("good", pa.bool_())])),
        path,
    )


def write_index(folder: Path, pages: Sequence[str], similarity: Callable[[str], float]) -> None:
    """Write vectors whose product with the query of `write_tool_query` is a similarity."""
    vectors = np.array([[similarity(page), 1] for page in pages], dtype=np.float32)
    write_vectors(folder, [([document_id(page) for page in pages], vectors)], ENCODER, 2)


def write_tool_query(folder: Path) -> None:
    identity = document_id(SEED[0])
    write_vectors(folder / "candidates", [([identity], np.array([[1, 0]], dtype=np.float32))], ENCODER, 2)
    write_vectors(folder / "general", [], ENCODER, 2)
    row = {"document_id": identity, "row": 0, "kind": "page", "cluster_size": 1, "beginning": "get"}
    pq.write_table(pa.Table.from_pylist([row], QUERY_SCHEMA), folder / "queries.parquet")


def chance(page: str) -> float:
    """A similarity that says nothing."""
    return random.Random(page).random()


def write_inputs(folder: Path) -> dict[str, Path]:
    """A seed corpus of tools; a web corpus of which retrieval found good and bad pages, most of them annotated."""
    found = [document_id(text) for text in GOOD + BAD]
    pq.write_table(pa.table({"document_id": found, "best_score": [0.5] * len(found)}), folder / "retrieved.parquet")
    write_annotations(folder / "annotations.parquet", GOOD[:ANNOTATED], BAD[:ANNOTATED], GOOD[-1:])
    write_index(folder / "index", GOOD + BAD + OTHER, chance)
    write_tool_query(folder / "queries")
    return {
        "seed_corpus": write_pages(folder / "seed", SEED),
        "web_corpus": write_pages(folder / "web", GOOD + BAD + OTHER, documents_per_shard=50),
        "retrieved": folder / "retrieved.parquet",
        "annotations": folder / "annotations.parquet",
        "web_index": folder / "index",
        "queries": folder / "queries",
    }


def train(inputs: Mapping[str, Any], folder: Path, **settings: Any) -> dict[str, Any]:
    return train_classifier(**inputs, config=ClassifierConfig.model_validate({**SMALL, **settings}), folder=folder)


def score(inputs: dict[str, Path], folder: Path, **settings: Any) -> dict[str, Path]:
    """Train, score the web, and return what `apply_threshold` reads."""
    train(inputs, folder / "model", **settings)
    score_documents(inputs["web_corpus"], folder / "model", folder / "scores")
    return {"documents": inputs["web_corpus"], "scores": folder / "scores", "classifier": folder / "model"}
