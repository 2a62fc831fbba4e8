"""A model whose answers outlive the run: what it has answered once, nobody generates again.

Each answer goes into a journal as soon as it is there. A run that was killed goes on where it was, and one with other scoring
code reads the answers of earlier runs without loading the model. A failure that may pass is not kept, so it is asked again;
many of them are no result, and the run that met them fails.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hephaestus_dag.evaluation.model import Likelihood, Prompt, Reply
from hephaestus_dag.evaluation.streaming import StreamingModel
from hephaestus_dag.journal import Journal, identity_hash, open_journal, read_answers

MOST_PASSING = 0.01
"""Share of questions without an answer, for reasons that may pass, that a result may have."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """A line of the journal: a reply or a log-likelihood."""

    reply: Reply | None = None
    likelihood: Likelihood | None = None


class RecordedModel(StreamingModel):
    """A model with a journal, open and locked between ``with`` and its end.

    The end raises RuntimeError when more than `MOST_PASSING` of the questions failed in a way that may pass: what was made of
    the answers would count them as wrong. Fewer are logged as a warning, and counted in ``failed``.

    ``load`` is called when the first answer is missing, and must return the model that ``identity`` describes. ``earlier`` are
    journals of other runs; what is taken from them is copied into this one.
    """

    def __init__(
        self, load: Callable[[], StreamingModel], identity: Mapping[str, Any], journal: Path, earlier: Sequence[Path] = ()
    ) -> None:
        self.asked = 0
        """Questions that the model has answered for this object."""
        self.recorded = 0
        """Questions whose answer was found in a journal."""
        self._passing: dict[str, str] = {}
        """Questions that failed in a way that may pass, with the reason."""
        self._load, self._identity, self._path, self._earlier = load, identity, journal, earlier
        self._model: StreamingModel | None = None
        self._journal: Journal[Answer] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        who = {"model": identity_hash(self._identity)}
        self._journal = self._stack.enter_context(open_journal(self._path, Answer, field="question", who=who))
        self._old = {
            name: answer
            for path in reversed(self._earlier)
            for name, answer in read_answers(path, Answer, field="question", who=who).items()
        }
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._journal = None
        self._stack.close()
        if kind is None and self._passing:
            last = next(reversed(self._passing.values()))
            told = f"{self.failed:,} of {self.asked + self.recorded:,} questions got no answer, the last for: {last}"
            if self.failed > MOST_PASSING * (self.asked + self.recorded):
                raise RuntimeError(f"{told}. The other answers are kept: mend that and run again, which asks only these")
            logger.warning("%s; they count as wrong", told)

    @property
    def failed(self) -> int:
        """Questions without an answer so far, for reasons that may pass."""
        return len(self._passing)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The identity of the model, whether it is loaded or not."""
        return self._identity

    def replies(
        self, prompts: Sequence[Prompt], max_new_tokens: int, max_prompt_tokens: int | None = None, stop: Sequence[str] = ()
    ) -> Iterator[tuple[int, Reply]]:
        """Yield (number of the prompt, reply): first those in the journals, then those of the model as they are there."""
        names = [_name("reply", prompt, max_new_tokens, max_prompt_tokens, list(stop)) for prompt in prompts]

        def ask(numbers: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            asked = [prompts[number] for number in numbers]
            for place, reply in self.loaded().replies(asked, max_new_tokens, max_prompt_tokens, stop):
                yield place, Answer(reply=reply)

        for number, answer in self._answers(names, ask):
            assert answer.reply is not None
            yield number, answer.reply

    def likelihoods(
        self, pairs: Sequence[tuple[Prompt, str]], max_tokens: int | None = None
    ) -> Iterator[tuple[int, Likelihood]]:
        """Yield (number of the pair, log-likelihood): first those in the journals, then those of the model."""
        names = [_name("likelihood", prompt, target, max_tokens) for prompt, target in pairs]

        def ask(numbers: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            for place, likelihood in self.loaded().likelihoods([pairs[number] for number in numbers], max_tokens):
                yield place, Answer(likelihood=likelihood)

        for number, answer in self._answers(names, ask):
            assert answer.likelihood is not None
            yield number, answer.likelihood

    def _answers(
        self, names: Sequence[str], ask: Callable[[Sequence[int]], Iterator[tuple[int, Answer]]]
    ) -> Iterator[tuple[int, Answer]]:
        """Yield (number, answer) for questions by name: one that occurs twice is answered once."""
        if self._journal is None:
            raise RuntimeError("a RecordedModel answers inside a with statement, which opens its journal")
        numbers: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            numbers.setdefault(name, []).append(number)
        missing = []
        for name, same in numbers.items():
            if name not in self._journal.answers and name in self._old:
                self._journal.append(name, self._old[name])
            if name in self._journal.answers:
                self.recorded += 1
                yield from ((number, self._journal.answers[name]) for number in same)
            else:
                missing.append(name)
        for place, answer in ask([numbers[name][0] for name in missing]) if missing else ():
            self.asked += 1
            if answer.reply and answer.reply.may_pass:
                self._passing[missing[place]] = answer.reply.failure
            else:
                self._passing.pop(missing[place], None)
                self._journal.append(missing[place], answer)
            yield from ((number, answer) for number in numbers[missing[place]])

    def loaded(self) -> StreamingModel:
        """Return the model itself, for what is not recorded. Raises ValueError when it is another than ``identity`` says."""
        if self._model is None:
            self._model = self._load()
            if identity_hash(self._model.identity) != identity_hash(self._identity):
                raise ValueError(
                    f"the model that was loaded is {dict(self._model.identity)}, but its answers are kept as those of "
                    f"{dict(self._identity)}: give RecordedModel the identity of the model that it loads"
                )
        return self._model


def _name(*question: Any) -> str:
    """Return what a question is called: a hash of its kind, its words and its limits."""
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
