"""What the classifier learns from and is measured on.

Positive examples are seed documents and pages annotated good; negative ones are pages annotated bad and random pages that
retrieval did not find. Seed documents differ from web pages in style as well as in content, so measures on web pages, and on
annotated pages above all, are the honest ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.documents import read_document_table, read_documents
from hephaestus_dag.quality.config import ClassifierConfig

Origin = Literal["seed", "annotated_good", "annotated_bad", "random"]
ORIGINS: tuple[Origin, ...] = ("seed", "annotated_good", "annotated_bad", "random")
POSITIVE_ORIGINS: tuple[Origin, ...] = ("seed", "annotated_good")

Split = Literal["training", "validation", "held_out"]
SPLITS: tuple[Split, ...] = ("training", "validation", "held_out")

ALL = "examples"
PARTS: dict[str, tuple[Origin, ...]] = {
    "annotated pages": ("annotated_good", "annotated_bad"),
    "web pages": ("annotated_good", "annotated_bad", "random"),
    ALL: ORIGINS,
}
"""Parts of the examples, the most honest first. A random page counts as bad because retrieval did not find it, which may be
wrong, and which makes embedding similarity look good."""

ENOUGH, ENOUGH_OF_A_CLASS = 30, 5
"""Examples, and examples of each class, below which a part says too little to decide by."""


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


def collect_examples(
    seed_corpus: Path,
    web_corpus: Path,
    retrieved: Path,
    annotations: Path,
    config: ClassifierConfig,
    seed_domains: Sequence[str],
) -> list[Example]:
    """Return the examples, sorted by document id; a document has one label, and an annotation outweighs a guess."""
    in_domain = pc.field("domain").isin(list(seed_domains))
    seed_ids = read_document_table(seed_corpus, ["id", "domain"]).filter(in_domain)["id"]
    found = pq.read_table(retrieved, columns=["document_id"])["document_id"]
    known = pa.chunked_array([*found.chunks, *seed_ids.chunks], pa.string()).combine_chunks()
    other_ids = read_document_table(web_corpus, ["id"]).filter(~pc.field("id").isin(known))["id"]

    generator = np.random.default_rng(config.seed)
    origin: dict[str, Origin] = {}
    origin |= dict.fromkeys(draw(other_ids, config.num_random, generator), "random")
    origin |= dict.fromkeys(draw(seed_ids, config.num_seed, generator), "seed")
    for row in pq.read_table(annotations, columns=["document_id", "good"]).to_pylist():
        if row["good"] is not None and origin.get(row["document_id"]) != "seed":
            origin[row["document_id"]] = "annotated_good" if row["good"] else "annotated_bad"

    wanted = pc.field("id").isin(sorted(origin))
    texts: dict[str, str] = {}
    for corpus in (seed_corpus, web_corpus):
        for batch in read_documents(corpus, ["id", "text"]):
            rows = pa.Table.from_batches([batch]).filter(wanted)
            pairs = zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True)
            texts |= {identity: text[: config.max_characters] for identity, text in pairs}
    return [Example(identity, texts[identity], origin[identity]) for identity in sorted(origin)]


def draw(ids: pa.ChunkedArray, number: int, generator: np.random.Generator) -> list[str]:
    """Return a random choice of at most ``number`` different ids, which depends on the set of ids alone."""
    ordered = ids.unique().sort()
    return ordered.take(pa.array(generator.permutation(len(ordered))[:number])).to_pylist()


def split(examples: Sequence[Example], config: ClassifierConfig) -> dict[Split, list[Example]]:
    """Part the examples into those that train, those that choose settings, and those that only measure.

    Raises ValueError when a part lacks one of the two classes.
    """
    parts: dict[Split, list[Example]] = {name: [] for name in SPLITS}
    for example in examples:
        parts[split_of(example.document_id, config)].append(example)
    for name, part in parts.items():
        if len({e.positive for e in part}) < 2:
            raise ValueError(
                f"the {name} examples ({len(part)}) lack a class: "
                "annotate more pages, or change held_out_share and validation_share"
            )
    return parts


def split_of(document_id: str, config: ClassifierConfig) -> Split:
    """Decide by the second 32 bits of the id, so that the choice is independent of the token store's, which reads the first."""
    position = int(document_id[8:16], 16) / 2**32
    if position < config.held_out_share:
        return "held_out"
    return "validation" if position < config.held_out_share + config.validation_share else "training"


def count_origins(examples: Sequence[Example]) -> dict[str, int]:
    """Return the number of examples of each origin."""
    return {name: sum(e.origin == name for e in examples) for name in ORIGINS}


def in_part(origins: np.ndarray, part: str) -> np.ndarray:
    """Return a mask of the examples that belong to one of `PARTS`."""
    return np.isin(origins, PARTS[part])


def most_honest_part(origins: np.ndarray, labels: np.ndarray) -> str:
    """Return the first of `PARTS` that has enough examples of both classes to decide by; failing that, all examples."""
    for part in PARTS:
        chosen = labels[in_part(origins, part)]
        if len(chosen) >= ENOUGH and min(chosen.sum(), (~chosen).sum()) >= ENOUGH_OF_A_CLASS:
            return part
    return ALL
