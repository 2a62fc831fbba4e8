"""Train the fastText classifier, measure it on held-out examples, and set it beside its alternatives.

Examples are parted by document id. Training examples fit the model, validation examples choose its settings and the threshold
of its measures, held-out examples only measure. `examples` says what they are and why web pages are the honest measure.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hephaestus_dag.quality.alternatives import CLASSIFIER, CONSTANT, HEURISTIC, SIMILARITY, compare, query_similarity
from hephaestus_dag.quality.config import ClassifierConfig
from hephaestus_dag.quality.examples import ALL, PARTS, Example, collect_examples, count_origins, most_honest_part, split
from hephaestus_dag.quality.figure import quality_figure
from hephaestus_dag.quality.heuristic import heuristic_scores
from hephaestus_dag.quality.measures import (
    Measures,
    best_f1_threshold,
    calibration_error,
    confusion,
    measure,
    reliability,
    threshold_table,
)
from hephaestus_dag.quality.scoring import score_texts
from hephaestus_dag.quality.search import SEARCHED, search

SCORED_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("origin", pa.string()),
        ("positive", pa.bool_()),
        ("quality_score", pa.float32()),
        ("similarity", pa.float32()),
        ("heuristic", pa.float32()),
    ]
)


def train_classifier(
    seed_corpus: Path,
    web_corpus: Path,
    retrieved: Path,
    annotations: Path,
    web_index: Path,
    queries: Path,
    config: ClassifierConfig,
    folder: Path,
    seed_domains: Sequence[str] = ("agent",),
) -> dict[str, Any]:
    """Train the classifier, measure it on held-out examples, and write it into ``folder``.

    ``retrieved`` and ``annotations`` are the Parquet files of those steps, ``web_index`` and ``queries`` the folders of the
    web's vectors and of the seed queries. Written are::

        quality.bin            the fastText model, folded; it reads what `prepare` makes of a text
        classifier.json        the chosen settings
        held_out.parquet       document_id, origin, positive, quality_score; similarity, heuristic (null for seed documents)
        thresholds.json        precision, recall, kept share and so on at 20 thresholds
        measures.json          what is returned
        quality.png            scores, precision-recall curve beside the alternatives', reliability

    Returns::

        examples               split -> origin -> count
        settings, trials       what was chosen; what was tried: settings, average_precision, numbers_trained, chosen
        searched_on            the part of the validation examples that chose, one of `PARTS`
        threshold_from         the part of them on which the threshold of the measures, not that of the filter, has the best F1
        held_out, held_out_web, held_out_annotated    measures at that threshold; None where there is no such page
        measured_on            the part of the held-out examples that the following is about, the most honest that has enough
        confusion, reliability, calibration_error
        alternatives           see `compare`; empty where measured_on or threshold_from is all examples
        model_bytes            size of quality.bin

    Raises ValueError when training, validation or held-out examples lack one of the two classes.
    """
    examples = split(collect_examples(seed_corpus, web_corpus, retrieved, annotations, config, seed_domains), config)
    searched = search(examples["training"], examples["validation"], config)
    folder.mkdir(parents=True, exist_ok=True)
    searched.best.model.save_model(str(folder / "quality.bin"))
    write_json(folder / "classifier.json", searched.best.settings.model_dump(mode="json"))

    validation, held_out = (score_examples(examples[name], folder, web_index, queries) for name in ("validation", "held_out"))
    pq.write_table(held_out, folder / "held_out.parquet", compression="zstd")
    parts = list(PARTS)
    measured_on = most_honest_part(held_out["origin"].to_numpy(zero_copy_only=False), labels_of(held_out))
    larger = parts[parts.index(measured_on) :]
    threshold_from = next(part for part in larger if has_both_classes(part_of(validation, part)))
    known, measured = part_of(validation, threshold_from), part_of(held_out, measured_on)

    threshold = best_f1_threshold(scores_of(known), labels_of(known))
    rows = reliability(scores_of(measured), labels_of(measured))
    comparable = ALL not in (measured_on, threshold_from)
    ways = ways_to_score(measured) if comparable else {CLASSIFIER: scores_of(measured)}
    found = {
        "examples": {name: count_origins(part) for name, part in examples.items()},
        "settings": {name: getattr(searched.best.settings, name) for name in SEARCHED},
        "trials": searched.trials,
        "searched_on": searched.judged_on,
        "threshold_from": threshold_from,
        "held_out": measure(scores_of(held_out), labels_of(held_out), threshold),
        "held_out_web": measure_part(part_of(held_out, "web pages"), threshold),
        "held_out_annotated": measure_part(part_of(held_out, "annotated pages"), threshold),
        "measured_on": measured_on,
        "confusion": confusion(scores_of(measured), labels_of(measured), threshold),
        "reliability": rows,
        "calibration_error": calibration_error(rows),
        "alternatives": compare(ways_to_score(known), ways, labels_of(known), labels_of(measured)) if comparable else [],
        "model_bytes": (folder / "quality.bin").stat().st_size,
    }
    write_json(folder / "measures.json", found)
    write_json(folder / "thresholds.json", threshold_table(scores_of(held_out), labels_of(held_out)))
    quality_figure(scores_of(held_out), labels_of(held_out), measured_on, ways, labels_of(measured), folder / "quality.png")
    return found


def score_examples(examples: Sequence[Example], folder: Path, web_index: Path, queries: Path) -> pa.Table:
    """Return examples with their scores by the classifier in ``folder`` and, for web pages, by its alternatives."""
    pages = [e for e in examples if e.origin != "seed"]
    similarity = dict(zip(pages, query_similarity([e.document_id for e in pages], web_index, queries).tolist(), strict=True))
    heuristic = dict(zip(pages, heuristic_scores(e.text for e in pages).tolist(), strict=True))
    columns = [
        [e.document_id for e in examples],
        [e.origin for e in examples],
        [e.positive for e in examples],
        score_texts(folder, [e.text for e in examples]),
        [similarity.get(e) for e in examples],
        [heuristic.get(e) for e in examples],
    ]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SCORED_SCHEMA.types, strict=True)]
    return pa.table(arrays, schema=SCORED_SCHEMA)


def ways_to_score(pages: pa.Table) -> dict[str, np.ndarray]:
    """Return the scores of web pages by the classifier, and by each alternative to it."""
    return {
        CLASSIFIER: scores_of(pages),
        SIMILARITY: pages["similarity"].to_numpy(),
        HEURISTIC: pages["heuristic"].to_numpy(),
        CONSTANT: np.zeros(pages.num_rows),
    }


def part_of(examples: pa.Table, part: str) -> pa.Table:
    """Return the examples of one of `PARTS`."""
    return examples.filter(pc.field("origin").isin(list(PARTS[part])))


def scores_of(examples: pa.Table) -> np.ndarray:
    """Return the classifier's scores."""
    return examples["quality_score"].to_numpy()


def labels_of(examples: pa.Table) -> np.ndarray:
    """Return which examples are positive."""
    return examples["positive"].to_numpy(zero_copy_only=False)


def has_both_classes(examples: pa.Table) -> bool:
    """Tell whether there are positive and negative examples."""
    return len(examples["positive"].unique()) == 2


def measure_part(examples: pa.Table, threshold: float) -> Measures | None:
    """Return the measures of some examples; None where there is none."""
    return measure(scores_of(examples), labels_of(examples), threshold) if examples.num_rows else None


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n")
