"""lm-eval around our models: its tasks, filters and metrics; our replies and log-likelihoods."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from hephaestus_dag.evaluation.model import CannotScoreError, Likelihood, Model, Progress, Prompt, Reply

_NO_FIT = -1e9
"""Nats of what does not fit; lm-eval takes a softmax, which infinity would spoil."""


class LmEvalModel(LM):
    """One of our models as lm-eval sees it. Keeps what the model answered, which lm-eval's samples do not hold."""

    def __init__(self, model: Model, max_new_tokens: int, progress: Progress | None = None) -> None:
        super().__init__()
        self.model, self.max_new_tokens, self.progress = model, max_new_tokens, progress
        self.likelihoods: dict[tuple[int, int], Likelihood] = {}
        """By number of the item and of its choice."""
        self.replies: dict[int, Reply] = {}
        """By number of the item."""
        self.seconds = 0.0
        """Time that the log-likelihoods took."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation, and a greedy flag that is not true: no task of ours reads it."""
        began = time.perf_counter()
        contexts, targets = zip(*(request.args for request in requests), strict=True)
        pairs = list(zip(contexts, targets, strict=True))
        found = self.model.loglikelihood(pairs, progress=self.progress)
        self.seconds += time.perf_counter() - began
        for request, likelihood in zip(requests, found, strict=True):
            self.likelihoods[_number(request), request.idx] = likelihood
        return [(_NO_FIT if each.sum_logprob is None else each.sum_logprob, False) for each in found]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return the greedy reply to each prompt, before the first of the task's stop texts; empty where there is none."""
        if not requests:
            return []
        contexts, settings = zip(*(request.args for request in requests), strict=True)
        prompts = [as_prompt(context) for context in contexts]
        replies = self.model.generate(prompts, self.max_new_tokens, stop=settings[0]["until"], progress=self.progress)
        self.replies |= {_number(request): reply for request, reply in zip(requests, replies, strict=True)}
        return [reply.text for reply in replies]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Raise CannotScoreError: lm-eval wants the method, for tasks that none of ours is."""
        raise CannotScoreError("perplexity tasks of lm-eval are not run; the benchmark loss has the bits per byte of documents")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return the messages themselves, as text: our model renders them."""
        return json.dumps(chat_history)

    @property
    def tokenizer_name(self) -> str:
        """lm-eval asks for it beside chat prompts."""
        return ""

    def chat_template(self, chat_template: bool | str = False) -> str:
        """lm-eval only records it; the identity of our model says which template is used."""
        return ""


def run_task(model: LmEvalModel, config: dict[str, Any], records: Sequence[dict[str, Any]], chat: bool = False) -> list[Any]:
    """Return lm-eval's samples of a task over records, in the order of records: one for each record and filter.

    ``config`` is a task in lm-eval's own form, without its data set. Nothing is downloaded or written.
    """
    from datasets import Dataset

    noise = logging.getLogger("lm_eval")
    level = noise.level
    noise.setLevel(logging.ERROR)  # It says at length which defaults it uses.
    try:
        data = Dataset.from_list(list(records))
        task = ConfigurableTask(config={**config, "custom_dataset": lambda **_: {"test": data}, "test_split": "test"})
        task.set_fewshot_seed(0)
        found = evaluate(
            lm=model,
            task_dict={"task": task},
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
    finally:
        noise.setLevel(level)
    assert found is not None  # only other processes than the first get None
    samples = found.get("samples", {}).get("task", [])
    return sorted(samples, key=lambda sample: (sample["filter"], sample["doc_id"]))


def packaged_task(path: str) -> dict[str, Any]:
    """Return a task of the installed lm-eval without its data set: ``path`` is relative to its folder of tasks."""
    import yaml

    config = yaml.safe_load((Path(lm_eval.__file__).parent / "tasks" / path).read_text())
    return {key: value for key, value in config.items() if key not in ("tag", "dataset_path", "dataset_name")}


def _number(request: Instance) -> int:
    assert request.doc_id is not None  # lm-eval's tasks number their items
    return request.doc_id


def as_prompt(text: str) -> Prompt:
    """Return the messages of a chat, which only we write as a JSON list; other text as it is."""
    return json.loads(text) if text.startswith('[{"role": ') else text
