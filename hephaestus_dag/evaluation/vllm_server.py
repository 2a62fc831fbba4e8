"""A model folder served by vLLM on this machine while it is asked: quicker than transformers on a large accelerator."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hephaestus_dag.code_version import function_version
from hephaestus_dag.evaluation.endpoint import EndpointModel
from hephaestus_dag.evaluation.endpoint_config import EndpointConfig
from hephaestus_dag.evaluation.few_shot import QUESTIONS, Conversation
from hephaestus_dag.evaluation.huggingface_identity import NumberFormat, PromptChoice, huggingface_identity
from hephaestus_dag.evaluation.installed import release
from hephaestus_dag.evaluation.prompts import ChatMessage, render_chat

NAME = "model"
GREEDY = ("--generation-config", "vllm")
"""Replies are greedy: vLLM would take over a penalty and the like from the model folder's generation_config.json."""
TAIL = 20
"""Lines of the server's log that an error shows."""
STOP_SECONDS = 20.0
"""Seconds that a server has to end by itself."""


def missing_vllm() -> str:
    """Say that vLLM is not installed, with the remedy; empty when it is."""
    if shutil.which("vllm"):
        return ""
    return (
        "vLLM is not installed: pip install vllm, in an environment of its own (its pins clash with this project's) whose bin "
        "folder is on PATH; or evaluate with huggingface, which needs nothing more"
    )


def vllm_release() -> str:
    """Return vLLM's version in the environment of its program; empty where it is not found."""
    program = shutil.which("vllm")
    return release("vllm", Path(program).resolve().parent.parent) if program else ""


def vllm_identity(
    model_folder: Path,
    source: Mapping[str, Any] | None = None,
    dtype: NumberFormat = "auto",
    prompt_format: PromptChoice = "auto",
    examples: Sequence[Conversation] = QUESTIONS,
    arguments: Sequence[str] = (),
) -> Mapping[str, Any]:
    """Return the identity of what `vllm_model` yields for the same arguments, without serving it."""
    served = huggingface_identity(model_folder, source, "vllm", dtype, prompt_format, examples)
    return _client(served, 0, examples, arguments).identity


@contextmanager
def vllm_model(
    model_folder: Path,
    log: Path,
    source: Mapping[str, Any] | None = None,
    dtype: NumberFormat = "auto",
    prompt_format: PromptChoice = "auto",
    examples: Sequence[Conversation] = QUESTIONS,
    concurrency: int = 64,
    arguments: Sequence[str] = (),
    start_seconds: float = 900.0,
) -> Iterator[EndpointModel]:
    """Serve a model folder on a free port of the loopback interface and yield it; the server is stopped at the end.

    ``source``, ``dtype``, ``prompt_format`` and ``examples`` mean what they mean for a ``HuggingFaceModel``; ``arguments`` go
    to ``vllm serve``, whose output goes to ``log``. Raises ModuleNotFoundError when vLLM is not installed, RuntimeError with
    the end of the log when the server does not start within ``start_seconds``.
    """
    if missing := missing_vllm():
        raise ModuleNotFoundError(missing)
    served = huggingface_identity(model_folder, source, "vllm", dtype, prompt_format, examples)
    port = _free_port()
    where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", NAME]
    command = ["vllm", "serve", str(model_folder), *where, "--dtype", served["dtype"], *GREEDY, *arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # A process group of its own, so that its workers end with it.
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _wait_until_healthy(server, port, log, start_seconds)
            yield _client(served, port, examples, arguments, concurrency, _renderer(model_folder, served))
        finally:
            _stop(server)


def _renderer(model_folder: Path, served: Mapping[str, Any]) -> Callable[[Sequence[ChatMessage]], str] | None:
    """Return what writes a conversation as it was written in training: with folded roles, on a fixed day."""
    if served["prompt_format"] != "chat":
        return None
    from transformers import AutoTokenizer

    return partial(render_chat, AutoTokenizer.from_pretrained(model_folder, local_files_only=True))


def _client(
    served: Mapping[str, Any],
    port: int,
    examples: Sequence[Conversation],
    arguments: Sequence[str],
    concurrency: int = 1,
    render: Callable[[Sequence[ChatMessage]], str] | None = None,
) -> EndpointModel:
    config = EndpointConfig(
        model=NAME,
        endpoint=f"http://127.0.0.1:{port}/v1",
        prompt_format=served["prompt_format"],
        concurrency=concurrency,
    )
    engine = {"engine": "vllm", "release": vllm_release(), "code": function_version(vllm_model, (__name__,))}
    return EndpointModel(config, {**served, **engine, "arguments": [*GREEDY, *arguments]}, examples, render)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Path, seconds: float) -> None:
    import httpx

    deadline = time.monotonic() + seconds
    while True:
        if (status := server.poll()) is not None:
            raise RuntimeError(f"vllm serve ended with status {status} before it answered:\n{_tail(log)}")
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"vllm serve did not answer within {seconds:.0f} seconds:\n{_tail(log)}")
        time.sleep(0.1)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, by force where it takes too long."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    server.wait()
