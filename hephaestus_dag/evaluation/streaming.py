"""Models that hand out each answer as soon as it is there, so that a run that is stopped loses none."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from hephaestus_dag.evaluation.model import Likelihood, Progress, Prompt, Reply

AnswerT = TypeVar("AnswerT")


class StreamingModel(ABC):
    """A ``Model`` made of two streams of answers, each with the number of its question."""

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides an answer besides the question: weights, prompt format, number format."""

    @abstractmethod
    def replies(
        self, prompts: Sequence[Prompt], max_new_tokens: int, max_prompt_tokens: int | None = None, stop: Sequence[str] = ()
    ) -> Iterator[tuple[int, Reply]]:
        """Yield (number of the prompt, greedy reply) as the replies are there, in any order."""

    @abstractmethod
    def likelihoods(
        self, pairs: Sequence[tuple[Prompt, str]], max_tokens: int | None = None
    ) -> Iterator[tuple[int, Likelihood]]:
        """Yield (number of the pair, log-likelihood) as they are there, in any order. Raises CannotScoreError."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        max_prompt_tokens: int | None = None,
        stop: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> list[Reply]:
        """Return the greedy reply to each prompt, in order; a reply ends before the first of ``stop``."""
        return in_order(self.replies(prompts, max_new_tokens, max_prompt_tokens, stop), len(prompts), progress)

    def loglikelihood(
        self, pairs: Sequence[tuple[Prompt, str]], max_tokens: int | None = None, progress: Progress | None = None
    ) -> list[Likelihood]:
        """Return the log-likelihood of each target text after its prompt, in order.

        Raises CannotScoreError where the model gives none.
        """
        return in_order(self.likelihoods(pairs, max_tokens), len(pairs), progress)


def in_order(answers: Iterator[tuple[int, AnswerT]], total: int, progress: Progress | None = None) -> list[AnswerT]:
    """Return the answers to questions 0 to ``total`` - 1 from a stream of them."""
    found: dict[int, AnswerT] = {}
    for number, answer in answers:
        found[number] = answer
        if progress:
            progress(len(found), total)
    return [found[number] for number in range(total)]
