import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hephaestus_dag.documents import document_id
from hephaestus_dag.quality.annotate import annotate_sample, draw_sample, make_annotator, shares
from hephaestus_dag.quality.annotator import Annotation
from hephaestus_dag.quality.config import AnnotationConfig, AnnotatorConfig
from hephaestus_dag.quality.rubric import load_rubric

PAGES = [f"GET /thing/{n} returns thing number {n}" if n < 120 else f"a story about day {n}" for n in range(240)]


class WordJudge:
    """Judges by a word, so that the sampling and the journal around a judge can be watched."""

    def __init__(self, word: str = "GET", fails_on: str = "") -> None:
        self.word, self.fails_on = word, fails_on
        self.identity: dict[str, Any] = {"word": word}
        self.asked: list[str] = []

    def annotate(self, texts: Sequence[str]) -> list[Annotation]:
        self.asked += texts
        return [self.judge(text) for text in texts]

    def judge(self, text: str) -> Annotation:
        if self.fails_on and self.fails_on in text:
            return Annotation(None, "error", "lost")
        return Annotation(float(self.word in text), "ok", self.word)


class StoppedJudge(WordJudge):
    """Is killed while it judges its third chunk."""

    def annotate(self, texts: Sequence[str]) -> list[Annotation]:
        if len(self.asked) >= 64:
            raise KeyboardInterrupt
        return super().annotate(texts)


@pytest.fixture
def web(corpus: Callable[..., Path]) -> Path:
    return corpus("web", PAGES, documents_per_shard=100)


@pytest.fixture
def retrieved(tmp_path: Path) -> Path:
    """The first 80 pages were found, the lower the number the better."""
    path = tmp_path / "retrieved.parquet"
    ids = [document_id(text) for text in PAGES[:80]]
    pq.write_table(pa.table({"document_id": ids, "best_score": [1 - n / 100 for n in range(80)]}), path)
    return path


def run(web: Path, retrieved: Path, judge: WordJudge, folder: Path, journal: Path, **settings) -> dict[str, Any]:
    config = AnnotationConfig.model_validate({"num_samples": 100, "good_above": 0.5, **settings})
    return annotate_sample(web, retrieved, judge, config, folder, journal)


def test_strata_follow_the_retrieval_scores(web: Path, retrieved: Path):
    sample = draw_sample(web, retrieved, AnnotationConfig(num_samples=100))
    strata = {name: {i for i, s in sample.items() if s == name} for name in ("strong", "weak", "rejected")}
    ids = [document_id(text) for text in PAGES]
    assert {name: len(members) for name, members in strata.items()} == {"strong": 34, "weak": 33, "rejected": 33}
    assert strata["strong"] <= set(ids[:40])
    assert strata["weak"] <= set(ids[40:80])
    assert strata["rejected"] <= set(ids[80:])


def test_another_seed_draws_another_sample(web: Path, retrieved: Path):
    one, other = (draw_sample(web, retrieved, AnnotationConfig(num_samples=100, seed=seed)) for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize(
    ("available", "total", "expected"),
    [([50, 50, 50], 30, [10, 10, 10]), ([2, 50, 50], 30, [2, 14, 14]), ([1, 1, 1], 30, [1, 1, 1]), ([0, 9, 0], 5, [0, 5, 0])],
)
def test_what_a_stratum_lacks_others_give(available: list[int], total: int, expected: list[int]):
    assert list(shares(dict(zip("abc", available, strict=True)), total).values()) == expected


def test_annotations_say_who_is_good(web: Path, retrieved: Path, tmp_path: Path):
    figures = run(web, retrieved, WordJudge(), tmp_path / "out", tmp_path / "journal.jsonl")
    rows = pq.read_table(tmp_path / "out" / "annotations.parquet").to_pylist()
    good = {document_id(text) for text in PAGES if "GET" in text}
    assert all(row["good"] == (row["document_id"] in good) for row in rows)
    assert figures["pages"] == len(rows) == 100
    assert figures["good"] == sum(row["good"] for row in rows)
    assert figures["strong_over_rejected_auc"] > 0.5


def test_the_cut_moves_what_is_good(web: Path, retrieved: Path, tmp_path: Path):
    low = run(web, retrieved, WordJudge(), tmp_path / "a", tmp_path / "journal.jsonl", good_above=0.0)
    median = run(web, retrieved, WordJudge("GET /thing/1"), tmp_path / "b", tmp_path / "journal.jsonl", good_above="median")
    assert low["cut"] == 0.0
    assert low["good"] > median["good"] > 0


def test_a_second_run_asks_nothing_and_gives_the_same_bytes(web: Path, retrieved: Path, tmp_path: Path):
    journal = tmp_path / "work" / "journal.jsonl"
    first, second = WordJudge(), WordJudge()
    run(web, retrieved, first, tmp_path / "a", journal)
    run(web, retrieved, second, tmp_path / "b", journal)
    assert len(first.asked) == 100
    assert second.asked == []
    assert (tmp_path / "a/annotations.parquet").read_bytes() == (tmp_path / "b/annotations.parquet").read_bytes()


def test_a_stopped_run_goes_on_where_it_was(web: Path, retrieved: Path, tmp_path: Path):
    journal = tmp_path / "journal.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(web, retrieved, StoppedJudge(), tmp_path / "a", journal)
    journal.write_text(journal.read_text()[:-10])  # The stop tore the last line.
    judge = WordJudge()
    run(web, retrieved, judge, tmp_path / "b", journal)
    assert len(judge.asked) == 100 - 63
    run(web, retrieved, WordJudge(), tmp_path / "c", tmp_path / "other.jsonl")
    assert (tmp_path / "b/annotations.parquet").read_bytes() == (tmp_path / "c/annotations.parquet").read_bytes()
    assert len([line for line in journal.read_text().splitlines() if is_json(line)]) == 100


def test_another_annotator_or_rubric_is_asked_anew(web: Path, retrieved: Path, tmp_path: Path):
    journal, rubric = tmp_path / "journal.jsonl", tmp_path / "mine.txt"
    rubric.write_text("Good? {document}")
    run(web, retrieved, WordJudge(), tmp_path / "a", journal)
    other_word, other_rubric = WordJudge("story"), WordJudge()
    run(web, retrieved, other_word, tmp_path / "b", journal)
    run(web, retrieved, other_rubric, tmp_path / "c", journal, rubric=str(rubric))
    assert len(other_word.asked) == len(other_rubric.asked) == 100


def test_errors_are_counted_without_score_and_asked_again(web: Path, retrieved: Path, tmp_path: Path):
    journal = tmp_path / "journal.jsonl"
    figures = run(web, retrieved, WordJudge(fails_on="story"), tmp_path / "a", journal)
    failed = [r for r in pq.read_table(tmp_path / "a/annotations.parquet").to_pylist() if r["status"] == "error"]
    assert figures["by_status"] == {"error": len(failed), "ok": 100 - len(failed)}
    assert failed
    assert all(row["score"] is None and row["good"] is None for row in failed)
    again = WordJudge()
    assert run(web, retrieved, again, tmp_path / "b", journal)["by_status"] == {"ok": 100}
    assert len(again.asked) == len(failed)


def test_too_many_errors_stop_the_run(web: Path, retrieved: Path, tmp_path: Path):
    with pytest.raises(RuntimeError, match="lost"):
        run(web, retrieved, WordJudge(fails_on=" "), tmp_path / "a", tmp_path / "journal.jsonl")


def test_a_local_model_annotates_a_sample(web: Path, retrieved: Path, tiny_llama: Path, tmp_path: Path):
    config = AnnotatorConfig(model=str(tiny_llama), dtype="float32", max_tokens=32, batch_size=32)
    judge = make_annotator(config, load_rubric("agent_relevance_v1"), tmp_path)
    figures = annotate_sample(web, retrieved, judge, AnnotationConfig(num_samples=100), tmp_path / "out", tmp_path / "j.jsonl")
    assert figures["by_status"] == {"ok": 100}
    assert 0 < figures["good"] <= 50


def test_rubric_needs_one_place_for_the_document(tmp_path: Path):
    path = tmp_path / "bad.txt"
    path.write_text("no place")
    with pytest.raises(ValueError, match="exactly once"):
        load_rubric(str(path))
    with pytest.raises(FileNotFoundError, match="agent_relevance_v1"):
        load_rubric("agent_relevance_v0")


def test_server_without_address_is_refused():
    with pytest.raises(ValueError, match="endpoint"):
        AnnotatorConfig(kind="openai", model="judge")


def is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
