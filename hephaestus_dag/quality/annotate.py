"""Annotate a sample of web pages, and ask about a part of it again in other words, to see how far to trust the answers."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.map_over import MapOver, in_order
from hephaestus_dag.quality.agreement import agreement
from hephaestus_dag.quality.annotator import Annotation, annotator_identity, make_annotator
from hephaestus_dag.quality.config import AnnotationConfig
from hephaestus_dag.quality.inquiry import Inquiry, Round
from hephaestus_dag.quality.measures import area_under_curve
from hephaestus_dag.quality.rubric import load_rubric
from hephaestus_dag.quality.sample import NOT_RETRIEVED, draw_sample, read_texts, strata_names
from hephaestus_dag.quality.spending import cost_of

ANNOTATION_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("stratum", pa.string()),
        ("score", pa.float64()),
        ("good", pa.bool_()),
        ("status", pa.string()),
        ("raw", pa.string()),
        ("recheck_score", pa.float64()),
    ]
)


def annotation_identity(config: AnnotationConfig) -> dict[str, Any]:
    """Return what decides the answers besides the pages: the annotator and the wording of both rubrics."""
    return {
        "annotator": annotator_identity(config.annotator),
        "rubric": load_rubric(config.rubric).sha256,
        "recheck_rubric": load_rubric(config.recheck_rubric).sha256 if config.recheck_samples else None,
    }


def annotate_sample(
    web_corpus: Path,
    retrieved: Path,
    config: AnnotationConfig,
    cache: Path,
    answers: Path,
    folder: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    map_over: MapOver = in_order,
) -> dict[str, Any]:
    """Annotate a sample of the web corpus, and write ``annotations.parquet`` into ``folder``.

    ``retrieved`` is the retrieved.parquet of the retrieval step, ``cache`` where a packaged model is unpacked, ``answers`` a
    folder that outlives the build, ``map_over`` what spreads a local model's work. Columns: document_id, stratum, score
    (0 to 1, null unless status is ok), good, status, raw, recheck_score (null where a page was not asked about again).

    Returns the counts by status and stratum, the cut, how well the scores tell the pages of the highest stratum from those
    not retrieved, how far the recheck agrees (None without one), what was asked now and taken over, and what the answers about
    this sample took, then and now, in tokens and money. Raises RuntimeError at a ceiling, when the annotator is gone, and when
    fewer than half of the pages got a score; all answers are kept.
    """
    sample = draw_sample(web_corpus, retrieved, config)
    if not sample:
        raise ValueError(f"{web_corpus} holds no pages to annotate")
    texts = read_texts(web_corpus, sample)
    rounds = [Round(load_rubric(config.rubric), texts)]
    if config.recheck_samples:
        again = dict(list(texts.items())[: config.recheck_samples])
        rounds.append(Round(load_rubric(config.recheck_rubric), again))
    inquiry = Inquiry(config, make_annotator(config.annotator, cache, device, map_over), answers, progress)
    estimate = inquiry.estimate(rounds)

    ids, found = sorted(sample), inquiry.ask(rounds[0])
    first = scores_of(found, ids)
    scored = np.isfinite(first)
    if scored.sum() < len(ids) / 2:
        example = next(found[i] for i in ids if found[i].status != "ok")
        counts = count_statuses(found)
        raise RuntimeError(f"only {scored.sum()} of {len(ids)} pages got a score ({counts}); for example: {example.raw}")
    rechecked = inquiry.ask(rounds[1]) if config.recheck_samples else {}
    second = scores_of(rechecked, ids)
    cut = cut_of(first[scored], config)
    write_annotations(folder / "annotations.parquet", sample, found, cut, dict(zip(ids, second.tolist(), strict=True)))

    strata = np.array([sample[identity] for identity in ids])
    groups = {name: first[scored & (strata == name)] for name in strata_names(config.num_strata)}
    highest, *_ = groups
    return {
        "pages": len(ids),
        "by_status": count_statuses(found),
        "rubric": rounds[0].rubric.name,
        "rubric_sha256": rounds[0].rubric.sha256,
        "annotator": annotator_identity(config.annotator),
        "cut": cut,
        "good": int((first[scored] > cut).sum()),
        "mean_score": {name: float(group.mean()) if len(group) else None for name, group in groups.items()},
        "highest_over_not_retrieved_auc": area_under_curve(groups[highest], groups[NOT_RETRIEVED]),
        "recheck": compare(first, second, cut, config) | {"by_status": count_statuses(rechecked)} if rechecked else None,
        **estimate,
        "asked": inquiry.asked,
        "taken_over": sum(len(each.texts) for each in rounds) - inquiry.asked,
        "tokens_in": inquiry.ledger.total.read,
        "tokens_out": inquiry.ledger.total.written,
        "cost": cost_of(inquiry.ledger.total, config.annotator),
    }


def scores_of(answers: Mapping[str, Annotation], ids: list[str]) -> np.ndarray:
    """Return the scores of documents, NaN where there is none."""
    found = [answers[identity].score if identity in answers else None for identity in ids]
    return np.array([np.nan if score is None else score for score in found], dtype=float)


def count_statuses(answers: Mapping[str, Annotation]) -> dict[str, int]:
    """Return status → number of pages, sorted."""
    return dict(sorted(Counter(answer.status for answer in answers.values()).items()))


def cut_of(scores: np.ndarray, config: AnnotationConfig) -> float:
    """Return the score above which a page is good."""
    return float(np.median(scores)) if config.good_above == "median" else config.good_above


def compare(first: np.ndarray, second: np.ndarray, cut: float, config: AnnotationConfig) -> dict[str, Any]:
    """Return how far the pages with both scores got the same verdict, each scoring at its own cut."""
    both = np.isfinite(first) & np.isfinite(second)
    other = cut_of(second[both], config) if both.any() else cut
    return agreement(first[both], second[both], (cut, other)) | {"cut": other}


def write_annotations(
    path: Path, sample: Mapping[str, str], answers: Mapping[str, Annotation], cut: float, rechecked: Mapping[str, float]
) -> None:
    """Write the table of annotations, by document id."""
    rows = [
        {
            "document_id": identity,
            "stratum": sample[identity],
            "score": answer.score,
            "good": None if answer.score is None else answer.score > cut,
            "status": answer.status,
            "raw": answer.raw,
            "recheck_score": None if np.isnan(rechecked[identity]) else rechecked[identity],
        }
        for identity, answer in sorted(answers.items())
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, ANNOTATION_SCHEMA), path, compression="zstd")
