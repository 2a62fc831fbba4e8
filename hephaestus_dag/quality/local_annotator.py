"""Annotate with a local causal language model: the odds of Yes against No as the first word of its answer.

The rubric's opening is the same for every document, so its keys and values are computed once and reused.

A small model leans to one answer whatever it reads. Its lean is measured on documents without content and subtracted
from the log-odds (contextual calibration, Zhao et al. 2021, arXiv 2102.09690), so that 0.5 means "no evidence". This moves
every score alike: it repairs the bias and not the ranking.
"""

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hephaestus_dag.models import model_identity
from hephaestus_dag.quality.annotator import Annotation
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.rubric import PLACEHOLDER, Rubric

CONTENT_FREE = ("", "N/A", "...")
ANSWERS = (("Yes", " Yes", "yes", " yes"), ("No", " No", "no", " no"))


class TransformersAnnotator:
    """Scores documents by P(Yes) / (P(Yes) + P(No)), corrected for the model's lean."""

    def __init__(self, config: AnnotatorConfig, model_path: Path, rubric: Rubric, device: str = "cpu") -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.config = config
        self.device = device
        self.identity: dict[str, Any] = {
            "kind": config.kind,
            "model": model_identity(config.model),
            "max_tokens": config.max_tokens,
            "dtype": config.dtype,
        }
        self.tokenizer = AutoTokenizer.from_pretrained(model_path)
        dtype = getattr(torch, config.dtype)
        self.model: Any = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype)
        self.model.to(device).eval()
        self.yes, self.no = answer_tokens(self.tokenizer)
        if not self.yes or not self.no:
            raise ValueError(f"the tokenizer of {config.model!r} cannot tell Yes from No by one token: choose another")
        before, after = prompt_parts(self.tokenizer, rubric)
        self.suffix = self.encode(after)
        self.prefix = self.encode(before)
        self.cache = self.prefix_cache()
        self.lean = sum(self.log_odds(CONTENT_FREE)) / len(CONTENT_FREE)

    def annotate(self, texts: Sequence[str]) -> list[Annotation]:
        """Return one annotation for each text, in order."""
        return [self.annotation(odds) for odds in self.log_odds(texts)]

    def annotation(self, log_odds: float) -> Annotation:
        """Turn log-odds into a score, and keep the raw figures."""
        raw = json.dumps({"log_odds": round(log_odds, 4), "lean": round(self.lean, 4)})
        if not math.isfinite(log_odds):
            return Annotation(None, "invalid", raw)
        return Annotation(round(1 / (1 + math.exp(self.lean - log_odds)), 6), "ok", raw)

    def log_odds(self, texts: Sequence[str]) -> list[float]:
        """Return log P(Yes) - log P(No) for each text, in order; batches hold texts of like length."""
        bodies = [self.encode(self.clip(text))[: self.config.max_tokens] + self.suffix for text in texts]
        order = sorted(range(len(bodies)), key=lambda i: (len(bodies[i]), i))
        odds = [0.0] * len(bodies)
        for start in range(0, len(order), self.config.batch_size):
            rows = order[start : start + self.config.batch_size]
            for row, value in zip(rows, self.batch_log_odds([bodies[row] for row in rows]), strict=True):
                odds[row] = value
        return odds

    def batch_log_odds(self, bodies: Sequence[list[int]]) -> list[float]:
        """Run one batch behind the shared prefix, padded on the right, where causal attention never looks."""
        import torch

        longest = max(map(len, bodies))
        tokens = torch.tensor([body + [0] * (longest - len(body)) for body in bodies], device=self.device)
        last = torch.tensor([len(body) - 1 for body in bodies], device=self.device)
        positions, column = last.unique(return_inverse=True)
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(len(bodies))
        with torch.inference_mode():
            logits = self.model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=positions).logits
        answers = logits[torch.arange(len(bodies), device=self.device), column].float()
        return (answers[:, self.yes].logsumexp(-1) - answers[:, self.no].logsumexp(-1)).tolist()

    def prefix_cache(self) -> Any:
        """Return the keys and values of the prompt up to the document."""
        import torch

        with torch.inference_mode():
            return self.model(torch.tensor([self.prefix], device=self.device), use_cache=True, logits_to_keep=1).past_key_values

    def clip(self, text: str) -> str:
        """Drop what cannot fit into ``max_tokens`` anyway, before the tokenizer reads it."""
        return text[: self.config.max_tokens * 32]

    def encode(self, text: str) -> list[int]:
        """Return token ids without the special tokens that a tokenizer adds by itself."""
        return self.tokenizer.encode(text, add_special_tokens=False)


def answer_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the first tokens of the spellings of Yes and of No, without those that could begin either, sorted."""
    yes, no = ({tokenizer.encode(word, add_special_tokens=False)[0] for word in words} for words in ANSWERS)
    return sorted(yes - no), sorted(no - yes)


def prompt_parts(tokenizer: Any, rubric: Rubric) -> tuple[str, str]:
    """Return the prompt before and after the document, in the model's chat template if it has one."""
    if not tokenizer.chat_template:
        prompt = rubric.text + "\nAnswer:"
    else:
        message = [{"role": "user", "content": rubric.text}]
        prompt = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    before, after = prompt.split(PLACEHOLDER)
    return before or "\n", after
