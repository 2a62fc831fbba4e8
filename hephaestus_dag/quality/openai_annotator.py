"""Annotate through any server that speaks the OpenAI chat protocol.

An answer counts only when it is exactly Yes, No, or a number from 0 to 5. Anything else is recorded as invalid, and a
request that failed to the end as error; neither is given a score.
"""

import json
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hephaestus_dag.quality.annotator import Annotation
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.rubric import Rubric

CHARACTERS_PER_TOKEN = 4
MAX_ANSWER_TOKENS = 8
LONGEST_WAIT = 60.0
LONGEST_RAW = 200
WORD = re.compile(r"(yes|no)\.?", re.IGNORECASE)
NUMBER = re.compile(r"[0-4](?:\.\d+)?|5(?:\.0+)?")


class OpenAIAnnotator:
    """Asks a chat server at temperature 0, several requests at a time."""

    def __init__(self, config: AnnotatorConfig, rubric: Rubric) -> None:
        self.config = config
        self.rubric = rubric
        self.identity: dict[str, Any] = {"kind": config.kind, "model": config.model, "max_tokens": config.max_tokens}
        self.headers: dict[str, str] = {}
        if config.api_key_env:
            key = os.environ.get(config.api_key_env, "")
            if not key:
                raise ValueError(f"api_key_env names {config.api_key_env}, which is not set: export it, or clear api_key_env")
            self.headers["Authorization"] = f"Bearer {key}"

    def annotate(self, texts: Sequence[str]) -> list[Annotation]:
        """Return one annotation for each text, in order.

        Raises PermissionError or LookupError when the server refuses the key or does not know the model or address: no
        document could succeed then.
        """
        import httpx

        with (
            httpx.Client(timeout=self.config.timeout_seconds, headers=self.headers) as client,
            ThreadPoolExecutor(self.config.concurrency) as pool,
        ):
            return list(pool.map(lambda text: self.ask(client, text), texts))

    def ask(self, client: Any, text: str) -> Annotation:
        """Ask about one text, trying again after a rate limit, a server error or a lost connection."""
        import httpx

        request = {
            "model": self.config.model,
            "temperature": 0,
            "max_tokens": MAX_ANSWER_TOKENS,
            "messages": [{"role": "user", "content": self.rubric.fill(text[: self.config.max_tokens * CHARACTERS_PER_TOKEN])}],
        }
        url = self.config.endpoint.rstrip("/") + "/chat/completions"
        problem = ""
        for attempt in range(self.config.retries + 1):
            wait = self.config.backoff_seconds * 2**attempt
            try:
                response = client.post(url, json=request)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == 200:
                    return parse_response(response.text)
                problem = f"HTTP {response.status_code}: {response.text[:LONGEST_RAW]}"
                refuse(response.status_code, url, self.config)
                if response.status_code != 429 and response.status_code < 500:
                    break
                wait = max(wait, retry_after(response.headers.get("Retry-After", "")))
            if attempt < self.config.retries:
                time.sleep(min(wait, LONGEST_WAIT))
        return Annotation(None, "error", problem)


def refuse(status: int, url: str, config: AnnotatorConfig) -> None:
    """Raise for an answer that every request would get."""
    if status in (401, 403):
        raise PermissionError(
            f"{url} answered {status}: check the key in the variable that api_key_env names ({config.api_key_env!r})"
        )
    if status == 404:
        raise LookupError(f"{url} answered 404: check endpoint, and that the server has a model named {config.model!r}")


def retry_after(header: str) -> float:
    """Return the seconds that a Retry-After header asks for; 0 when it gives none or a date."""
    return float(header) if header.isdigit() else 0.0


def parse_response(body: str) -> Annotation:
    """Return the annotation in a chat completion."""
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return Annotation(None, "invalid", body[:LONGEST_RAW])
    if not isinstance(content, str):
        return Annotation(None, "invalid", body[:LONGEST_RAW])
    return parse_answer(content)


def parse_answer(content: str) -> Annotation:
    """Return 1 for Yes, 0 for No, n / 5 for a number n from 0 to 5, and no score for anything else."""
    answer, raw = content.strip(), content[:LONGEST_RAW]
    if WORD.fullmatch(answer):
        return Annotation(float(answer.lower().startswith("yes")), "ok", raw)
    if NUMBER.fullmatch(answer):
        return Annotation(round(float(answer) / 5, 6), "ok", raw)
    return Annotation(None, "invalid", raw)
