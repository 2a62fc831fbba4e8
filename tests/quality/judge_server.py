"""A chat server on this machine that judges pages, counts how often it is asked about each, and fails where a page says so."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.loopback import LoopbackHandler, LoopbackServer, running

PAGE = re.compile(r"(?:Text:|Passage:|Useful\?)\n(.*?)\n+(?:Does this|Is this|Answer|Give)", re.DOTALL)
FILTERED = {"error": {"code": "content_filter", "message": "The response was filtered"}}


class JudgeHandler(LoopbackHandler):
    """Says Yes to what holds GET, and does what a page tells it to."""

    def do_POST(self):
        judge = self.server
        assert isinstance(judge, JudgeServer)
        request = self.request_body()
        question = request["messages"][0]["content"]
        found = PAGE.search(question)
        assert found, question
        page, reworded = found[1], "No or Yes" in question
        tries = judge.note("reworded " * reworded + page, self.told(request))
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


class JudgeServer(LoopbackServer):
    """The server, with what it is to do."""

    def __init__(self) -> None:
        super().__init__(JudgeHandler)
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


def completion(content: str | None, finish: str = "stop", usage: Any = None, **message: Any) -> str:
    """Return the body of a chat completion."""
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": usage})


@contextmanager
def running_server() -> Iterator[JudgeServer]:
    """Serve until the block ends."""
    with running(JudgeServer()) as server:
        yield server
