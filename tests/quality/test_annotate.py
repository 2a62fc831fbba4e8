import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from judge_server import FILTERED, JudgeServer, completion

from hephaestus_dag.documents import document_id
from hephaestus_dag.quality.annotate import ANNOTATION_SCHEMA, annotate_sample, annotation_identity
from hephaestus_dag.quality.config import AnnotationConfig, AnnotatorConfig
from hephaestus_dag.quality.inquiry import FAILURES_IN_A_ROW
from hephaestus_dag.quality.rubric import load_rubric
from hephaestus_dag.quality.sample import draw_sample

PAGES = [f"GET /thing/{n} returns thing number {n}" if n < 120 else f"a story about day {n}" for n in range(240)]
PROGRAM = """
import json, sys
from pathlib import Path
from hephaestus_dag.quality.annotate import annotate_sample
from hephaestus_dag.quality.config import AnnotationConfig
config, *paths = sys.argv[1:]
web, retrieved, *places = map(Path, paths)
annotate_sample(web, retrieved, AnnotationConfig(**json.loads(config)), *places)
"""


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


@pytest.fixture
def build(web: Path, retrieved: Path, server: JudgeServer, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Annotate 100 pages by the server, 20 of them twice, into a folder of this name."""

    def run(name: str, answers: str = "answers", progress: Any = None, **settings: Any) -> dict[str, Any]:
        config = configured(server, **settings)
        return annotate_sample(web, retrieved, config, tmp_path, tmp_path / answers, tmp_path / name, progress=progress)

    return run


def configured(server: JudgeServer, annotator: dict[str, Any] | None = None, **settings: Any) -> AnnotationConfig:
    asked: dict[str, Any] = {
        "kind": "openai",
        "model": "judge",
        "endpoint": server.endpoint,
        "timeout_seconds": 5,
        "retries": 1,
    }
    asked = {**asked, "backoff_seconds": 0.01, **(annotator or {})}
    values = {"annotator": asked, "num_samples": 100, "good_above": 0.5, "recheck_samples": 20, **settings}
    return AnnotationConfig.model_validate(values)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "annotations.parquet").to_pylist()


def kept_lines(answers: Path) -> list[dict[str, Any]]:
    """Return the whole lines of all journals."""
    return [json.loads(line) for path in answers.glob("*.jsonl") for line in path.read_text().split("\n") if line.endswith("}")]


def test_annotations_say_who_is_good(build: Callable[..., dict[str, Any]], tmp_path: Path):
    figures = build("out")
    rows, good = rows_of(tmp_path / "out"), {document_id(text) for text in PAGES if "GET" in text}
    assert pq.read_schema(tmp_path / "out" / "annotations.parquet").names == ANNOTATION_SCHEMA.names
    assert [row["document_id"] for row in rows] == sorted(row["document_id"] for row in rows)
    assert all(row["good"] == (row["document_id"] in good) and row["status"] == "ok" for row in rows)
    assert figures["pages"] == len(rows) == 100
    assert figures["good"] == sum(row["good"] for row in rows)
    assert list(figures["mean_score"]) == [*(f"score {n} of 4" for n in (1, 2, 3, 4)), "not retrieved"]
    assert figures["mean_score"]["score 1 of 4"] == 1 > figures["mean_score"]["not retrieved"]
    assert figures["highest_over_not_retrieved_auc"] > 0.7


def test_grades_are_cut_where_the_recipe_says(build: Callable[..., dict[str, Any]], server: JudgeServer, tmp_path: Path):
    rubric = tmp_path / "graded_v1.txt"
    rubric.write_text("Useful?\n{document}\nGive a grade from 0 to 5.")
    server.answers = {page: str(n % 6) for n, page in enumerate(PAGES)}
    cuts = (0.0, "median", 0.8)
    found = [build(str(cut), rubric=str(rubric), recheck_samples=0, good_above=cut) for cut in cuts]
    assert [f["cut"] for f in found[::2]] == [0.0, 0.8]
    assert found[0]["good"] > found[1]["good"] > found[2]["good"] > 0
    assert all(row["good"] == (row["score"] > 0.8) for row in rows_of(tmp_path / "0.8"))
    assert found[0]["recheck"] is None


def test_a_second_build_asks_nothing_and_gives_the_same_bytes(
    build: Callable[..., dict[str, Any]], server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = build("a")
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    second = build("b", annotator={"api_key_env": "JUDGE_KEY", "input_price": 3.0, "output_price": 9.0})
    assert (first["asked"], first["taken_over"], second["asked"], second["taken_over"]) == (120, 0, 0, 120)
    assert set(server.asked.values()) == {1}
    assert (tmp_path / "a/annotations.parquet").read_bytes() == (tmp_path / "b/annotations.parquet").read_bytes()
    assert second["estimated_tokens"] == 0
    assert (second["tokens_in"], second["tokens_out"]) == (first["tokens_in"], first["tokens_out"]) == (12_000, 120)
    assert first["cost"] is None
    assert second["cost"] == pytest.approx((12_000 * 3 + 120 * 9) / 1e6)


def test_a_larger_sample_asks_about_the_new_pages_only(build: Callable[..., dict[str, Any]], server: JudgeServer):
    build("a")
    larger = build("b", num_samples=150, recheck_samples=30)
    assert (larger["asked"], larger["taken_over"]) == (60, 120)
    assert set(server.asked.values()) == {1}


def test_another_model_rubric_or_length_is_asked_anew(build: Callable[..., dict[str, Any]], tmp_path: Path):
    rubric = tmp_path / "mine_v1.txt"
    rubric.write_text("Useful?\n{document}\nAnswer Yes or No.")
    build("a", rubric=str(rubric), recheck_samples=0)
    rubric.write_text("Useful?\n{document}\nAnswer Yes or No!")
    assert build("b", rubric=str(rubric), recheck_samples=0)["asked"] == 100
    assert build("c", rubric=str(rubric), recheck_samples=0, annotator={"model": "other"})["asked"] == 100
    assert build("d", rubric=str(rubric), recheck_samples=0, annotator={"max_tokens": 300})["asked"] == 100
    assert len(list((tmp_path / "answers").iterdir())) == 4


def test_two_builds_at_once_ask_every_question_once(build: Callable[..., dict[str, Any]], server: JudgeServer, tmp_path: Path):
    server.delay, found = 0.005, []
    builds = [threading.Thread(target=lambda name=name: found.append(build(name))) for name in "abc"]
    for each in builds:
        each.start()
    for each in builds:
        each.join(60)
    assert len(found) == 3
    assert sum(figures["asked"] for figures in found) == 120
    assert set(server.asked.values()) == {1}
    assert len({(tmp_path / name / "annotations.parquet").read_bytes() for name in "abc"}) == 1


def test_a_killed_build_loses_the_requests_under_way_and_no_more(
    build: Callable[..., dict[str, Any]], server: JudgeServer, web: Path, retrieved: Path, tmp_path: Path
):
    server.delay = 0.02
    config = configured(server, annotator={"concurrency": 4}).model_dump_json()
    paths = [str(path) for path in (web, retrieved, tmp_path, tmp_path / "answers", tmp_path / "killed")]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, config, *paths])
    for _ in range(3_000):
        if sum(server.asked.values()) >= 40 or process.poll() is not None:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(0.2)
    kept, asked = {row["document_id"] for row in kept_lines(tmp_path / "answers")}, sum(server.asked.values())
    assert asked - 4 <= len(kept) <= asked < 100

    figures = build("resumed", annotator={"concurrency": 4})
    twice = {document_id(page) for page, times in server.asked.items() if times > 1}
    assert max(server.asked.values()) <= 2
    assert len(twice) <= 4
    assert not twice & kept
    assert figures["asked"] == 120 - len(kept)
    assert len(kept_lines(tmp_path / "answers")) == 120
    build("fresh", answers="others")
    assert (tmp_path / "resumed/annotations.parquet").read_bytes() == (tmp_path / "fresh/annotations.parquet").read_bytes()


def test_a_torn_line_is_asked_again(build: Callable[..., dict[str, Any]], server: JudgeServer, tmp_path: Path):
    build("a")
    for path in (tmp_path / "answers").iterdir():
        path.write_bytes(path.read_bytes()[:-10])
    assert build("b")["asked"] == 2
    assert sorted(server.asked.values()) == [1] * 118 + [2] * 2


def test_what_gets_no_score_is_counted_and_errors_are_asked_again(
    build: Callable[..., dict[str, Any]], server: JudgeServer, web: Path, retrieved: Path, tmp_path: Path
):
    config = configured(server)
    drawn = list(draw_sample(web, retrieved, config))
    failing = {
        page: kind for page in PAGES for kind in [drawn.index(document_id(page)) % 20 if document_id(page) in drawn else -1]
    }
    replies = {
        3: (200, completion("Perhaps"), {}),
        7: (400, json.dumps(FILTERED), {}),
        11: (503, "gone", {}),
        12: (200, "<html>", {}),
    }
    server.replies = {page: replies[kind] for page, kind in failing.items() if kind in replies}
    figures = build("a")
    assert figures["by_status"] == {"error": 10, "invalid": 5, "ok": 80, "refused": 5}
    unscored = [row for row in rows_of(tmp_path / "a") if row["status"] != "ok"]
    assert all(row["score"] is None and row["good"] is None and row["recheck_score"] is None for row in unscored)
    assert {row["raw"] for row in unscored} == {
        "Perhaps",
        f"HTTP 400: {json.dumps(FILTERED)}",
        "HTTP 503: gone",
        "HTTP 200: <html>",
    }
    server.replies = {}
    again = build("b")
    assert again["by_status"] == {"invalid": 5, "ok": 90, "refused": 5}
    assert again["asked"] == 10 + figures["recheck"]["by_status"]["error"]


def test_a_server_that_is_gone_stops_the_build_early(build: Callable[..., dict[str, Any]], server: JudgeServer, tmp_path: Path):
    build("a", num_samples=100)
    server.replies = {page: (500, "exploded", {}) for page in PAGES}
    with pytest.raises(RuntimeError, match=rf"120 of 220 questions answered.*{FAILURES_IN_A_ROW} answers in a row.*exploded"):
        build("b", num_samples=200, annotator={"retries": 0})
    assert not (tmp_path / "b").exists()
    assert sum(times for page, times in server.asked.items()) <= 120 + FAILURES_IN_A_ROW + 4
    server.replies = {}
    assert build("b", num_samples=200)["taken_over"] == 120


def test_too_few_scores_stop_the_build_with_an_example_and_keep_the_answers(
    build: Callable[..., dict[str, Any]], server: JudgeServer, tmp_path: Path
):
    server.answers = {page: "Sure, here you are" for n, page in enumerate(PAGES) if n % 5}
    with pytest.raises(RuntimeError, match=r"of 100 pages got a score .*invalid.*Sure, here you are"):
        build("a")
    assert len(kept_lines(tmp_path / "answers")) == 100
    assert not any(question.startswith("reworded") for question in server.asked)


def test_the_ceiling_in_tokens_stops_before_it_is_passed(
    build: Callable[..., dict[str, Any]], server: JudgeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "hephaestus_dag")
    server.delay, many = 0.01, {"concurrency": 16}
    with pytest.raises(RuntimeError, match="max_total_tokens is 5,000") as caught:
        build("a", annotator=many, max_total_tokens=5_000)
    asked = sum(server.asked.values())
    assert 30 < asked <= 5_000 // 101
    assert f"{asked} of 120 questions answered ({asked * 101:,} tokens)" in str(caught.value)
    assert "the missing ones need about" in caplog.text
    assert len(kept_lines(tmp_path / "answers")) == asked
    with pytest.raises(RuntimeError, match="max_total_tokens is 5,000"):
        build("a", annotator=many, max_total_tokens=5_000)
    assert sum(server.asked.values()) <= 5_000 // 101
    assert build("a", max_total_tokens=20_000)["tokens_in"] == 12_000
    assert set(server.asked.values()) == {1}


def test_the_ceiling_in_money_counts_the_recheck(build: Callable[..., dict[str, Any]], server: JudgeServer):
    prices = {"input_price": 1_000.0, "output_price": 5_000.0, "concurrency": 1}
    one = (100 * 1_000 + 1 * 5_000) / 1e6
    with pytest.raises(RuntimeError, match=r"reworded stopped with 10\d of 120.* cost .*max_cost is 11\.5"):
        build("a", annotator=prices, max_cost=11.5)
    assert sum(server.asked.values()) * one <= 11.5
    found = build("a", annotator=prices, max_cost=20.0)
    assert found["cost"] == pytest.approx(120 * one)
    assert set(server.asked.values()) == {1}


def test_the_estimate_is_known_before_anything_is_asked(build: Callable[..., dict[str, Any]], server: JudgeServer):
    with pytest.raises(RuntimeError, match=r"0 of 120 questions answered \(0 tokens\)"):
        build("a", max_total_tokens=10)
    assert not server.asked
    found = build("b")
    rubrics = [load_rubric(name).text for name in ("agent_relevance_v1", "agent_relevance_v1_reworded")]
    least, most = (sum((len(rubric) + page) // 4 * n for rubric, n in zip(rubrics, (100, 20), strict=True)) for page in (0, 60))
    assert least < found["estimated_tokens"] < most + 120 * 8


def test_a_sample_as_large_as_what_was_answered_goes_on_below_the_ceiling(build: Callable[..., dict[str, Any]]):
    with pytest.raises(RuntimeError, match="lower num_samples"):
        build("a", num_samples=200, max_total_tokens=12_500)
    assert build("a", num_samples=100, max_total_tokens=12_500)["asked"] <= 20


def test_the_recheck_compares_two_wordings(build: Callable[..., dict[str, Any]], server: JudgeServer, tmp_path: Path):
    server.reworded_answers = dict.fromkeys(PAGES[:200], "Yes")
    recheck = build("a")["recheck"]
    assert recheck["pages"] == 20 == recheck["by_status"]["ok"]
    rows = [row for row in rows_of(tmp_path / "a") if row["recheck_score"] is not None]
    first, second = (np.array([row[name] for row in rows]) for name in ("score", "recheck_score"))
    assert len(rows) == 20
    assert recheck["both_good"] == int((first * second).sum())
    assert recheck["only_second_good"] == int(((1 - first) * second).sum()) > 0
    assert recheck["only_first_good"] == 0
    assert recheck["same_verdict"] == (first == second).mean() < 1
    strata = {row["stratum"] for row in rows}
    assert len(strata) == 5


def test_the_key_appears_nowhere(
    build: Callable[..., dict[str, Any]],
    server: JudgeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    key = "sk-Very/Secret+0123456789"
    monkeypatch.setenv("JUDGE_KEY", key)
    caplog.set_level(logging.DEBUG)
    echoes = [(200, "your key is KEY", {}), (400, "bad key KEY", {}), (200, completion("you sent KEY"), {}), (500, "KEY", {})]
    server.replies = {page: echoes[n // 3 % 4] for n, page in enumerate(PAGES) if n % 3 == 0}
    found = build("a", annotator={"api_key_env": "JUDGE_KEY"})
    assert {"error", "invalid"} < set(found["by_status"])
    server.replies = {page: (500, "KEY " * 99, {}) for page in PAGES}
    with pytest.raises(RuntimeError, match=r"\[key\]") as caught:
        build("b", annotator={"api_key_env": "JUDGE_KEY"}, num_samples=200)
    assert all(request["key"] == f"Bearer {key}" for request in server.seen)
    told = [json.dumps(found), str(caught.value), caplog.text, *(json.dumps(row) for row in rows_of(tmp_path / "a"))]
    told += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(told) > 100
    assert not any("Very/Secret" in text or "Very\\/Secret" in text for text in told)


def test_progress_counts_the_answers_of_both_rounds(build: Callable[..., dict[str, Any]]):
    seen: list[tuple[int, int]] = []
    build("a", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 120) for n in range(1, 121)]


def test_a_local_model_annotates_a_sample_and_goes_on_with_the_same_bytes(
    web: Path, retrieved: Path, tiny_llama: Path, tmp_path: Path
):
    model = {"model": str(tiny_llama), "dtype": "float32", "max_tokens": 32, "batch_size": 1}

    def local(name: str, answers: str, **settings: Any) -> dict[str, Any]:
        config = AnnotationConfig.model_validate({"annotator": model, "num_samples": 100, "recheck_samples": 10, **settings})
        return annotate_sample(web, retrieved, config, tmp_path, tmp_path / answers, tmp_path / name)

    figures = local("whole", "one")
    assert figures["by_status"] == {"ok": 100}
    assert 0 < figures["good"] <= 50
    assert figures["tokens_in"] == figures["estimated_tokens"] > 0 == figures["tokens_out"]
    with pytest.raises(RuntimeError, match="max_total_tokens"):
        local("stopped", "two", max_total_tokens=figures["tokens_in"] // 3)
    rest = local("stopped", "two")
    assert 0 < rest["taken_over"] < 110
    assert (tmp_path / "whole/annotations.parquet").read_bytes() == (tmp_path / "stopped/annotations.parquet").read_bytes()


def test_identity_holds_what_decides_the_answers_and_no_more(server: JudgeServer, tmp_path: Path):
    same = annotation_identity(configured(server))
    free = {"input_price": 1.0, "output_price": 1.0, "retries": 9, "concurrency": 1, "endpoint": "https://elsewhere/v1"}
    assert annotation_identity(configured(server, annotator=free, max_cost=1.0, max_total_tokens=5)) == same
    mine = tmp_path / "mine_v2.txt"
    mine.write_text("{document} Yes or No?")
    assert annotation_identity(configured(server, rubric=str(mine))) != same
    assert annotation_identity(configured(server, recheck_rubric=str(mine))) != same
    assert annotation_identity(configured(server, recheck_samples=0))["recheck_rubric"] is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("no place, Yes or No", "exactly once"), ("{document}", "'Yes or No'"), ("{document} Yes or No, or 0 to 5?", "either")],
)
def test_a_rubric_that_cannot_be_asked_is_refused(tmp_path: Path, text: str, words: str):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        load_rubric(str(path))


def test_packaged_rubrics_have_versions_and_are_listed():
    with pytest.raises(FileNotFoundError, match="agent_relevance_v1, agent_relevance_v1_reworded"):
        load_rubric("agent_relevance_v0")
    assert load_rubric("agent_relevance_v1").answers == load_rubric("agent_relevance_v1_reworded").answers


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"annotator": {"kind": "openai", "model": "judge"}}, "endpoint must be"),
        ({"annotator": {"kind": "openai", "model": "j", "endpoint": "https://me:secret@host/v1"}}, "endpoint holds"),
        ({"annotator": {"endpoint": "https://host/v1"}}, "kind is transformers"),
        ({"annotator": {"api_key_env": "gsk_secret"}}, "never write the key"),
        ({"max_cost": 5.0}, "input_price"),
        ({"max_cost": 5.0, "annotator": {"input_price": 1.0}}, "output_price"),
        ({"recheck_rubric": "agent_relevance_v1"}, "must differ"),
        ({"good_above": 1.0}, "good_above"),
    ],
)
def test_a_configuration_that_cannot_work_says_what_to_change(settings: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        AnnotationConfig.model_validate(settings)


def test_what_looks_like_a_key_is_not_repeated():
    with pytest.raises(ValueError, match="api_key_env") as caught:
        AnnotatorConfig(api_key_env="gsk_secret")
    assert "gsk_secret" not in str(caught.value)
