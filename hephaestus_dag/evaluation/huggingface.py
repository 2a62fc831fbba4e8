"""Greedy replies and log-likelihoods from a model folder, batched for speed without changing a result."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from hephaestus_dag.evaluation.model import Likelihood, Progress, Reply
from hephaestus_dag.evaluation.prompts import ChatMessage, render_chat

MAX_LOGITS = 1 << 26
"""Most logits (sequences × positions × vocabulary) of one forward pass: 256 MiB in float32."""


class Generator:
    """A causal language model in a Hugging Face folder with its tokenizer.

    ``context_length`` bounds prompt plus reply; a prompt that leaves no room for ``max_new_tokens`` fails, and is never cut.
    """

    def __init__(
        self, model_folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32, batch_size: int = 16
    ) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            model_folder, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        self.model = model.to(device).eval()
        self.device = device
        self.batch_size = batch_size
        self.vocab_size: int = self.model.config.vocab_size
        self.context_length: int = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        self.end_ids = self._end_ids()
        self.pad_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end_ids[0]

    def _end_ids(self) -> list[int]:
        """Return every token id that ends a reply."""
        configured = self.model.generation_config.eos_token_id
        ids = {self.tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
        ids.add(self.tokenizer.get_vocab().get("<|im_end|>"))
        ids.discard(None)
        if not ids:
            raise ValueError(f"{self.model.name_or_path}: neither the tokenizer nor the model names an end token (eos_token)")
        return sorted(ids)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[ChatMessage]],
        max_new_tokens: int,
        max_prompt_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> list[Reply]:
        """Return the greedy reply to each prompt, in order.

        Prompts of similar length share a batch, padded on the left. A prompt of more than ``max_prompt_tokens``, or one that
        leaves less than ``max_new_tokens`` of the context, becomes a failed reply.
        """
        limit = min(self.context_length - max_new_tokens, max_prompt_tokens or 1 << 30)
        texts = [render_chat(self.tokenizer, messages) for messages in prompts]
        ids = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        replies: dict[int, Reply] = {}
        for index, row in enumerate(ids):
            if len(row) > limit:
                failure = f"prompt too long: {len(row)} tokens, room for {max(limit, 0)}"
                replies[index] = Reply(text="", num_prompt_tokens=len(row), num_new_tokens=0, seconds=0.0, failure=failure)
        rest = sorted((i for i in range(len(ids)) if i not in replies), key=lambda i: (len(ids[i]), i))
        settings = GenerationConfig(
            do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=self.end_ids, pad_token_id=self.pad_id
        )
        for start in range(0, len(rest), self.batch_size):
            batch = rest[start : start + self.batch_size]
            began = time.perf_counter()
            tokens, mask = self._pad([ids[i] for i in batch])
            output = self.model.generate(input_ids=tokens, attention_mask=mask, generation_config=settings)
            new = output[:, tokens.shape[1] :].tolist()
            seconds = (time.perf_counter() - began) / len(batch)
            for index, row in zip(batch, new, strict=True):
                kept = self._until_end(row)
                text = self.tokenizer.decode(kept, skip_special_tokens=True)
                replies[index] = Reply(text=text, num_prompt_tokens=len(ids[index]), num_new_tokens=len(kept), seconds=seconds)
            if progress:
                progress(len(replies), len(ids))
        return [replies[i] for i in range(len(ids))]

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], max_tokens: int | None = None, progress: Progress | None = None
    ) -> list[Likelihood]:
        """Return the log-likelihood of each target text after its context text, in order.

        Both are tokenised on their own, as in generation, where the reply starts with a new token. Without a context, the
        first token follows the tokenizer's start (or else end) marker. Pairs of more than ``max_tokens`` or than the model's
        context have none.
        """
        encode = self.tokenizer
        ids = [
            (
                encode(context, add_special_tokens=False)["input_ids"] or [self.start_id],
                encode(target, add_special_tokens=False)["input_ids"],
            )
            for context, target in pairs
        ]
        return self.token_loglikelihood(ids, max_tokens, progress)

    @property
    def start_id(self) -> int:
        """Token that stands before the first token of a text."""
        return self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.end_ids[0]

    @torch.inference_mode()
    def token_loglikelihood(
        self,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        max_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> list[Likelihood]:
        """Return the log-likelihood of each target's tokens after its context's tokens (at least one), in order."""
        limit = min(self.context_length, max_tokens or 1 << 30)
        results = {i: Likelihood(None, len(t)) for i, (c, t) in enumerate(pairs) if len(c) + len(t) > limit}
        results |= {i: Likelihood(0.0, 0) for i, (_, t) in enumerate(pairs) if not t}
        rest = sorted(
            (i for i in range(len(pairs)) if i not in results), key=lambda i: (len(pairs[i][0]) + len(pairs[i][1]), i)
        )
        for batch in self._logit_batches(rest, pairs):
            rows = [[*pairs[i][0], *pairs[i][1]][:-1] for i in batch]
            width = max(len(pairs[i][1]) for i in batch)
            tokens, mask = self._pad(rows)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            # Targets end at the right edge, thanks to the padding on the left: only their positions need logits.
            logits = self.model(
                input_ids=tokens, attention_mask=mask, position_ids=positions, logits_to_keep=width, use_cache=False
            ).logits
            logprobs = logits.float().log_softmax(-1).cpu()
            for row, index in zip(logprobs, batch, strict=True):
                target = torch.tensor(pairs[index][1])
                chosen = row[width - len(target) :].gather(1, target[:, None])
                results[index] = Likelihood(float(chosen.double().sum()), len(target))
            if progress:
                progress(len(results), len(pairs))
        return [results[i] for i in range(len(pairs))]

    def _logit_batches(self, order: Sequence[int], pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Iterator[list[int]]:
        """Yield batches of at most ``batch_size`` rows and, if more than one row, at most ``MAX_LOGITS`` logits."""
        batch: list[int] = []
        width = 0
        for index in order:
            wider = max(width, len(pairs[index][1]))
            if batch and (len(batch) == self.batch_size or (len(batch) + 1) * wider * self.vocab_size > MAX_LOGITS):
                yield batch
                batch, wider = [], len(pairs[index][1])
            batch.append(index)
            width = wider
        if batch:
            yield batch

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows padded on the left and their attention mask, both int64 [rows, longest]."""
        longest = max(len(row) for row in rows)
        tokens = torch.full((len(rows), longest), self.pad_id, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for i, row in enumerate(rows):
            tokens[i, longest - len(row) :] = torch.tensor(row)
            mask[i, longest - len(row) :] = 1
        return tokens.to(self.device), mask.to(self.device)

    def _until_end(self, row: Sequence[int]) -> list[int]:
        """Return the tokens before the first end marker."""
        ends = (position for position, token in enumerate(row) if token in self.end_ids)
        return list(row[: next(ends, len(row))])
