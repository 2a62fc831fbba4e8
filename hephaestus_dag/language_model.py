"""Text from a language model: a local causal model, or any server that speaks the OpenAI chat protocol.

Both answer greedily, so the same model gives the same text again.
"""

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from hephaestus_dag.models import model_identity, resolve_model
from hephaestus_dag.quality.config import AnnotatorConfig

LONGEST_WAIT = 60.0
LONGEST_RAW = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one prompt."""

    text: str
    """The model's words; the response as it came when it is no chat completion; or the error."""
    status: Literal["ok", "invalid", "error"] = "ok"
    """invalid: the server answered something that is no chat completion; error: no answer came."""
    finished: bool = True
    """False when the model was cut off at ``max_tokens``."""


class LanguageModel(Protocol):
    """Continues prompts."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides an answer besides the prompt and its length: kind, model and number format."""
        ...

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
        """Return one reply of at most ``max_tokens`` tokens for each prompt, in order."""
        ...


def make_language_model(config: AnnotatorConfig, cache: Path, device: str = "cpu") -> LanguageModel:
    """Return the model that a configuration describes. ``cache`` is where a packaged model is unpacked."""
    if config.kind == "openai":
        return ChatServer(config)
    return LocalModel(config, resolve_model(config.model, cache), device)


class LocalModel:
    """A causal model of transformers."""

    def __init__(self, config: AnnotatorConfig, model_path: Path, device: str = "cpu") -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.config, self.device = config, device
        self.identity: dict[str, Any] = {
            "kind": config.kind,
            "model": model_identity(config.model),
            "dtype": config.dtype,
        }
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_path, padding_side="left")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model: Any = AutoModelForCausalLM.from_pretrained(model_path, dtype=getattr(torch, config.dtype))
        self.model.to(device).eval()

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
        """Return one reply for each prompt, ``batch_size`` prompts at a time."""
        size = self.config.batch_size
        return [
            reply for start in range(0, len(prompts), size) for reply in self._batch(prompts[start : start + size], max_tokens)
        ]

    def _batch(self, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
        import torch

        encoded = self.tokenizer(
            [self._chat(prompt) for prompt in prompts], padding=True, return_tensors="pt", add_special_tokens=False
        )
        inputs = {name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask")}
        end = self.model.generation_config.eos_token_id
        ends = {self.tokenizer.eos_token_id, *(end if isinstance(end, list) else [end])}
        with torch.inference_mode():
            output = self.model.generate(
                **inputs, do_sample=False, max_new_tokens=max_tokens, pad_token_id=self.tokenizer.pad_token_id
            )
        replies: list[Reply] = []
        for row in output[:, inputs["input_ids"].shape[1] :].tolist():
            stop = next((place for place, token in enumerate(row) if token in ends), None)
            text = self.tokenizer.decode(row[:stop], skip_special_tokens=True)
            replies.append(Reply(text, finished=stop is not None))
        return replies

    def _chat(self, prompt: str) -> str:
        """Return the prompt in the model's chat template, if it has one."""
        if not self.tokenizer.chat_template:
            return prompt + "\n"
        message = [{"role": "user", "content": prompt}]
        return self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)


class ChatServer:
    """Asks a chat server at temperature 0, several requests at a time."""

    def __init__(self, config: AnnotatorConfig) -> None:
        self.config = config
        self.identity: dict[str, Any] = {"kind": config.kind, "model": config.model}
        self.headers: dict[str, str] = {}
        if config.api_key_env:
            key = os.environ.get(config.api_key_env, "")
            if not key:
                raise ValueError(f"api_key_env names {config.api_key_env}, which is not set: export it, or clear api_key_env")
            self.headers["Authorization"] = f"Bearer {key}"

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
        """Return one reply for each prompt, in order.

        Raises PermissionError or LookupError when the server refuses the key or does not know the model or address: no
        prompt could succeed then.
        """
        import httpx

        with (
            httpx.Client(timeout=self.config.timeout_seconds, headers=self.headers) as client,
            ThreadPoolExecutor(self.config.concurrency) as pool,
        ):
            return list(pool.map(lambda prompt: self._ask(client, prompt, max_tokens), prompts))

    def _ask(self, client: Any, prompt: str, max_tokens: int) -> Reply:
        """Ask once, trying again after a rate limit, a server error or a lost connection."""
        import httpx

        request = {
            "model": self.config.model,
            "temperature": 0,
            "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": prompt}],
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
                    return _completion(response.text)
                problem = f"HTTP {response.status_code}: {response.text[:LONGEST_RAW]}"
                _refuse(response.status_code, url, self.config)
                if response.status_code != 429 and response.status_code < 500:
                    break
                wait = max(wait, _retry_after(response.headers.get("Retry-After", "")))
            if attempt < self.config.retries:
                time.sleep(min(wait, LONGEST_WAIT))
        return Reply(problem, "error")


def _refuse(status: int, url: str, config: AnnotatorConfig) -> None:
    """Raise for an answer that every request would get."""
    if status in (401, 403):
        raise PermissionError(
            f"{url} answered {status}: check the key in the variable that api_key_env names ({config.api_key_env!r})"
        )
    if status == 404:
        raise LookupError(f"{url} answered 404: check endpoint, and that the server has a model named {config.model!r}")


def _retry_after(header: str) -> float:
    """Return the seconds that a Retry-After header asks for; 0 when it gives none or a date."""
    return float(header) if header.isdigit() else 0.0


def _completion(body: str) -> Reply:
    """Return the first choice of a chat completion."""
    try:
        choice = json.loads(body)["choices"][0]
        content = choice["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return Reply(body[:LONGEST_RAW], "invalid")
    if not isinstance(content, str):
        return Reply(body[:LONGEST_RAW], "invalid")
    return Reply(content, finished=choice.get("finish_reason") != "length")
