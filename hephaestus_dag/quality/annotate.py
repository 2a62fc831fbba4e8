"""Annotate a sample of web pages, stratified by how strongly retrieval found them.

Each answer is appended to a journal as soon as it is there, under (document, rubric, annotator): a run that was stopped
goes on where it was, and a larger sample asks only about the new pages. Errors are not kept, so they are asked again.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.documents import read_document_table, read_documents
from hephaestus_dag.journal import answer_with_journal, identity_hash
from hephaestus_dag.models import resolve_model
from hephaestus_dag.quality.annotator import Annotation, Annotator
from hephaestus_dag.quality.config import AnnotationConfig, AnnotatorConfig
from hephaestus_dag.quality.measures import area_under_curve
from hephaestus_dag.quality.rubric import Rubric, load_rubric

STRATA = ("strong", "weak", "rejected")
CHUNK = 32  # Pages between two writes of the journal: what a stop can cost.
ANNOTATION_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("stratum", pa.string()),
        ("score", pa.float64()),
        ("good", pa.bool_()),
        ("status", pa.string()),
        ("raw", pa.string()),
    ]
)


def make_annotator(config: AnnotatorConfig, rubric: Rubric, cache: Path, device: str = "cpu") -> Annotator:
    """Return the annotator that a configuration describes. ``cache`` is where a packaged model is unpacked."""
    if config.kind == "openai":
        from hephaestus_dag.quality.openai_annotator import OpenAIAnnotator

        return OpenAIAnnotator(config, rubric)
    from hephaestus_dag.quality.local_annotator import TransformersAnnotator

    return TransformersAnnotator(config, resolve_model(config.model, cache), rubric, device)


def annotate_sample(
    web_corpus: Path,
    retrieved: Path,
    annotator: Annotator,
    config: AnnotationConfig,
    folder: Path,
    journal: Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Annotate a sample of the web corpus, and write ``annotations.parquet`` into ``folder``.

    ``retrieved`` is the retrieved.parquet of the retrieval step. ``journal`` is a JSON-lines file that outlives the run.
    Columns: document_id, stratum (strong, weak, rejected), score (0 to 1, null unless status is ok), good, status, raw.
    Returns counts by status and stratum, the cut, and how well the scores tell strongly retrieved pages from rejected ones.
    Raises RuntimeError when fewer than half of the pages got a score.
    """
    rubric = load_rubric(config.rubric)
    sample = draw_sample(web_corpus, retrieved, config)
    texts = read_texts(web_corpus, sample)
    answers = answer_with_journal(
        {identity: identity for identity in texts},
        lambda ids: annotator.annotate([texts[identity] for identity in ids]),
        Annotation,
        journal,
        field="document_id",
        who={"rubric": rubric.sha256, "annotator": identity_hash(annotator.identity)},
        chunk=CHUNK,
        progress=progress,
    )

    ids = sorted(sample)
    scores = np.array([answers[i].score if answers[i].status == "ok" else np.nan for i in ids], dtype=float)
    scored = np.isfinite(scores)
    by_status = Counter(answers[i].status for i in ids)
    if scored.sum() < len(ids) / 2:
        example = next(answers[i] for i in ids if answers[i].status != "ok")
        raise RuntimeError(
            f"only {scored.sum()} of {len(ids)} pages got a score ({dict(by_status)}); for example: {example.raw}"
        )
    cut = float(np.median(scores[scored])) if config.good_above == "median" else config.good_above
    rows = [
        {
            "document_id": identity,
            "stratum": sample[identity],
            "score": float(score) if known else None,
            "good": bool(score > cut) if known else None,
            "status": answers[identity].status,
            "raw": answers[identity].raw,
        }
        for identity, score, known in zip(ids, scores, scored, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, ANNOTATION_SCHEMA), folder / "annotations.parquet", compression="zstd")

    strata = np.array([sample[identity] for identity in ids])
    groups = {name: scores[scored & (strata == name)] for name in STRATA}
    return {
        "pages": len(ids),
        "by_status": dict(sorted(by_status.items())),
        "rubric": rubric.name,
        "rubric_sha256": rubric.sha256,
        "annotator": annotator.identity,
        "cut": cut,
        "good": int((scores[scored] > cut).sum()),
        "mean_score": {name: float(group.mean()) if len(group) else None for name, group in groups.items()},
        "strong_over_rejected_auc": area_under_curve(groups["strong"], groups["rejected"]),
    }


def draw_sample(web_corpus: Path, retrieved: Path, config: AnnotationConfig) -> dict[str, str]:
    """Return document id → stratum for the pages to annotate.

    Strong and weak are the upper and the lower half of the retrieved pages by best score, rejected the pages that were not
    retrieved. Each gives a third; what a small stratum lacks, the others give.
    """
    table = pq.read_table(retrieved, columns=["document_id", "best_score"])
    found = table.sort_by([("best_score", "descending"), ("document_id", "ascending")])["document_id"].to_pylist()
    everything = set(read_document_table(web_corpus, ["id"])["id"].to_pylist())
    strangers = set(found) - everything
    if strangers:
        raise ValueError(f"{retrieved.name} names documents that the web corpus lacks, such as {min(strangers)}")
    half = (len(found) + 1) // 2
    members = {"strong": found[:half], "weak": found[half:], "rejected": sorted(everything - set(found))}
    generator = np.random.default_rng(config.seed)
    shuffled = {name: generator.permutation(np.array(sorted(members[name]), dtype=object)) for name in STRATA}
    quota = shares({name: len(shuffled[name]) for name in STRATA}, config.num_samples)
    return {identity: name for name in STRATA for identity in shuffled[name][: quota[name]]}


def shares(available: dict[str, int], total: int) -> dict[str, int]:
    """Divide a total evenly over groups, none getting more than it has; early groups get the odd ones."""
    taken = dict.fromkeys(available, 0)
    for _ in range(min(total, sum(available.values()))):
        name = min((name for name in available if taken[name] < available[name]), key=lambda name: taken[name])
        taken[name] += 1
    return taken


def read_texts(documents: Path, wanted: dict[str, str]) -> dict[str, str]:
    """Return id → text for the wanted ids, in order of the ids."""
    texts: dict[str, str] = {}
    for batch in read_documents(documents, ["id", "text"]):
        pairs = zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
        texts |= {identity: text for identity, text in pairs if identity in wanted}
    return dict(sorted(texts.items()))
