"""A server of the OpenAI protocol on this machine, for tests: what it was asked, and how it answers."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar


class LoopbackServer(ThreadingHTTPServer):
    """The server; `note` counts what it is asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: "type[LoopbackHandler]", port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.seen: list[dict[str, Any]] = []

    @property
    def endpoint(self) -> str:
        """Address, up to /v1."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def note(self, name: str, request: Mapping[str, Any]) -> int:
        """Keep a request under a name; return how many it has now."""
        with self.lock:
            self.asked[name] += 1
            self.seen.append(dict(request))
            return self.asked[name]

    def handle_error(self, request, client_address):
        """Say nothing when a client that timed out is gone."""


class LoopbackHandler(BaseHTTPRequestHandler):
    """Reads and writes JSON."""

    protocol_version = "HTTP/1.1"

    def request_body(self) -> dict[str, Any]:
        """Return what was posted."""
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def told(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a request with its path and its key."""
        return {"path": self.path, "key": self.headers.get("Authorization"), **body}

    def reply(self, status: int, body: str | dict[str, Any], headers: Mapping[str, str] | None = None):
        payload = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format, *args):
        pass


ServerT = TypeVar("ServerT", bound=LoopbackServer)


@contextmanager
def running(server: ServerT) -> Iterator[ServerT]:
    """Serve until the block ends."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
