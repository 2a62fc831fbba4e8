"""A server of the OpenAI protocol on this machine: says what it is asked in capitals, and fails where a prompt says so.

Run as ``vllm serve FOLDER --host HOST --port PORT`` it stands in for vLLM: FOLDER may hold a file ``broken``.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.loopback import LoopbackHandler, LoopbackServer, running


class ModelHandler(LoopbackHandler):
    """Answers chat completions, completions, and whether it is well."""

    def do_GET(self):
        self.reply(200 if self.path == "/health" else 404, {})

    def do_POST(self):
        server = self.server
        assert isinstance(server, ModelServer)
        request = self.request_body()
        prompt = request["prompt"] if "prompt" in request else request["messages"][-1]["content"]
        times = server.note(prompt, self.told(request))
        if prompt == "down" or (prompt == "down once" and times == 1):
            return self.reply(503, {"error": "down"})
        if server.unknown_field in request:
            return self.reply(400, {"error": "unsupported parameter"})
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


class ModelServer(LoopbackServer):
    """The server, with what it can do."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(ModelHandler, port)
        self.completes = self.echoes = True
        self.unknown_field = ""


@contextmanager
def running_model_server() -> Iterator[ModelServer]:
    """Serve until the block ends."""
    with running(ModelServer()) as server:
        yield server


if __name__ == "__main__":
    print("starting", *sys.argv[1:], flush=True)
    if (Path(sys.argv[2]) / "broken").exists():
        sys.exit("CUDA out of memory")
    ModelServer(int(sys.argv[sys.argv.index("--port") + 1])).serve_forever()
