"""Choose the settings of the classifier: train with several, and keep the one that ranks validation examples best."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hephaestus_dag.quality.bootstrap import average_precision_difference
from hephaestus_dag.quality.config import ClassifierConfig
from hephaestus_dag.quality.examples import Example, in_part, most_honest_part
from hephaestus_dag.quality.fasttext_model import fold, prepare, probabilities, train, write_training_file
from hephaestus_dag.quality.measures import average_precision

SEARCHED = ("lr", "epochs", "word_ngrams", "dim", "min_count")
ONE_STANDARD_ERROR = 0.683
"""Share of a normal distribution within one standard error."""


class Trial(NamedTuple):
    """A model that was trained, and how it ranks the validation examples."""

    settings: ClassifierConfig
    model: Any
    """Folded."""
    size: int
    """Numbers that were trained."""
    scores: np.ndarray
    average_precision: float

    @property
    def rank(self) -> tuple[float, int]:
        """The lower the better."""
        return -round(self.average_precision, 3), self.size


class Found(NamedTuple):
    """The outcome of a search."""

    best: Trial
    trials: list[dict[str, Any]]
    """What was tried: the settings, average_precision, numbers_trained, chosen."""
    judged_on: str
    """Which validation examples decided, one of `PARTS`."""


def search(training: Sequence[Example], validation: Sequence[Example], config: ClassifierConfig) -> Found:
    """Train with every setting, and return the model that ranks the validation examples best.

    Best is the highest average precision, to three digits; of equal ones the smaller model. Among few validation examples
    luck ranks high, so the given settings stay unless the best is ahead of them by more than a standard error.
    """
    labels = np.array([e.positive for e in validation])
    origins = np.array([e.origin for e in validation])
    judged_on = most_honest_part(origins, labels)
    mask = in_part(origins, judged_on)
    lines = [prepare(e.text) for e, judged in zip(validation, mask.tolist(), strict=True) if judged]
    labels = labels[mask]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "train.txt"
        write_training_file(training, config, file)
        trials = [run(file, settings, lines, labels) for settings in (config, *drawn_settings(config))]

    given, best = trials[0], min(trials, key=lambda trial: trial.rank)
    _, (ahead, _) = average_precision_difference(best.scores, given.scores, labels, level=ONE_STANDARD_ERROR)
    chosen = best if ahead > 0 else given
    rows = [
        {
            **{name: getattr(trial.settings, name) for name in SEARCHED},
            "average_precision": trial.average_precision,
            "numbers_trained": trial.size,
            "chosen": trial is chosen,
        }
        for trial in trials
    ]
    return Found(chosen, rows, judged_on)


def run(file: Path, settings: ClassifierConfig, lines: Sequence[bytes], labels: np.ndarray) -> Trial:
    """Train once, and score the validation examples."""
    model = train(file, settings)
    size = fold(model)
    scores = probabilities(model, lines)
    return Trial(settings, model, size, scores, average_precision(scores, labels) or 0.0)


def drawn_settings(config: ClassifierConfig) -> Iterator[ClassifierConfig]:
    """Yield the settings to try beside the given ones; the same ones for the same seed."""
    generator = np.random.default_rng(config.seed)
    for _ in range(config.search.trials):
        low, high = config.search.lr
        values: dict[str, float] = {"lr": round(math.exp(generator.uniform(math.log(low), math.log(high))), 4)}
        for name in SEARCHED[1:]:
            low, high = getattr(config.search, name)
            values[name] = int(generator.integers(low, high, endpoint=True))
        yield config.model_copy(update=values)
