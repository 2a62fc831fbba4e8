"""Any server that speaks the OpenAI protocol, several requests at a time; annotators ask it at temperature 0.

What may pass is tried again: a rate limit, a server error, a lost or slow connection, an answer that is no chat completion.
The key comes from the environment alone and is cut out of whatever the server sends back.
"""

import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any

from hephaestus_dag.language_model import Reply, Tokens
from hephaestus_dag.server_config import ServerConfig

CHARACTERS_PER_TOKEN = 4
LONGEST_WAIT = 60.0
"""Seconds between two attempts, whatever the server asks for."""
LONGEST_RAW = 200
"""Characters that are kept of an answer that cannot be read."""
MAY_PASS = {408, 409, 425, 429}
REFUSALS = ("content_filter", "content_policy", "moderation")
"""Words by which a server says, with status 400 or 403, that it will not read this very text."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to a path below the endpoint, and how the answer is read: None when it is not one."""

    path: str
    body: dict[str, Any]
    read: Callable[[str], Reply | None]


class ChatServer:
    """A server and the model that it serves."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.identity: dict[str, Any] = {"kind": "openai", "model": config.model}
        self._key = _read_key(config.api_key_env)

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
        """Return one reply for each prompt, in order. Raises like :meth:`replies`."""
        found = dict(self.replies(prompts, max_tokens))
        return [found[number] for number in range(len(prompts))]

    def replies(self, prompts: Iterable[str], max_tokens: int) -> Iterator[tuple[int, Reply]]:
        """Yield (number of the prompt, reply) as the replies arrive. Draws and raises like :meth:`answers`."""
        yield from self.answers(self._question(prompt, max_tokens) for prompt in prompts)

    def answers(self, requests: Iterable[Request]) -> Iterator[tuple[int, Reply]]:
        """Yield (number of the request, answer) as the answers arrive; a request is drawn when one more may be under way.

        Raises PermissionError or LookupError, after the requests under way, when the server refuses the key or does not know
        the model or address: no prompt could succeed then.
        """
        import httpx

        numbered, under_way = enumerate(requests), dict[Future[Reply], int]()
        stopping, failure = threading.Event(), None
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=self.config.concurrency)
        with (
            httpx.Client(timeout=self.config.timeout_seconds, headers=headers, limits=limits) as client,
            ThreadPoolExecutor(self.config.concurrency) as pool,
        ):
            try:
                while True:
                    free = 0 if failure else self.config.concurrency - len(under_way)
                    for number, request in islice(numbered, free):
                        under_way[pool.submit(self._ask, client, request, stopping)] = number
                    if not under_way:
                        break
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        number = under_way.pop(future)
                        try:
                            reply = future.result()
                        except (PermissionError, LookupError) as error:
                            failure = error
                            stopping.set()
                        else:
                            yield number, reply
            finally:
                stopping.set()
        if failure:
            raise failure

    def _question(self, prompt: str, max_tokens: int) -> Request:
        message = [{"role": "user", "content": prompt}]
        body = {"model": self.config.model, "temperature": 0, "max_tokens": max_tokens, "messages": message}
        return Request("/chat/completions", body, lambda answer: read_completion(answer, prompt))

    def _ask(self, client: Any, request: Request, stopping: threading.Event) -> Reply:
        """Ask until there is an answer, or the attempts are used up."""
        import httpx

        url, problem = self.config.endpoint.rstrip("/") + request.path, ""
        for attempt in range(self.config.retries + 1):
            delay = self.config.backoff_seconds * 2 ** min(attempt, 16)
            try:
                response = client.post(url, json=request.body)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {self._without_key(str(error))}"
            else:
                status, body = response.status_code, self._without_key(response.text)
                if status == 200 and (reply := request.read(body)):
                    return reply
                problem = f"HTTP {status}: {body[:LONGEST_RAW]}"
                if status in (400, 403) and any(word in body for word in REFUSALS):
                    return Reply(problem, "refused", tokens=Tokens(count_tokens(words(request.body)), 0))
                self._raise_if_all_fail(url, status)
                if status != 200 and status not in MAY_PASS and status < 500:
                    break
                delay = max(delay, retry_after(response.headers.get("Retry-After", "")))
            if attempt < self.config.retries and stopping.wait(min(delay, LONGEST_WAIT)):
                break
        return Reply(problem, "error")

    def _raise_if_all_fail(self, url: str, status: int) -> None:
        """Raise for an answer that every request would get."""
        if status in (401, 403):
            variable = self.config.api_key_env or "no variable"
            raise PermissionError(f"{url} answered {status}: check the key; api_key_env names {variable}")
        if status == 402:
            raise PermissionError(f"{url} answered 402: the account has no credit left")
        if status == 404:
            model = self.config.model
            raise LookupError(f"{url} answered 404: check endpoint, and that the server has a model named {model!r}")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def words(body: dict[str, Any]) -> str:
    """Return the text that a request asks a model to read."""
    return body["prompt"] if "prompt" in body else "\n".join(message["content"] for message in body["messages"])


def read_completion(body: str, prompt: str) -> Reply | None:
    """Return what a completion says, of a chat or of a text; None when a body is neither."""
    try:
        completion = json.loads(body)
        choice = completion["choices"][0]
        message, finish = choice["message"] if "message" in choice else {"content": choice["text"]}, choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    text = _storable(content) if isinstance(content, str) else ""
    tokens = _usage(completion.get("usage")) or Tokens(count_tokens(prompt), count_tokens(text))
    if refusal or finish == "content_filter":
        return Reply(_storable(str(refusal or finish))[:LONGEST_RAW], "refused", tokens=tokens)
    if not isinstance(content, str):
        return Reply(body[:LONGEST_RAW], "invalid", tokens=tokens)
    return Reply(text, finished=finish != "length", tokens=tokens)


def _storable(text: str) -> str:
    """Return a text without lone surrogates, which JSON can escape and UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def retry_after(header: str) -> float:
    """Return the seconds that a Retry-After header asks for, as a number or as a date; 0 when it says neither."""
    if header.isdecimal():
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def count_tokens(text: str) -> int:
    """Return about how many tokens a text has for a server whose tokenizer is not known."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _usage(usage: Any) -> Tokens | None:
    """Return what a server says that it counted; None when it says nothing that can be used."""
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(read) is int and type(written) is int and read >= 0 and written >= 0:
        return Tokens(read, written)
    return None


def _read_key(variable: str) -> str:
    """Return the key in an environment variable; an empty name means that there is none."""
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"api_key_env names {variable}, which is not set: export it, or clear api_key_env")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"api_key_env names {variable}, which holds no key: blanks and line breaks cannot be sent")
    return key
