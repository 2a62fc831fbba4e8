"""Ask an annotator about documents, once: answers outlive the build, in one journal for each rubric and annotator.

Whatever is built next asks only about documents that nobody has asked about. What got no answer is not kept, so it is asked
again. The ceilings of the configuration stop the asking before they are passed, and never make a sample smaller in silence.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hephaestus_dag.journal import identity_hash, open_journal, read_answers
from hephaestus_dag.language_model import Tokens
from hephaestus_dag.quality.annotator import Annotation, Annotator, annotator_identity
from hephaestus_dag.quality.config import AnnotationConfig
from hephaestus_dag.quality.rubric import Rubric
from hephaestus_dag.quality.spending import Ledger, cost_of, in_words

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 20  # A server that is gone, or a model that does not answer as asked, must not be asked about all pages.


@dataclass(frozen=True, slots=True)
class Round:
    """A rubric, and the texts that it is asked about, by document id."""

    rubric: Rubric
    texts: Mapping[str, str]


class Inquiry:
    """Asks an annotator what its journals do not hold, below the ceilings of the configuration."""

    def __init__(
        self,
        config: AnnotationConfig,
        annotator: Annotator,
        answers: Path,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.config, self.annotator, self.answers, self.progress = config, annotator, answers, progress
        self.who = identity_hash(annotator_identity(config.annotator))
        self.ledger = Ledger(config)
        self.asked = self.questions = 0
        self.answered: set[tuple[str, str]] = set()

    def estimate(self, rounds: Sequence[Round]) -> dict[str, Any]:
        """Note what the answers that are there took, and return about what those that are missing will take."""
        missing = Tokens()
        for each in rounds:
            self.questions += len(each.texts)
            kept = read_answers(self.journal(each.rubric), Annotation, **self.lines(each.rubric))
            for identity, text in each.texts.items():
                if identity in kept:
                    self._note((each.rubric.sha256, identity), kept[identity])
                else:
                    missing += self.annotator.count(each.rubric, text)
        if missing.total:
            annotator = self.config.annotator
            spent, needed = in_words(self.ledger.total, annotator), in_words(missing, annotator)
            logger.info("%d questions: the answers kept took %s, the missing ones need about %s", self.questions, spent, needed)
        return {"estimated_tokens": missing.total, "estimated_cost": cost_of(missing, self.config.annotator)}

    def ask(self, part: Round) -> dict[str, Annotation]:
        """Return document id → annotation for a round, each new answer kept as soon as it is there."""
        rubric, stop, failures = part.rubric, "", 0
        with open_journal(self.journal(rubric), Annotation, **self.lines(rubric)) as journal:
            answers = {identity: journal.answers[identity] for identity in part.texts if identity in journal.answers}
            for identity, answer in answers.items():
                self._note((rubric.sha256, identity), answer)
            missing = [identity for identity in part.texts if identity not in answers]

            def allowed() -> Iterator[str]:
                nonlocal stop
                for identity in missing:
                    tokens = self.annotator.count(rubric, part.texts[identity])
                    stop = stop or self.ledger.refusal(tokens)
                    if stop:
                        return
                    self.ledger.enter((rubric.sha256, identity), tokens)
                    yield part.texts[identity]

            for number, answer in self.annotator.annotate(rubric, allowed()) if missing else ():
                identity = missing[number]
                answers[identity] = answer
                if answer.status != "error":
                    journal.append(identity, answer)
                self._note((rubric.sha256, identity), answer)
                self.asked += 1
                failures = failures + 1 if answer.score is None else 0
                if failures == FAILURES_IN_A_ROW:
                    stop = stop or f"{failures} answers in a row gave no score; for example {answer.status}: {answer.raw}"
                if self.progress:
                    self.progress(len(self.answered), self.questions)
        if stop:
            raise RuntimeError(
                f"annotation by {rubric.name} stopped with {len(self.answered):,} of {self.questions:,} questions answered "
                f"({in_words(self.ledger.total, self.config.annotator)}): {stop}. The answers are kept, and the next build "
                "goes on from there: put right what stopped it, raise the ceiling, or lower num_samples or recheck_samples"
            )
        return answers

    def _note(self, question: tuple[str, str], answer: Annotation) -> None:
        self.ledger.enter(question, answer.tokens)
        if answer.status != "error":
            self.answered.add(question)

    def journal(self, rubric: Rubric) -> Path:
        """Return the file with this annotator's answers by a rubric."""
        return self.answers / f"{rubric.name}-{rubric.sha256[:16]}-{self.who}.jsonl"

    def lines(self, rubric: Rubric) -> dict[str, Any]:
        """Return how the lines of a journal name the page, and who answers."""
        return {"field": "document_id", "who": {"rubric": rubric.sha256, "annotator": self.who}}
