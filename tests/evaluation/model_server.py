"""A server of the OpenAI protocol on this machine: says what it is asked in capitals, and fails where a prompt says so.

Run as ``vllm serve FOLDER --host HOST --port PORT`` it stands in for vLLM: FOLDER may hold a file ``broken``.
"""

import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class ModelHandler(BaseHTTPRequestHandler):
    """Answers chat completions, completions, and whether it is well."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(200 if self.path == "/health" else 404, {})

    def do_POST(self):
        server = self.server
        assert isinstance(server, ModelServer)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["prompt"] if "prompt" in request else request["messages"][-1]["content"]
        with server.lock:
            server.asked[prompt] += 1
            server.seen.append({"path": self.path, "key": self.headers.get("Authorization"), **request})
        if prompt == "down" or (prompt == "down once" and server.asked[prompt] == 1):
            return self.reply(503, {"error": "down"})
        if prompt == "too long":
            return self.reply(400, {"error": "maximum context length"})
        if self.path == "/v1/chat/completions":
            choice: dict[str, Any] = {"message": {"role": "assistant", "content": prompt.upper()}}
        elif self.path == "/v1/completions" and server.completes:
            choice = {"text": prompt.upper()}
            if request.get("echo") and server.echoes:
                pieces = [(found.start(), found[0]) for found in re.finditer(r" ?\S+|\s", prompt + " more")]
                nats = [None, *(-float(len(text)) for _, text in pieces[1:])]
                choice["logprobs"] = {"text_offset": [place for place, _ in pieces], "token_logprobs": nats}
        else:
            return self.reply(404, {"error": "no such path"})
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        return self.reply(200, {"choices": [{**choice, "finish_reason": "stop"}], "usage": usage})

    def reply(self, status: int, body: dict[str, Any]):
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format, *args):
        pass


class ModelServer(ThreadingHTTPServer):
    """The server, with what it was asked and what it can do."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), ModelHandler)
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.seen: list[dict[str, Any]] = []
        self.completes = self.echoes = True

    @property
    def endpoint(self) -> str:
        """Address, up to /v1."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def running_model_server() -> Iterator[ModelServer]:
    """Serve until the block ends."""
    with ModelServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


if __name__ == "__main__":
    print("starting", *sys.argv[1:], flush=True)
    if (Path(sys.argv[2]) / "broken").exists():
        sys.exit("CUDA out of memory")
    ModelServer(int(sys.argv[sys.argv.index("--port") + 1])).serve_forever()
