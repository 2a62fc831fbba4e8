"""Text from a language model: a local causal model, or any server that speaks the OpenAI chat protocol.

Both answer greedily, so the same model gives the same text again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from hephaestus_dag.models import model_identity, resolve_model
from hephaestus_dag.quality.config import AnnotatorConfig


@dataclass(frozen=True, slots=True)
class Tokens:
    """How much a model read and wrote."""

    read: int = 0
    written: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.read + other.read, self.written + other.written)

    def __sub__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.read - other.read, self.written - other.written)

    @property
    def total(self) -> int:
        """Read and written together."""
        return self.read + self.written


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one prompt."""

    text: str
    """The model's words; the response as it came when it holds none; or the error."""
    status: Literal["ok", "invalid", "refused", "error"] = "ok"
    """invalid: an answer without words; refused: the model or a content filter will not answer; error: no answer came."""
    finished: bool = True
    """False when the model was cut off at ``max_tokens``."""
    tokens: Tokens = field(default_factory=Tokens)
    """What the answer took: as the server counts, else one token for 4 characters."""


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
        from hephaestus_dag.chat_server import ChatServer

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
        lengths = encoded["attention_mask"].sum(dim=1).tolist()
        for length, row in zip(lengths, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            stop = next((place for place, token in enumerate(row) if token in ends), None)
            text = self.tokenizer.decode(row[:stop], skip_special_tokens=True)
            written = len(row) if stop is None else stop + 1
            replies.append(Reply(text, finished=stop is not None, tokens=Tokens(length, written)))
        return replies

    def _chat(self, prompt: str) -> str:
        """Return the prompt in the model's chat template, if it has one."""
        if not self.tokenizer.chat_template:
            return prompt + "\n"
        message = [{"role": "user", "content": prompt}]
        return self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
