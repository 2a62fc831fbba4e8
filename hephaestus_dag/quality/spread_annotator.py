"""Annotate with a local model in several workers, on one machine or many."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

from hephaestus_dag.language_model import Tokens
from hephaestus_dag.map_over import MapOver
from hephaestus_dag.quality.annotator import Annotation
from hephaestus_dag.quality.local_annotator import WINDOW, TransformersAnnotator
from hephaestus_dag.quality.rubric import Rubric


class SpreadAnnotator:
    """Gives texts to workers by the window: each judges windows of its own as one process would judge them."""

    def __init__(self, annotator: TransformersAnnotator, map_over: MapOver) -> None:
        self.annotator, self.map_over = annotator, map_over
        self.window = WINDOW * annotator.config.batch_size
        """Texts that are judged together."""

    def count(self, rubric: Rubric, text: str) -> Tokens:
        """Return how many tokens the model reads for a text."""
        return self.annotator.count(rubric, text)

    def annotate(self, rubric: Rubric, texts: Iterable[str]) -> Iterator[tuple[int, Annotation]]:
        """Yield (number of the text, annotation), window by window.

        The first window is drawn and judged alone, so that a model which does not answer is noticed; then all others are.
        """
        drawn = iter(texts)
        yield from self._judged(rubric, list(islice(drawn, self.window)), 0)
        yield from self._judged(rubric, list(drawn), self.window)

    def _judged(self, rubric: Rubric, texts: Sequence[str], first: int) -> Iterator[tuple[int, Annotation]]:
        windows = [texts[start : start + self.window] for start in range(0, len(texts), self.window)]
        judgements = self.map_over(partial(judge_window, rubric), windows, setup=partial(itself, self.annotator))
        for number, found in enumerate(judgements):
            yield from ((first + number * self.window + place, annotation) for place, annotation in found)


def judge_window(rubric: Rubric, annotator: TransformersAnnotator, texts: Sequence[str]) -> list[tuple[int, Annotation]]:
    """Return (place of the text, annotation) in the order in which they were judged."""
    return list(annotator.annotate(rubric, texts))


def itself(annotator: TransformersAnnotator) -> TransformersAnnotator:
    """Return the annotator: this process's own, or the copy that came to a worker, which loads the model once."""
    return annotator
