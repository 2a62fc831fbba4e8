"""A causal language model in a Hugging Face folder."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hephaestus_dag.evaluation.decoding import Decoder
from hephaestus_dag.evaluation.few_shot import QUESTIONS, Conversation
from hephaestus_dag.evaluation.huggingface_identity import NumberFormat, PromptChoice, huggingface_identity
from hephaestus_dag.evaluation.model import Likelihood, Prompt, Reply
from hephaestus_dag.evaluation.prompts import STOPS, PromptFormat, cut, render_chat, render_transcript
from hephaestus_dag.evaluation.shared_prefixes import Tokens
from hephaestus_dag.evaluation.streaming import StreamingModel, in_order


class HuggingFaceModel(StreamingModel):
    """A causal language model in a Hugging Face folder with its tokenizer.

    ``context_length`` bounds prompt plus reply; a prompt that leaves no room for ``max_new_tokens`` fails, and is never cut.
    Numbers are bfloat16 on an accelerator and float32 on a CPU, unless ``dtype`` says otherwise. ``examples`` stand before
    each conversation when the prompt format is few_shot; plain text is continued as it stands.
    """

    def __init__(
        self,
        model_folder: Path,
        source: Mapping[str, Any] | None = None,
        device: str = "cpu",
        dtype: NumberFormat = "auto",
        prompt_format: PromptChoice = "auto",
        examples: Sequence[Conversation] = QUESTIONS,
        batch_size: int = 16,
        batch_tokens: int = 16_384,
    ) -> None:
        self._identity = huggingface_identity(model_folder, source, device, dtype, prompt_format, examples)
        self.prompt_format: PromptFormat = self._identity["prompt_format"]
        self.examples = examples
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            model_folder,
            dtype=getattr(torch, self._identity["dtype"]),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        self.model = model.to(device).eval()
        self.vocab_size: int = self.model.config.vocab_size
        self.context_length: int = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        self.end_ids = self._end_ids()
        pad_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end_ids[0]
        self.decoder = Decoder(self.model, pad_id, batch_size, batch_tokens)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The weights, the prompt format and the number format."""
        return self._identity

    @property
    def start_id(self) -> int:
        """Token that stands before the first token of a text."""
        return self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.end_ids[0]

    def _end_ids(self) -> list[int]:
        """Return every token id that ends a reply."""
        configured = self.model.generation_config.eos_token_id
        ids = {self.tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
        ids.add(self.tokenizer.get_vocab().get("<|im_end|>"))
        ids.discard(None)
        if not ids:
            raise ValueError(f"{self.model.name_or_path}: neither the tokenizer nor the model names an end token (eos_token)")
        return sorted(ids)

    def replies(
        self, prompts: Sequence[Prompt], max_new_tokens: int, max_prompt_tokens: int | None = None, stop: Sequence[str] = ()
    ) -> Iterator[tuple[int, Reply]]:
        """Yield (number of the prompt, greedy reply) as the replies end.

        A prompt of more than ``max_prompt_tokens``, or one that leaves less than ``max_new_tokens`` of the context, becomes a
        failed reply.
        """
        limit = min(self.context_length - max_new_tokens, max_prompt_tokens or 1 << 30)
        ids = [self._prompt_ids(prompt) for prompt in prompts]
        for number, row in enumerate(ids):
            if len(row) > limit:
                failure = f"prompt too long: {len(row)} tokens, room for {max(limit, 0)}"
                yield number, Reply(text="", num_prompt_tokens=len(row), num_new_tokens=0, seconds=0.0, failure=failure)
        fitting = [number for number, row in enumerate(ids) if len(row) <= limit]
        stops = (*stop, *(STOPS if self.prompt_format == "few_shot" else ()))
        found = self.decoder.decode([ids[number] for number in fitting], max_new_tokens, lambda new: self._ended(new, stops))
        for place, new, seconds in found:
            number = fitting[place]
            kept = new[:-1] if new[-1] in self.end_ids else new
            text = cut(self._text(kept), stops)
            prompt_length = len(ids[number])
            yield number, Reply(text=text, num_prompt_tokens=prompt_length, num_new_tokens=len(kept), seconds=seconds)

    def likelihoods(
        self, pairs: Sequence[tuple[Prompt, str]], max_tokens: int | None = None
    ) -> Iterator[tuple[int, Likelihood]]:
        """Yield (number of the pair, log-likelihood).

        The reply to a conversation starts with a new token, as in generation. Plain text is tokenised together with its target
        and divided where the text alone would end, blanks at its end going to the target, as in lm-eval 0.4. Without text, the
        first token follows the tokenizer's start (or else end) marker. Pairs of more than ``max_tokens`` or than the model's
        context have none.
        """
        encoded: dict[str, np.ndarray] = {}
        yield from self.token_likelihoods([self._pair_ids(prompt, target, encoded) for prompt, target in pairs], max_tokens)

    def token_likelihoods(
        self, pairs: Sequence[tuple[Tokens, Tokens]], max_tokens: int | None = None
    ) -> Iterator[tuple[int, Likelihood]]:
        """Yield (number of the pair, log-likelihood of its target's tokens after its context's, of which there is one)."""
        limit = min(self.context_length, max_tokens or 1 << 30)
        fitting = []
        for number, (context, target) in enumerate(pairs):
            if len(context) + len(target) > limit:
                yield number, Likelihood(None, len(target))
            elif len(target) == 0:
                yield number, Likelihood(0.0, 0)
            else:
                fitting.append(number)
        for place, nats in self.decoder.logprobs([pairs[number] for number in fitting]):
            yield fitting[place], Likelihood(nats, len(pairs[fitting[place]][1]))

    def token_loglikelihood(self, pairs: Sequence[tuple[Tokens, Tokens]], max_tokens: int | None = None) -> list[Likelihood]:
        """Return the log-likelihood of each target's tokens after its context's tokens (at least one), in order."""
        return in_order(self.token_likelihoods(pairs, max_tokens), len(pairs))

    def _prompt_ids(self, prompt: Prompt) -> list[int]:
        """Return the tokens of a prompt, at least one."""
        if isinstance(prompt, str):
            return self._plain_ids(prompt)
        if self.prompt_format == "few_shot":
            return self._plain_ids(render_transcript(prompt, self.examples))
        return self.tokenizer(render_chat(self.tokenizer, prompt), add_special_tokens=False)["input_ids"]

    def _plain_ids(self, text: str) -> list[int]:
        """Return the tokens of a text as the tokenizer begins one: with a start marker, where the model wants it."""
        return self.tokenizer(text)["input_ids"] or [self.start_id]

    def _pair_ids(self, prompt: Prompt, target: str, encoded: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of a prompt and its target; ``encoded`` remembers prompts, which often repeat."""
        if not isinstance(prompt, str):
            key, joint = json.dumps(list(prompt)), False
        else:
            key = prompt.rstrip()
            target, joint = prompt[len(key) :] + target, bool(key)
        if key not in encoded:
            encoded[key] = np.array(self._prompt_ids(key if isinstance(prompt, str) else prompt), np.int64)
        before = encoded[key]
        if joint:
            after = self._plain_ids(key + target)[len(before) :]
        else:
            after = self.tokenizer(target, add_special_tokens=False)["input_ids"]
        return before, np.array(after, np.int64)

    def _text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _ended(self, new: list[int], stops: Sequence[str]) -> bool:
        """Tell whether a reply ends with its newest token. A stop of n bytes lies within its last n tokens."""
        if new[-1] in self.end_ids:
            return True
        longest = max((len(stop.encode()) for stop in stops), default=0)
        tail = self._text(new[-longest - 8 :]) if stops else ""
        return any(stop in tail for stop in stops)
