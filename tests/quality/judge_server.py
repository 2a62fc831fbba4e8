"""A chat server on this machine that judges pages, counts how often it is asked about each, and fails where a page says so."""

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = re.compile(r"(?:Text:|Passage:|Useful\?)\n(.*?)\n+(?:Does this|Is this|Answer|Give)", re.DOTALL)
FILTERED = {"error": {"code": "content_filter", "message": "The response was filtered"}}


class JudgeHandler(BaseHTTPRequestHandler):
    """Says Yes to what holds GET, and does what a page tells it to."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        judge = self.server
        assert isinstance(judge, JudgeServer)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = request["messages"][0]["content"]
        found = PAGE.search(question)
        assert found, question
        page, reworded = found[1], "No or Yes" in question
        with judge.lock:
            judge.asked["reworded " * reworded + page] += 1
            judge.seen.append({"path": self.path, "key": self.headers.get("Authorization"), **request})
            tries = judge.asked["reworded " * reworded + page]
        time.sleep(judge.delay)
        if page in judge.replies:
            status, body, headers = judge.replies[page]
            return self.reply(
                status, body.replace("KEY", self.headers.get("Authorization", "").removeprefix("Bearer ")), headers
            )
        if tries == 1 and page == "slow once":
            time.sleep(1.0)
        if tries == 1 and page == "closes once":
            self.connection.shutdown(socket.SHUT_RDWR)
            return self.close_connection
        if tries <= 2 and page in judge.passing:
            status, body, headers = judge.passing[page]
            return self.reply(status, body, headers)
        answers = judge.reworded_answers if reworded else judge.answers
        answer = answers.get(page, "Yes" if "GET" in page else "No")
        return self.reply(200, completion(answer, usage=judge.usage))

    def reply(self, status: int, body: str, headers: dict[str, str] | None = None):
        payload = body.encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format, *args):
        pass


class JudgeServer(ThreadingHTTPServer):
    """The server, with what it was asked and what it is to do."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), JudgeHandler)
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.seen: list[dict[str, Any]] = []
        self.answers: dict[str, str] = {}
        self.reworded_answers: dict[str, str] = {}
        self.replies: dict[str, tuple[int, str, dict[str, str]]] = {}
        self.passing: dict[str, tuple[int, str, dict[str, str]]] = {
            "busy twice": (429, "slow down", {"Retry-After": "0"}),
            "busy until a date": (429, "slow down", {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=2))}),
            "broken twice": (500, "oops", {}),
            "nonsense twice": (200, '{"choices": [', {}),
            "html twice": (200, "<html>please sign in</html>", {}),
            "empty twice": (200, json.dumps({"choices": []}), {}),
            "error in the body twice": (200, json.dumps({"error": {"code": 502}}), {}),
        }
        self.usage: dict[str, Any] | None = {"prompt_tokens": 100, "completion_tokens": 1}
        self.delay = 0.0

    @property
    def endpoint(self) -> str:
        """Address, up to /v1."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        """Say nothing when a client that timed out is gone."""


def completion(content: str | None, finish: str = "stop", usage: Any = None, **message: Any) -> str:
    """Return the body of a chat completion."""
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": usage})


@contextmanager
def running_server() -> Iterator[JudgeServer]:
    """Serve until the block ends."""
    with JudgeServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
