import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hephaestus_dag.quality.annotator import Annotation
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.openai_annotator import OpenAIAnnotator, parse_answer
from hephaestus_dag.quality.rubric import Rubric

RUBRIC = Rubric("test", "Useful?\n{document}\nAnswer Yes or No.")


class ChatHandler(BaseHTTPRequestHandler):
    """A chat server that does what the document in the question tells it to."""

    protocol_version = "HTTP/1.1"
    attempts: Counter[str]
    seen: list[dict]

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        document = request["messages"][0]["content"].split("\n")[1]
        self.attempts[document] += 1
        self.seen.append({"path": self.path, "key": self.headers.get("Authorization"), **request})
        tries = self.attempts[document]
        if document == "busy once" and tries == 1:
            return self.reply(429, "slow down", {"Retry-After": "0"})
        if document == "broken twice" and tries <= 2:
            return self.reply(500, "oops")
        if document == "always broken":
            return self.reply(503, "gone")
        if document == "too long":
            return self.reply(400, "context length exceeded")
        if document == "slow once" and tries == 1:
            time.sleep(1.0)
        if document == "not json":
            return self.reply(200, "<html>")
        if document == "no choices":
            return self.reply(200, json.dumps({"choices": []}))
        answer = {"nonsense": "I would say yes, perhaps", "prose": "No", "number": "4"}.get(document, "Yes")
        return self.reply(200, json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}))

    def reply(self, status: int, body: str, headers: dict[str, str] | None = None):
        payload = body.encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format, *args):
        pass


class QuietServer(ThreadingHTTPServer):
    """Says nothing when a client that timed out is gone."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def server() -> Iterator[QuietServer]:
    handler = type("Handler", (ChatHandler,), {"attempts": Counter(), "seen": []})
    with QuietServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def handler_of(server: QuietServer) -> Any:
    """Return the server's own handler class, which counts requests and can be changed."""
    return server.RequestHandlerClass


def ask(server: QuietServer, *texts: str, **settings) -> list[Annotation]:
    values = {
        "kind": "openai",
        "model": "judge",
        "endpoint": f"http://127.0.0.1:{server.server_address[1]}/v1",
        "timeout_seconds": 0.5,
        "retries": 2,
        "backoff_seconds": 0.01,
        **settings,
    }
    return OpenAIAnnotator(AnnotatorConfig.model_validate(values), RUBRIC).annotate(texts)


def test_answers_come_back_in_order(server: QuietServer):
    answers = ask(server, "tool", "prose", "number", "tool", concurrency=4)
    assert [a.score for a in answers] == [1.0, 0.0, 0.8, 1.0]


def test_requests_are_deterministic_and_carry_the_rubric(server: QuietServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    ask(server, "tool", api_key_env="JUDGE_KEY")
    (request,) = handler_of(server).seen
    assert request["path"] == "/v1/chat/completions"
    assert (request["model"], request["temperature"], request["key"]) == ("judge", 0, "Bearer secret")
    assert request["messages"] == [{"role": "user", "content": "Useful?\ntool\nAnswer Yes or No."}]


def test_what_passes_is_tried_again(server: QuietServer):
    answers = ask(server, "busy once", "broken twice", "slow once")
    assert [a.status for a in answers] == ["ok"] * 3
    assert handler_of(server).attempts == {"busy once": 2, "broken twice": 3, "slow once": 2}


def test_what_lasts_is_an_error_without_a_score(server: QuietServer):
    (answer,) = ask(server, "always broken")
    assert (answer.score, answer.status) == (None, "error")
    assert "503" in answer.raw
    assert handler_of(server).attempts["always broken"] == 3


def test_a_refused_document_is_not_tried_again(server: QuietServer):
    (answer,) = ask(server, "too long")
    assert (answer.score, answer.status) == (None, "error")
    assert handler_of(server).attempts["too long"] == 1


@pytest.mark.parametrize("document", ["nonsense", "not json", "no choices"])
def test_what_is_no_answer_is_invalid_and_not_guessed(server: QuietServer, document: str):
    (answer,) = ask(server, document)
    assert (answer.score, answer.status) == (None, "invalid")


def test_a_server_that_is_not_there_is_an_error():
    config = AnnotatorConfig(
        kind="openai", model="judge", endpoint="http://127.0.0.1:9/v1", retries=1, backoff_seconds=0.01, timeout_seconds=0.5
    )
    (answer,) = OpenAIAnnotator(config, RUBRIC).annotate(["tool"])
    assert (answer.score, answer.status) == (None, "error")


def test_a_wrong_address_stops_the_run(server: QuietServer):
    handler_of(server).do_POST = lambda self: self.reply(404, "no such model")
    with pytest.raises(LookupError, match="judge"):
        ask(server, "tool")


def test_a_wrong_key_stops_the_run(server: QuietServer):
    handler_of(server).do_POST = lambda self: self.reply(401, "who are you")
    with pytest.raises(PermissionError, match="api_key_env"):
        ask(server, "tool")


def test_a_missing_key_is_named_before_any_request(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    config = AnnotatorConfig(kind="openai", model="judge", endpoint="http://127.0.0.1:9/v1", api_key_env="JUDGE_KEY")
    with pytest.raises(ValueError, match="JUDGE_KEY"):
        OpenAIAnnotator(config, RUBRIC)


@pytest.mark.parametrize(
    ("content", "score"),
    [("Yes", 1), ("yes.", 1), (" NO\n", 0), ("0", 0), ("5", 1), ("2.5", 0.5), ("5.0", 1)],
)
def test_strict_answers_are_read(content: str, score: float):
    assert parse_answer(content) == Annotation(score, "ok", content)


@pytest.mark.parametrize("content", ["", "Yes, it does", "6", "-1", "5.5", "4/5", "maybe", "yesno"])
def test_other_answers_are_invalid(content: str):
    assert parse_answer(content) == Annotation(None, "invalid", content)
