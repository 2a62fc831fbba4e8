import time

import pytest
from judge_server import FILTERED, JudgeServer, completion

from hephaestus_dag.chat_server import CHARACTERS_PER_TOKEN, retry_after
from hephaestus_dag.language_model import Reply, Tokens
from hephaestus_dag.quality.annotator import Annotation
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.openai_annotator import MAX_ANSWER_TOKENS, OpenAIAnnotator, parse_reply
from hephaestus_dag.quality.rubric import Rubric

RUBRIC = Rubric("test", "Useful?\n{document}\nAnswer Yes or No.")
GRADED = Rubric("graded", "Useful?\n{document}\nGive a grade from 0 to 5.")


def annotator(endpoint: str, **settings) -> OpenAIAnnotator:
    values = {"kind": "openai", "model": "judge", "endpoint": endpoint, "timeout_seconds": 0.5, "retries": 2}
    return OpenAIAnnotator(AnnotatorConfig.model_validate({**values, "backoff_seconds": 0.01, **settings}))


def ask(server: JudgeServer, *texts: str, rubric: Rubric = RUBRIC, **settings) -> list[Annotation]:
    found = dict(annotator(server.endpoint, **settings).annotate(rubric, texts))
    return [found[number] for number in range(len(texts))]


def test_every_text_gets_its_own_answer(server: JudgeServer):
    texts = [f"{'GET' if n % 3 else 'story'} {n}" for n in range(40)]
    answers = ask(server, *texts, concurrency=8)
    assert [a.score for a in answers] == [float("GET" in text) for text in texts]
    assert set(server.asked.values()) == {1}


def test_texts_are_drawn_no_earlier_than_a_request_is_free(server: JudgeServer):
    drawn: list[int] = []
    texts = (drawn.append(n) or f"GET {n}" for n in range(20))
    answers = annotator(server.endpoint, concurrency=3).annotate(RUBRIC, texts)
    for came, _ in enumerate(answers, start=1):
        assert len(drawn) <= came + 3


def test_requests_are_deterministic_and_carry_the_rubric(server: JudgeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_KEY", "secret\n")
    ask(server, "GET it", api_key_env="JUDGE_KEY")
    (request,) = server.seen
    assert request["path"] == "/v1/chat/completions"
    assert (request["model"], request["temperature"], request["key"]) == ("judge", 0, "Bearer secret")
    assert request["messages"] == [{"role": "user", "content": "Useful?\nGET it\nAnswer Yes or No."}]


PASSING = (
    "busy twice",
    "broken twice",
    "nonsense twice",
    "html twice",
    "empty twice",
    "error in the body twice",
    "closes once",
    "slow once",
)


@pytest.mark.parametrize("page", PASSING)
def test_what_passes_is_tried_again(server: JudgeServer, page: str):
    (answer,) = ask(server, page)
    assert (answer.score, answer.status) == (0.0, "ok")
    assert server.asked == {page: 2 if "once" in page else 3}


def test_a_date_in_retry_after_is_waited_for(server: JudgeServer):
    started = time.monotonic()
    (answer,) = ask(server, "busy until a date")
    assert answer.status == "ok"
    assert time.monotonic() - started > 0.9


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("", 0, 0),
        ("soon", 0, 0),
        ("-3", 0, 0),
        ("²", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 31 Dec 9998 23:59:59 -0000", 1e9, 1e12),
        ("Fri, 99 Dec 99999999999999999999 23:59:59 GMT", 0, 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str, least: float, most: float):
    assert least <= retry_after(header) <= most


@pytest.mark.parametrize("reply", [(503, "gone", {}), (200, "<html>", {}), (200, "[1]", {}), (200, '{"choices": []}', {})])
def test_what_lasts_is_an_error_without_a_score(server: JudgeServer, reply: tuple[int, str, dict[str, str]]):
    server.replies["page"] = reply
    (answer,) = ask(server, "page")
    assert (answer.score, answer.status) == (None, "error")
    assert str(reply[0]) in answer.raw
    assert reply[1] in answer.raw
    assert server.asked["page"] == 3


def test_a_server_that_is_too_slow_is_an_error(server: JudgeServer):
    server.delay = 0.4
    (answer,) = ask(server, "page", timeout_seconds=0.1, retries=1)
    assert (answer.score, answer.status) == (None, "error")
    assert "Timeout" in answer.raw


def test_a_server_that_is_not_there_is_an_error():
    found = annotator("http://127.0.0.1:9/v1", retries=1).annotate(RUBRIC, ["page"])
    assert [(answer.score, answer.status) for _, answer in found] == [(None, "error")]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_wrong_is_not_tried_again(server: JudgeServer, status: int):
    server.replies["page"] = (status, "context length exceeded", {})
    (answer,) = ask(server, "page")
    assert (answer.score, answer.status) == (None, "error")
    assert server.asked["page"] == 1


@pytest.mark.parametrize(
    "reply",
    [
        (400, str(FILTERED).replace("'", '"'), {}),
        (403, "Your input was flagged by moderation", {}),
        (200, completion("", "content_filter"), {}),
        (200, completion(None, refusal="I cannot judge that"), {}),
    ],
)
def test_what_a_filter_turns_away_is_refused_and_not_tried_again(server: JudgeServer, reply: tuple[int, str, dict[str, str]]):
    server.replies["page"] = reply
    (answer,) = ask(server, "page")
    assert (answer.score, answer.status) == (None, "refused")
    assert server.asked["page"] == 1


@pytest.mark.parametrize(
    "body",
    [completion("I would say yes, perhaps"), completion(None, "length"), completion("4"), completion(""), completion("\ud800")],
)
def test_what_the_rubric_does_not_allow_is_invalid_and_not_guessed(server: JudgeServer, body: str):
    server.replies["page"] = (200, body, {})
    (answer,) = ask(server, "page")
    assert (answer.score, answer.status) == (None, "invalid")
    assert answer.raw.encode() or body == completion("")
    assert server.asked["page"] == 1


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, PermissionError, "api_key_env"),
        (403, PermissionError, "api_key_env"),
        (402, PermissionError, "credit"),
        (404, LookupError, "judge"),
    ],
)
def test_what_no_request_can_pass_stops_the_run(server: JudgeServer, status: int, error: type[Exception], words: str):
    texts = [f"page {n}" for n in range(30)]
    server.replies = {text: (status, "no", {}) for text in texts}
    with pytest.raises(error, match=words):
        ask(server, *texts, concurrency=2)
    assert sum(server.asked.values()) <= 4


def test_answers_under_way_arrive_before_a_refused_key_is_raised(server: JudgeServer):
    server.replies["first"] = (401, "no", {})
    server.delay = 0.05
    found = []
    with pytest.raises(PermissionError):
        found.extend(annotator(server.endpoint, concurrency=4).annotate(RUBRIC, ["first", "GET 1", "GET 2", "GET 3"]))
    assert sorted(number for number, _ in found) == [1, 2, 3]


def test_tokens_are_the_servers_count_or_four_characters_each(server: JudgeServer):
    (counted,) = ask(server, "GET it")
    assert counted.tokens == Tokens(100, 1)
    server.usage = {"prompt_tokens": "many"}
    (estimated,) = ask(server, "GET it")
    assert estimated.tokens == Tokens(-(-len(RUBRIC.fill("GET it")) // CHARACTERS_PER_TOKEN), 1)
    assert annotator(server.endpoint).count(RUBRIC, "GET it") == Tokens(estimated.tokens.read, MAX_ANSWER_TOKENS)


def test_only_max_tokens_of_the_document_are_sent(server: JudgeServer):
    ask(server, "x" * 1000, max_tokens=16)
    assert server.asked == {"x" * 64: 1}


@pytest.mark.parametrize(
    ("key", "words"), [(None, "not set"), ("", "not set"), ("two\nlines-of-key", "no key"), ("schlüssel", "no key")]
)
def test_a_key_that_cannot_be_sent_is_named_before_any_request(
    server: JudgeServer, monkeypatch: pytest.MonkeyPatch, key: str | None, words: str
):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(ValueError, match=f"JUDGE_KEY.*{words}") as caught:
        ask(server, "page", api_key_env="JUDGE_KEY")
    assert not key or key not in str(caught.value)
    assert not server.asked


@pytest.mark.parametrize(
    ("rubric", "content", "score"),
    [
        (RUBRIC, "Yes", 1),
        (RUBRIC, "yes.", 1),
        (RUBRIC, " NO\n", 0),
        (GRADED, "0", 0),
        (GRADED, "5", 1),
        (GRADED, "2.5", 0.5),
        (GRADED, "5.0", 1),
    ],
)
def test_strict_answers_are_read(rubric: Rubric, content: str, score: float):
    assert parse_reply(Reply(content, tokens=Tokens(3, 1)), rubric) == Annotation(score, "ok", content, Tokens(3, 1))


@pytest.mark.parametrize("content", ["", "Yes, it does", "6", "-1", "5.5", "4/5", "maybe", "yesno", "٣", "1.٣"])
@pytest.mark.parametrize("rubric", [RUBRIC, GRADED])
def test_other_answers_are_invalid(rubric: Rubric, content: str):
    assert parse_reply(Reply(content), rubric) == Annotation(None, "invalid", content)


def test_a_grade_answers_no_question_for_yes_or_no():
    assert parse_reply(Reply("5"), RUBRIC).status == parse_reply(Reply("Yes"), GRADED).status == "invalid"
