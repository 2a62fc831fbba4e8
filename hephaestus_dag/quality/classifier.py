"""The fastText classifier: does a page look like what the seed corpus and the annotated pages call good?

Positive examples are seed documents and pages annotated good; negative ones are pages annotated bad and random pages that
retrieval did not find. Examples are split by document id. Seed documents differ from web pages in style as well as in
content, so the held-out measures on annotated pages alone, reported beside the overall ones, are the honest figure.
"""

import functools
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import read_document_table, read_documents
from hephaestus_dag.quality.config import ClassifierConfig
from hephaestus_dag.quality.figure import score_figure
from hephaestus_dag.quality.measures import measure, threshold_table

Origin = Literal["seed", "annotated_good", "annotated_bad", "random"]
POSITIVE_ORIGINS: tuple[Origin, ...] = ("seed", "annotated_good")
POSITIVE, NEGATIVE = "__label__positive", "__label__negative"
SCORE_SCHEMA = pa.schema([("document_id", pa.string()), ("quality_score", pa.float32())])
HELD_OUT_SCHEMA = pa.schema(
    [("document_id", pa.string()), ("origin", pa.string()), ("positive", pa.bool_()), ("quality_score", pa.float32())]
)
SYMBOL = re.compile(r"([^\w\s])")


@dataclass(frozen=True, slots=True)
class Example:
    """A document the classifier learns from or is measured on."""

    document_id: str
    text: str
    origin: Origin

    @property
    def positive(self) -> bool:
        """Whether it is an example of what to keep."""
        return self.origin in POSITIVE_ORIGINS


def train_classifier(
    seed_corpus: Path,
    web_corpus: Path,
    retrieved: Path,
    annotations: Path,
    config: ClassifierConfig,
    folder: Path,
    seed_domains: Sequence[str] = ("agent",),
) -> dict[str, Any]:
    """Train the classifier, measure it on held-out examples, and write it into ``folder``.

    ``retrieved`` and ``annotations`` are the Parquet files of those steps. Written are::

        quality.bin            the fastText model (config.max_characters lies in classifier.json)
        classifier.json        the settings
        held_out.parquet       document_id, origin, positive, quality_score
        thresholds.json        precision, recall, kept share and so on at 20 thresholds
        quality.png            score histogram and precision-recall curve

    Returns the counts of examples, the held-out measures at 0.5 (all, and annotated pages only) and the model's size.
    Raises ValueError when training or held-out examples lack one of the two classes.
    """
    examples = collect_examples(seed_corpus, web_corpus, retrieved, annotations, config, seed_domains)
    training = [e for e in examples if not is_held_out(e.document_id, config.held_out_share)]
    held_out = [e for e in examples if is_held_out(e.document_id, config.held_out_share)]
    for name, part in (("training", training), ("held-out", held_out)):
        if len({e.positive for e in part}) < 2:
            raise ValueError(f"the {name} examples ({len(part)}) lack a class: annotate more pages, or change held_out_share")

    folder.mkdir(parents=True, exist_ok=True)
    fit(training, config, folder / "quality.bin")
    (folder / "classifier.json").write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    scores = score_texts(folder, [e.text for e in held_out])
    labels = np.array([e.positive for e in held_out])
    annotated = np.array([e.origin.startswith("annotated") for e in held_out])
    columns = [[e.document_id for e in held_out], [e.origin for e in held_out], labels, scores]
    arrays = [pa.array(column, type) for column, type in zip(columns, HELD_OUT_SCHEMA.types, strict=True)]
    pq.write_table(pa.table(arrays, schema=HELD_OUT_SCHEMA), folder / "held_out.parquet", compression="zstd")
    (folder / "thresholds.json").write_text(json.dumps(threshold_table(scores, labels), indent=2) + "\n")
    score_figure(scores, labels, folder / "quality.png")
    return {
        "examples": {name: count_origins(part) for name, part in (("training", training), ("held_out", held_out))},
        "held_out": measure(scores, labels, 0.5),
        "held_out_annotated": measure(scores[annotated], labels[annotated], 0.5) if annotated.any() else None,
        "model_bytes": (folder / "quality.bin").stat().st_size,
    }


def collect_examples(
    seed_corpus: Path,
    web_corpus: Path,
    retrieved: Path,
    annotations: Path,
    config: ClassifierConfig,
    seed_domains: Sequence[str],
) -> list[Example]:
    """Return the examples, sorted by document id; a document has one label, and an annotation outweighs a guess."""
    origin: dict[str, Origin] = {}
    table = read_document_table(seed_corpus, ["id", "domain"])
    seed_ids = {r["id"] for r in table.to_pylist() if r["domain"] in seed_domains}
    found = set(pq.read_table(retrieved, columns=["document_id"])["document_id"].to_pylist())
    other_ids = set(read_document_table(web_corpus, ["id"])["id"].to_pylist()) - found - seed_ids
    generator = np.random.default_rng(config.seed)
    origin |= dict.fromkeys(draw(other_ids, config.num_random, generator), "random")
    origin |= dict.fromkeys(draw(seed_ids, config.num_seed, generator), "seed")
    for row in pq.read_table(annotations, columns=["document_id", "good"]).to_pylist():
        if row["good"] is not None and origin.get(row["document_id"]) != "seed":
            origin[row["document_id"]] = "annotated_good" if row["good"] else "annotated_bad"
    texts: dict[str, str] = {}
    for corpus in (seed_corpus, web_corpus):
        for batch in read_documents(corpus, ["id", "text"]):
            pairs = zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
            texts |= {identity: text[: config.max_characters] for identity, text in pairs if identity in origin}
    return [Example(identity, texts[identity], origin[identity]) for identity in sorted(origin)]


def draw(ids: set[str], number: int, generator: np.random.Generator) -> list[str]:
    """Return a random choice of at most ``number`` ids."""
    return generator.permutation(np.array(sorted(ids), dtype=object))[:number].tolist()


def is_held_out(document_id: str, share: float) -> bool:
    """Decide by the second 32 bits of the id, so that the choice is independent of the token store's, which reads the first."""
    return int(document_id[8:16], 16) / 2**32 < share


def count_origins(examples: Sequence[Example]) -> dict[str, int]:
    """Return the number of examples of each origin."""
    return {name: sum(e.origin == name for e in examples) for name in ("seed", "annotated_good", "annotated_bad", "random")}


def fit(examples: Sequence[Example], config: ClassifierConfig, path: Path) -> None:
    """Train on one thread with a fixed seed (the same examples give the same bytes) and save the model."""
    import fasttext

    lines = [
        f"{POSITIVE if e.positive else NEGATIVE} {normalise(e.text)}\n"
        for e in examples
        for _ in range(config.annotated_weight if e.origin.startswith("annotated") else 1)
    ]
    shuffled = np.random.default_rng(config.seed).permutation(np.array(lines, dtype=object))
    with tempfile.TemporaryDirectory() as scratch:
        training_file = Path(scratch) / "train.txt"
        training_file.write_text("".join(shuffled), encoding="utf-8")
        model = fasttext.train_supervised(
            str(training_file),
            dim=config.dim,
            epoch=config.epochs,
            lr=config.lr,
            wordNgrams=config.word_ngrams,
            minCount=config.min_count,
            bucket=config.bucket,
            seed=config.seed,
            thread=1,
            verbose=0,
        )
    model.save_model(str(path))


def normalise(text: str) -> str:
    """Return a text as fastText reads it: one line, lower case, symbols apart, and nothing that could pass for a label."""
    return " ".join(SYMBOL.sub(r" \1 ", text.lower().replace("__label__", "label ")).split())


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
    lines = [normalise(text[:max_characters]) for text in texts]
    labels, probabilities = model.predict(lines, k=2) if lines else ([], [])
    scores = [
        dict(zip(names, values, strict=True)).get(POSITIVE, 0.0) for names, values in zip(labels, probabilities, strict=True)
    ]
    return np.clip(np.array(scores, dtype=np.float32), 0, 1)


def score_batch(batch: pa.RecordBatch, classifier: Path) -> pa.RecordBatch:
    """Return document_id and quality_score for a batch with the columns id and text."""
    scores = score_texts(classifier, batch.column("text").to_pylist())
    return pa.record_batch([batch.column("id"), pa.array(scores, pa.float32())], schema=SCORE_SCHEMA)


def score_documents(
    documents: Path, classifier: Path, folder: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Score every document of a folder, and write ``scores.parquet`` in the order of the documents.

    Returns the count and the quartiles of the scores. Raises ValueError when there is no document.
    """
    total = read_document_table(documents, ["id"]).num_rows
    if not total:
        raise ValueError("there are no documents to score: retrieval found nothing, lower random_pair_quantile")
    parts: list[pa.RecordBatch] = []
    for batch in read_documents(documents, ["id", "text"], batch_size=1_024):
        parts.append(score_batch(batch, classifier))
        if progress:
            progress(sum(part.num_rows for part in parts), total)
    table = pa.Table.from_batches(parts, SCORE_SCHEMA)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "scores.parquet", compression="zstd")
    scores = table["quality_score"].to_numpy()
    return {"documents": len(scores), "quartiles": np.quantile(scores, (0.25, 0.5, 0.75)).tolist()}
