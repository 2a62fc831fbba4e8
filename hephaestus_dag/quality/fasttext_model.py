"""The fastText model: how it reads a text, how it is trained, and how it is made small and quick.

A linear classifier with two classes needs one number per feature: the difference that the feature makes between the two.
`fold` replaces the trained vectors by these numbers. The scores stay the same, the model shrinks by the length of the
vectors, and reading a feature no longer misses the cache, which is most of the time that fastText takes.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.quality.config import ClassifierConfig
from hephaestus_dag.quality.examples import Example

LABEL = re.compile(rb"(?<!\S)__label__\S*")
POSITIVE, NEGATIVE = "__label__positive", "__label__negative"

KEPT = b"_-/:.("
"""Signs of names, paths and calls. All others become blanks."""
TABLE = bytes(
    byte if byte > 127 or byte in KEPT else ord(chr(byte).lower()) if chr(byte).isalnum() else 32 for byte in range(256)
)

ADDED = 1e-5
"""What fastText adds to every probability."""


def prepare(text: str) -> bytes:
    """Return a text as the model reads it: one line, small letters, names, paths and calls in one piece (``call(``).

    Letters other than a to z stay as they are. On pages of packages' documentation this ranks better than the bare text, and
    as well as a regular expression that sets every sign apart, which alone costs more than the prediction.
    """
    return text.encode(errors="replace").translate(TABLE).replace(b"(", b"( ")


def write_training_file(examples: Sequence[Example], config: ClassifierConfig, path: Path) -> None:
    """Write examples as fastText reads them, shuffled; annotated pages stand there several times.

    Words of a text that look like a label are left out, as fastText does when it predicts.
    """
    lines = [
        (POSITIVE if e.positive else NEGATIVE).encode() + b" " + LABEL.sub(b"", prepare(e.text)) + b"\n"
        for e in examples
        for _ in range(config.annotated_weight if e.origin.startswith("annotated") else 1)
    ]
    order = np.random.default_rng(config.seed).permutation(len(lines))
    path.write_bytes(b"".join(lines[place] for place in order))


def train(path: Path, config: ClassifierConfig) -> Any:
    """Train on one thread with a fixed seed: the same file gives the same model.

    Raises ValueError when training diverges.
    """
    import fasttext

    try:
        return fasttext.train_supervised(
            str(path),
            dim=config.dim,
            epoch=config.epochs,
            lr=config.lr,
            wordNgrams=config.word_ngrams,
            minCount=config.min_count,
            bucket=config.bucket,
            seed=config.seed,
            thread=1,
            verbose=0,
        )
    except RuntimeError as error:
        raise ValueError(f"training the quality classifier diverged at lr {config.lr} ({error}): lower lr") from error


def fold(model: Any) -> int:
    """Replace the vectors of a trained model by one number per feature, and return how many numbers it had before."""
    vectors, outputs = model.get_input_matrix(), model.get_output_matrix()
    positive = model.labels.index(POSITIVE)
    weights = vectors @ (outputs[positive] - outputs[1 - positive])
    signs = np.where(np.arange(2) == positive, 0.5, -0.5)
    model.set_matrices(weights[:, None], signs[:, None])
    return vectors.size + outputs.size


def probabilities(model: Any, lines: Iterable[bytes]) -> np.ndarray:
    """Return P(positive) of prepared texts by a folded model: float32, 0 to 1."""
    # The wrapper's own predict takes str alone, which would be encoded once more.
    labels, values = model.f.multilinePredict([line + b"\n" for line in lines], 1, 0.0, "strict")
    positive = np.array([names == [POSITIVE] for names in labels], dtype=bool)
    likelier = np.array([value[0] - ADDED if len(value) else 0.5 for value in values], dtype=float)
    return np.clip(np.where(positive, likelier, 1 - likelier), 0, 1).astype(np.float32)
