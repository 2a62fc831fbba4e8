"""What a benchmark asks of a model: replies to prompts, and log-likelihoods of texts after them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hephaestus_dag.evaluation.prompts import ChatMessage

Prompt = str | Sequence[ChatMessage]
"""A conversation, which the model renders in its own prompt format; or plain text, which is continued as it stands."""

Progress = Callable[[int, int], None]
"""Called with how many prompts are done, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model answered."""

    text: str
    num_prompt_tokens: int
    num_new_tokens: int
    """Generated tokens before the end marker."""
    seconds: float
    """This reply's share of its batch."""
    failure: str = ""
    """Why there is no reply: the prompt did not fit, the server refused, ..."""
    may_pass: bool = False
    """Whether the failure may pass, so that asking again may help: a server that did not answer."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Log-likelihood of a target after its context; None when they do not fit together."""

    sum_logprob: float | None
    """Nats."""
    num_target_tokens: int


class CannotScoreError(RuntimeError):
    """The model cannot give log-likelihoods, with the reason: a server that returns none."""


class Model(Protocol):
    """A language model, wherever it runs."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides a reply besides the prompt and the arguments: weights, prompt format, number format."""
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        max_prompt_tokens: int | None = None,
        stop: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> list[Reply]:
        """Return the greedy reply to each prompt, in order; a reply ends before the first of ``stop``."""
        ...

    def loglikelihood(
        self, pairs: Sequence[tuple[Prompt, str]], max_tokens: int | None = None, progress: Progress | None = None
    ) -> list[Likelihood]:
        """Return the log-likelihood of each target text after its prompt, in order.

        Raises CannotScoreError where the model gives none.
        """
        ...
